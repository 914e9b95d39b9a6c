"""What a package index, a citation and a code host are told: one version, and forms that can be read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import pos3
from tests.support.program import ROOT

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


def project() -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return settings


def test_one_version_is_named_everywhere() -> None:
    version = project()["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [pos3.__version__, citation["version"], released[0]] == [version] * 3


def test_the_citation_says_what_the_package_says() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == project()["license"]
    assert citation["keywords"] == project()["keywords"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project()["authors"]]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_has_what_the_code_host_needs(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    asked = [item for item in form["body"] if item["type"] != "markdown"]
    names = [item["id"] for item in asked]
    assert len(names) == len(set(names)) > 0
    assert all(item["type"] in ("input", "textarea", "dropdown", "checkboxes") for item in asked)
    assert all(item["attributes"]["label"] for item in asked)


def test_the_pythons_of_the_package_are_those_that_the_checks_try() -> None:
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(project()["classifiers"]), re.MULTILINE)
    tried = re.findall(r"(?<!image-)test-(3\.\d+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert named == [project()["requires-python"].removeprefix(">="), *tried]
