"""What griffe, which reads the code for the reference without running it, must be told about pos3."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?([\w.]+)`")


class PublicFunctions(griffe.Extension):
    """Shows the functions of ``pos3.api`` with the signature and docstring of the method that each of them calls."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        if pkg.name != "pos3":
            return
        mirror, api = pkg["mirrors.verbs.Mirror"], pkg["api"]
        for name, attribute in list(api.attributes.items()):
            if str(attribute.value).startswith("_of_current_mirror("):
                api.set_member(name, _function_of(mirror[name]))


class Roles(griffe.Extension):
    """Turns the roles of Sphinx in docstrings to Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value)


def _function_of(method: griffe.Function) -> griffe.Function:
    parameters = griffe.Parameters(*(item for item in method.parameters if item.name != "self"))
    function = griffe.Function(method.name, parameters=parameters, returns=method.returns, lineno=method.lineno)
    if method.docstring:
        function.docstring = griffe.Docstring(method.docstring.value, parent=function)
    return function
