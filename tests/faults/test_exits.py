"""The end of a program with a mirror that is still open: what was registered is pushed, and the exit is not held up."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.faults.base import MIB
from tests.support import Proxy, S3Site, Status, on
from tests.support.program import ROOT, Ran
from tests.support.trees import pseudo_random

PutBefore = Callable[..., Proxy]
# The fixtures take variables of this name out of the environment.
_OTHERS = {
    version: os.environ.get(f"POS3_TEST_PYTHON_{version.replace('.', '_')}") for version in ("3.12", "3.13", "3.14")
}


@functools.cache
def _has_what_pos3_needs(python: str) -> bool:
    needed = "import boto3, pycurl, tqdm, fsspec, tenacity, argcomplete"
    return subprocess.run([python, "-c", needed], capture_output=True).returncode == 0


@pytest.fixture(params=["this", *_OTHERS])
def python(request: pytest.FixtureRequest) -> str:
    """This interpreter, and others that the environment names: from 3.12 on, no thread can be started at the exit."""
    if request.param == "this":
        return sys.executable
    other = _OTHERS[request.param]
    if not other or not _has_what_pos3_needs(other):
        pytest.skip(f"POS3_TEST_PYTHON_{request.param.replace('.', '_')} names no Python with what pos3 needs")
    return other


def ran(python: str, script: str, *arguments: object, stdin: str = "", timeout: float = 60, flags: str = "-c") -> Ran:
    """A program to its end; fails if that does not come."""
    child = subprocess.Popen(
        [python, *([flags, script] if script else [flags]), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        stdout, stderr = child.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        raise AssertionError(f"still running after {timeout} s: {child.communicate()}") from None
    return Ran(child.returncode, stdout, stderr)


OPEN = """
import os, sys
from pathlib import Path
import pos3
cache, url, local = sys.argv[1:4]
Path(local).mkdir(exist_ok=True)
mirror = pos3.Mirror(pos3.MirrorOptions(cache, show_progress=False)).open()
mirror.upload(url, local)
(Path(local) / "file").write_text("hours")
"""


def journals(cache: Path) -> list[Path]:
    return list((cache / ".pos3" / "journal").glob("*"))


def test_a_mirror_that_nobody_closed_is_pushed_without_deletes_at_the_exit(
    s3: S3Site, tmp_path: Path, python: str
) -> None:
    s3.put("out/before", b"old")
    cache, local = tmp_path / "cache", tmp_path / "local"
    local.mkdir()
    (local / "big").write_bytes(pseudo_random(20 * MIB))
    end = ran(python, OPEN, cache, s3.url("out"), local)
    assert end.status == 0, end.stderr
    assert s3.objects("out/") == {"before": b"old", "file": b"hours", "big": pseudo_random(20 * MIB)}
    [line] = end.stderr.splitlines()
    assert f"{s3.url('out')} <- {local}" in line
    assert "with pos3.mirror():" in line
    assert journals(cache) == []


def test_a_mirror_that_the_program_has_dropped_is_pushed_at_the_exit(
    rclone_site: S3Site, tmp_path: Path, python: str
) -> None:
    end = ran(python, f"{OPEN}\ndel mirror", tmp_path / "cache", rclone_site.url("out"), tmp_path / "local")
    assert end.status == 0, end.stderr
    assert rclone_site.objects("out/") == {"file": b"hours"}


def test_after_an_unhandled_exception_only_what_wants_it_is_pushed(
    rclone_site: S3Site, tmp_path: Path, python: str
) -> None:
    cache, url, local = tmp_path / "cache", rclone_site.url("out"), tmp_path / "local"
    script = f"""{OPEN}
mirror.upload(url + "-log", local + "-log", sync_on_error=True)
(Path(local + "-log") / "log").write_text("what happened")
raise ZeroDivisionError("a bug")
"""
    end = ran(python, script, cache, url, local)
    assert end.status == 1
    assert list(rclone_site.keys()) == ["out-log/log"]
    *_, line = end.stderr.splitlines()
    assert "ended with ZeroDivisionError" in line
    before, _, after = line.partition("Not pushed")
    assert f"{url}-log <- " in before
    assert f"{url} <- {local}" in after


def test_an_error_in_an_interactive_session_is_not_its_end(rclone_site: S3Site, tmp_path: Path, python: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(OPEN)
    session = "raise ZeroDivisionError('a slip')\n(Path(local) / 'later').write_text('more')\n"
    places = (tmp_path / "cache", rclone_site.url("out"), tmp_path / "local")
    end = ran(python, "", program, *places, stdin=session, flags="-i")
    assert end.status == 0, end.stderr
    assert "a slip" in end.stderr
    assert rclone_site.objects("out/") == {"file": b"hours", "later": b"more"}


GENERATORS = {
    "a with statement": """
