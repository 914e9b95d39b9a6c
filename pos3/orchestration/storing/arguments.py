"""The paths and URLs among the arguments of the run of a context."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

from prefect.context import FlowRunContext, TaskRunContext

from pos3.orchestration.storing.task_data import texts_in

_MAX_TEXTS = 10_000


def arguments_here() -> Iterator[str]:
    """The absolute paths and the URLs among the arguments of the task run, or else the flow run, of this context."""
    context = TaskRunContext.get() or FlowRunContext.get()
    for text in itertools.islice(texts_in([context.parameters] if context is not None else []), _MAX_TEXTS):
        if "://" in text or os.path.isabs(text):
            yield text
