"""What lies in a bucket is data: nothing of it is run."""

from __future__ import annotations

import ast
import pickle
from contextlib import nullcontext
from pathlib import Path

import pytest

import pos3
from tests.support import S3Site
from tests.support.program import ROOT

# Modules that run what they read, and the only ones of pos3 that may use them: results and the calls of tasks in other
# processes of a flow run. SECURITY.md says who can reach those.
RUNNING = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "yaml", "runpy", "code", "codeop"}
ALLOWED = {"orchestration/remote/broker.py": {"pickle"}, "orchestration/results/paths.py": {"cloudpickle"}}


class Poison:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path):
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _leave_trace, (str(self._path),)


def _leave_trace(path: str) -> str:
    Path(path).write_text("run")
    return path


@pytest.mark.parametrize("name", ["model.pkl", "_SUCCESS", ".pos3", "a.pt", "conftest.py"])
def test_a_poisoned_object_arrives_as_bytes_and_is_not_run(rclone_site: S3Site, tmp_path: Path, name: str) -> None:
    poison = pickle.dumps(Poison(tmp_path / "trace"))
    rclone_site.put_all({f"data/{name}": poison, "data/x": b"1"})
    with (
        pos3.mirror(tmp_path / "cache", show_progress=False),
        pytest.raises(pos3.IncompleteSetError) if name != "_SUCCESS" else nullcontext(),
    ):
        pos3.download(rclone_site.url("data"), tmp_path / "set", require_marker="_SUCCESS")
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        path = pos3.download(rclone_site.url("data"))
        pos3.fingerprint(path)
        pos3.restore(pos3.reference(path))  # type: ignore[arg-type]
    assert (path / name).read_bytes() == poison
    assert not (tmp_path / "trace").exists()
    assert pickle.loads(poison) == str(tmp_path / "trace")
    assert (tmp_path / "trace").exists()


def imported(source: str) -> set[str]:
    """The top-level modules that a module imports, wherever in it, and the built-ins that run text."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            names.add(node.func.id)
    return names


def test_only_two_modules_use_what_runs_what_it_reads() -> None:
    package = ROOT / "pos3"
    users = {
        path.relative_to(package).as_posix(): found
        for path in package.rglob("*.py")
        if (found := imported(path.read_text(encoding="utf-8")) & (RUNNING | {"eval", "exec"}))
    }
    assert users == ALLOWED