def produce():
    with pos3.mirror(cache, show_progress=False):
        path = pos3.upload(url, local, interval=INTERVAL)
        (path / "file").write_text("hours")
        yield path
""",
    "a decorator": """
@pos3.with_mirror(cache, show_progress=False)
def produce():
    path = pos3.upload(url, local, interval=INTERVAL)
    (path / "file").write_text("hours")
    yield path
""",
}


@pytest.mark.parametrize("interval", ["None", "300"])
@pytest.mark.parametrize("form", GENERATORS)
def test_a_generator_that_is_alive_at_the_exit_does_not_hang_it_and_its_data_is_pushed(
    rclone_site: S3Site, tmp_path: Path, python: str, form: str, interval: str
) -> None:
    script = f"""
import sys, pos3
cache, url, local = sys.argv[1:]
{GENERATORS[form].replace("INTERVAL", interval)}
alive = produce()
next(alive)
"""
    url = rclone_site.url("out")
    end = ran(python, script, tmp_path / "cache", url, tmp_path / "local", timeout=30)
    assert end.status == 0, end.stderr
    assert rclone_site.objects("out/") == {"file": b"hours"}
    assert f"{url} <- " in end.stderr
    assert "Traceback" not in end.stderr


def test_a_generator_that_opens_a_mirror_after_the_exit_has_closed_all_others_is_left_to_recover(
    rclone_site: S3Site, tmp_path: Path, python: str
) -> None:
    script = """
import atexit, sys
alive = []
# Registered before those of pos3, and so called after them.
atexit.register(lambda: next(alive[0]))
import pos3
cache, url, local = sys.argv[1:]
def produce():
    with pos3.mirror(cache, show_progress=False):
        path = pos3.upload(url, local, interval=None, sync_on_error=True)
        (path / "file").write_text("hours")
        yield path
alive.append(produce())
with pos3.mirror(cache, show_progress=False):
    pos3.ls(url)
"""
    cache, url, local = tmp_path / "cache", rclone_site.url("out"), tmp_path / "local"
    end = ran(python, script, cache, url, local, timeout=30)
    assert end.status == 0, end.stderr
    recovered = pos3.recover(cache, show_progress=False)
    assert [item.outcome for item in recovered] in ([], ["pushed"])
    assert rclone_site.objects("out/") == {"file": b"hours"}


@pytest.mark.parametrize(
    "child",
    [
        "pid = os.fork()\nif not pid:\n    sys.exit(0)\nos.waitpid(pid, 0)",
        "multiprocess('fork')",
        "multiprocess('spawn')",
    ],
)
def test_a_child_process_does_not_push_at_its_exit(
    rclone_site: S3Site, tmp_path: Path, python: str, child: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"""
import multiprocessing, time
def multiprocess(method):
    worker = multiprocessing.get_context(method).Process(target=time.sleep, args=(0,))
    worker.start()
    worker.join()
if __name__ == "__main__":
    exec({OPEN!r})
    exec({child!r})
    # Without an exit of its own.
    os._exit(7)
""")
    places = (tmp_path / "cache", rclone_site.url("out"), tmp_path / "local")
    end = ran(python, "", *places, flags=str(program))
    assert end.status == 7, end.stderr
    assert "interpreter's exit" not in end.stderr
    assert not rclone_site.keys()
    assert [item.outcome for item in pos3.recover(tmp_path / "cache", show_progress=False)] == ["pushed"]
    assert rclone_site.objects("out/") == {"file": b"hours"}


def test_what_cannot_be_pushed_at_the_exit_is_told_and_left_to_recover(
    rclone_site: S3Site, tmp_path: Path, python: str, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT")))
    cache = tmp_path / "cache"
    end = ran(python, OPEN, cache, rclone_site.url("out"), tmp_path / "local")
    assert end.status == 0
    *_, line = end.stderr.splitlines()
    assert "AccessDenied" in line
    assert "'pos3 recover' pushes what is left" in line
    assert not rclone_site.keys()
    monkeypatch.setenv("AWS_ENDPOINT_URL", rclone_site.server.endpoint_url)
    assert [item.outcome for item in pos3.recover(cache, show_progress=False)] == ["pushed"]
    assert rclone_site.objects("out/") == {"file": b"hours"}


def test_a_thread_that_outlives_the_main_one_transfers_and_deletes_as_ever(
    s3: S3Site, tmp_path: Path, python: str
) -> None:
    s3.put_all({"in/a": b"1", "out/stale": b"old"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "big").write_bytes(pseudo_random(20 * MIB))
    script = """
