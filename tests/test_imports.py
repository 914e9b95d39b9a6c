"""What a module may load: the rules that import-linter has no words for."""

from __future__ import annotations

import ast
import importlib.metadata
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest

import pos3
from tests.support import S3Site

PACKAGE = Path(pos3.__file__).parent
PURE_MODULES = ("plan", "filters")
IMPURE = {"os", "time", "datetime", "logging", "io", "shutil", "tempfile", "socket", "threading", "random"}


def imported_names(source: str) -> set[str]:
    """The top-level names of everything that the source imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("module", PURE_MODULES)
def test_a_module_that_decides_touches_neither_disk_nor_clock(module: str) -> None:
    sources = [*PACKAGE.glob(f"{module}.py"), *PACKAGE.glob(f"{module}/*.py")]
    assert sources
    for source in sources:
        assert imported_names(source.read_text(encoding="utf-8")) & IMPURE == set(), source


def test_importing_pos3_loads_no_sdk() -> None:
    script = "import sys, pos3; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"boto3", "botocore", "pycurl", "fsspec", "prefect", "tqdm", "pydantic", "watchdog"}
    assert heavy & set(loaded.stdout.split()) == set()


def test_the_version_is_that_of_the_installed_package_and_is_looked_up_only_when_asked_for() -> None:
    assert pos3.__version__ == importlib.metadata.version("pos3")
    assert "__version__" in dir(pos3)
    script = """
import sys, pos3
assert "importlib.metadata" not in sys.modules
print(pos3.__version__)
assert not {"pos3.api", "boto3", "pycurl"} & set(sys.modules)
"""
    asked = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (asked.stdout, asked.stderr) == (f"{importlib.metadata.version('pos3')}\n", "")


def test_the_help_of_the_package_says_where_its_documentation_is() -> None:
    first = pydoc.plain(pydoc.render_doc(pos3)).partition("DESCRIPTION\n")[2].partition("PACKAGE CONTENTS")[0]
    assert "documentation is README.md and the directory ``docs``" in " ".join(first.split())
    for page in ("README.md", "docs/guide.md"):
        assert (PACKAGE.parent / page).exists()


RUN = """
import sys, pos3
with pos3.mirror(sys.argv[1]):
    path = pos3.download(sys.argv[2] + "/data")
    pos3.upload(sys.argv[2] + "/out", interval=1).joinpath("a").write_bytes((path / "a").read_bytes())
    pos3.flush()
    assert pos3.ls(sys.argv[2] + "/out")
"""


@pytest.mark.parametrize("code", ["import pos3", "from pos3 import *", RUN], ids=["import", "all names", "mirror"])
def test_no_warning_is_raised(rclone_site: S3Site, tmp_path: Path, code: str) -> None:
    rclone_site.put("data/a", b"1")
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path), rclone_site.url()]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=lambda module: module.__name__)
def test_the_package_can_be_pickled_with_functions_that_use_it(pickler: ModuleType) -> None:
    assert pickle.loads(pickler.dumps(pos3)) is pos3


def test_nothing_depends_on_the_link_at_the_top() -> None:
    sources = [path for path in PACKAGE.rglob("*.py") if not path.is_symlink()]
    assert [path for path in sources if "orchestration" in imported_names(path.read_text("utf-8"))] == []


@pytest.mark.parametrize("name", ["pos3.orchestration", "pos3.orchestration.flow", "pos3.orchestration.worker"])
def test_the_prefect_package_without_prefect_says_in_one_sentence_what_to_install(name: str) -> None:
    code = f"""
import sys
class Missing:
    def find_spec(name, path, target=None):
        if name == "prefect":
            raise ModuleNotFoundError("No module named 'prefect'", name="prefect")
sys.meta_path.insert(0, Missing)
import pos3
try:
    import {name}
except ImportError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert ran.stdout == "pos3.orchestration needs Prefect; install pos3 with its extra 'prefect'\n"
    assert ran.stderr == ""
