"""A notebook whose cells run in a kernel of its own, with the environment that the test has set."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from tests.support.program import ROOT


class Notebook:
    """A notebook, as Jupyter runs it.

    Args:
        directory: where the kernel runs.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._kernel = KernelManager(kernel_name="python3")
        # Jupyter kills a kernel whose exit takes longer than 5 seconds. On a busy machine, every exit does.
        self._kernel.shutdown_wait_time = 60
        page = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
        # The kernel of a test that has ended is killed, since its exit would take seconds.
        self._client = NotebookClient(
            page, km=self._kernel, timeout=60, coalesce_streams=True, shutdown_kernel="immediate"
        )
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        nothing = subprocess.DEVNULL
        self._stack.enter_context(self._client.setup_kernel(cleanup_kc=True, stdout=nothing, stderr=nothing))
        self.run(f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); os.chdir({str(self._directory)!r})")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, source: str) -> list[Any]:
        """Runs a cell, and returns its outputs.

        Raises:
            nbclient.exceptions.CellExecutionError: the cell has raised an exception.
        """
        cell = nbformat.v4.new_code_cell(source)  # type: ignore[no-untyped-call]
        self._client.nb.cells.append(cell)
        self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        return list(cell.outputs)

    def shown(self, source: str) -> str:
        """Runs a cell, and returns the text of its outputs."""
        return "".join(_text(output) for output in self.run(source))

    def widget_texts(self) -> list[str]:
        """The texts of all widgets, as a browser shows them now."""
        values = [state.get("value") for state in self._client.widget_state.values()]
        return [value.replace("\u2007", " ") for value in values if isinstance(value, str)]

    def interrupt(self) -> None:
        """What the button with the square does."""
        self._kernel.interrupt_kernel()

    def shut_down(self, *, kill: bool) -> None:
        """Ends the kernel as a restart does, or without a chance to do anything."""
        self._kernel.shutdown_kernel(now=kill)


def _text(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    return str(output.data.get("text/plain", ""))