import sys, threading, pos3
# Loaded while it can be: botocore's own thread pools refuse that later.
import boto3
cache, source, target, local = sys.argv[1:]
def work():
    threading.main_thread().join()
    with pos3.mirror(cache, show_progress=False) as mirror:
        data = pos3.download(source)
        out = pos3.upload(target, local, interval=0.05)
        (out / "file").write_bytes((data / "a").read_bytes())
        assert mirror.flush(timeout=60).uploaded_files
    print("done")
threading.Thread(target=work).start()
"""
    end = ran(python, script, tmp_path / "cache", s3.url("in"), s3.url("out"), tmp_path / "out")
    assert end.stdout == "done\n", end.stderr
    assert s3.objects("out/") == {"file": b"1", "big": pseudo_random(20 * MIB)}


def test_a_coroutine_that_outlives_the_main_thread_is_pushed_at_its_end(
    rclone_site: S3Site, tmp_path: Path, python: str
) -> None:
    script = """
import asyncio, sys, threading, pos3
cache, url, local = sys.argv[1:]
import boto3
@pos3.with_mirror(cache, show_progress=False)
async def work():
    (pos3.upload(url, local, interval=None) / "file").write_text("hours")
def run():
    threading.main_thread().join()
    asyncio.run(work())
    print("done")
threading.Thread(target=run).start()
"""
    end = ran(python, script, tmp_path / "cache", rclone_site.url("out"), tmp_path / "local")
    assert end.stdout == "done\n", end.stderr
    assert rclone_site.objects("out/") == {"file": b"hours"}


def test_the_exit_waits_for_a_push_that_a_daemon_thread_has_begun(
    rclone_site: S3Site, tmp_path: Path, python: str
) -> None:
    script = """
import sys, threading, pos3
cache, url, local = sys.argv[1:]
leaving = threading.Event()
def work():
    with pos3.mirror(cache, show_progress=False):
        out = pos3.upload(url, local, interval=None)
        (out / "big").write_bytes(b"1" * 30_000_000)
        leaving.set()
threading.Thread(target=work, daemon=True).start()
leaving.wait()
"""
    end = ran(python, script, tmp_path / "cache", rclone_site.url("out"), tmp_path / "local")
    assert end.status == 0, end.stderr
    assert rclone_site.objects("out/") == {"big": b"1" * 30_000_000}


def test_where_no_thread_can_be_started_all_is_done_in_the_calling_one(
    s3: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # As at the exit from Python 3.12 on, or where the system has no room for another thread.
    def refused(self: object) -> None:
        raise RuntimeError("can't start new thread")

    large = pseudo_random(20 * MIB)
    s3.put_all({"in/large": large, "in/small": b"1", "out/stale": b"old"})
    # Only here: the fixture needs threads to remove its bucket.
    with monkeypatch.context() as patched, pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
        patched.setattr("threading.Thread.start", refused)
        source = pos3.download(s3.url("in"))
        out = pos3.upload(s3.url("out"), tmp_path / "out", interval=1)
        (source / "large").rename(out / "large")
        assert mirror.flush(timeout=60).uploaded_files == 1
        (out / "late").write_bytes(large)
        with pytest.raises(pos3.PushTimeoutError, match="it was stopped"):
            mirror.flush(timeout=0)
    assert s3.objects("out/") == {"large": large, "late": large}
    assert "no thread can be started" in caplog.text


@pytest.mark.skipif(importlib.util.find_spec("prefect") is None, reason="Prefect is not installed")
def test_a_flow_run_whose_engine_never_ends_pushes_only_what_wants_it_at_the_exit(
    rclone_site: S3Site, tmp_path: Path, isolated_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(isolated_home / "prefect"))
    monkeypatch.setenv("PREFECT_LOGGING_TO_API_ENABLED", "false")
    monkeypatch.setenv("POS3_ARTIFACTS", "0")
    # Without the engine, which needs an API.
    script = """
import sys, uuid
import pos3
from prefect.client.schemas.objects import FlowRun
from pos3.orchestration.runtime.option_layers import OptionLayers
from pos3.orchestration.runtime.run import RunMirror
cache, url, local = sys.argv[1:]
options = OptionLayers().with_layer({"cache_root": cache})
run = RunMirror.get_or_open(FlowRun(flow_id=uuid.uuid4(), name="endless"), options.resolve)
def body():
    with run.active():
        (pos3.upload(url, local, interval=None) / "file").write_text("hours")
        (pos3.upload(url + "-log", local + "-log", sync_on_error=True) / "log").write_text("what happened")
        yield
alive = body()
next(alive)
"""
    end = ran(sys.executable, script, tmp_path / "cache", rclone_site.url("out"), tmp_path / "local", timeout=100)
    assert end.status == 0, end.stderr
    assert list(rclone_site.keys()) == ["out-log/log"]
    assert "interpreter's exit. Close it" not in end.stderr
