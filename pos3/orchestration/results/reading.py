"""Provides a mirror for reading, also while the engine works for a task run outside of its mirror."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from prefect.context import FlowRunContext

import pos3
from pos3.orchestration.runtime import mirror_options_of


@contextmanager
def mirror_for_reading() -> Iterator[pos3.MirrorLike]:
    """The current mirror. In a flow run whose mirror cannot be reached, it is a new one with the flow's options.

    Raises:
        NoMirrorError: there is neither a mirror nor a flow run.
    """
    try:
        mirror = pos3.current_mirror()
    except pos3.NoMirrorError:
        context = FlowRunContext.get()
        if context is None or context.flow is None:
            raise
        own = pos3.Mirror(replace(mirror_options_of(context.flow), show_progress=False)).open()
        try:
            yield own
        finally:
            own.close(push=False)
    else:
        yield mirror
