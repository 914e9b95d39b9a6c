"""What a mirror says at its end: what it pushed and deleted, and how to push what is left."""

from __future__ import annotations

import logging
import re
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.behaviour.test_report_and_progress import on_a_terminal
from tests.support import Hang, Proxy, S3Site, Status, on, write_tree
from tests.support.program import ended, run_program, start_program

PutBefore = Callable[..., Proxy]


def opened(tmp_path: Path, *, show: bool = False) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=show)


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The lines of the log about ends of mirrors."""
    caplog.set_level(logging.INFO, "pos3")
    return lambda: [r.getMessage() for r in caplog.records if r.getMessage().startswith("mirror closed: ")]


# -- what was done


@pytest.mark.parametrize("show", [False, True], ids=["silent", "no-terminal"])
def test_what_a_mirror_pushed_and_deleted_is_one_line_of_the_log(
    s3: S3Site, tmp_path: Path, told: Callable[[], list[str]], show: bool
) -> None:
    s3.put_all({"up/old": b"", "up/older": b"", "in/a": b"1", "idle/a": b"1"})
    with opened(tmp_path, show=show):
        write_tree(pos3.upload(s3.url("up"), interval=None), {"x": b"123", "y": b"4"})
        (pos3.download(s3.url("in")) / "stray").touch()
        pos3.download(s3.url("idle"))
        assert told() == []
    assert told() == [f"mirror closed: {s3.url('up')}: 2 uploaded (4 B), 2 deleted remotely"]
    with opened(tmp_path, show=show):
        pos3.download(s3.url("in"))
    assert told()[1:] == [f"mirror closed: {s3.url('in')}: 1 deleted here"]


def test_a_mirror_that_changed_nothing_says_nothing(
    rclone_site: S3Site, tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    rclone_site.put("in/a", b"1")
    with opened(tmp_path):
        pos3.download(rclone_site.url("in"))
        pos3.upload(rclone_site.url("up"), interval=None)
    assert told() == []


def test_deletes_of_background_pushes_are_counted(
    rclone_site: S3Site, tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    with opened(tmp_path):
        up = write_tree(pos3.upload(rclone_site.url("up"), interval=0.05), {"keep": b"1", "gone": b"22"})
        eventually(lambda: set(rclone_site.objects("up/")) == {"keep", "gone"})
        (up / "gone").unlink()
        eventually(lambda: set(rclone_site.objects("up/")) == {"keep"})
    assert told() == [f"mirror closed: {rclone_site.url('up')}: 2 uploaded (3 B), 1 deleted remotely"]


def test_many_places_are_a_short_line(rclone_site: S3Site, tmp_path: Path, told: Callable[[], list[str]]) -> None:
    with opened(tmp_path):
        for number in range(8):
            write_tree(pos3.upload(rclone_site.url(f"up-{number}"), interval=None), {"x": b"1"})
    [line] = told()
    assert line.endswith(f"{rclone_site.url('up-4')}: 1 uploaded (1 B); and 3 more places")


def test_what_was_pushed_is_told_also_after_an_error(
    rclone_site: S3Site, tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    with pytest.raises(ValueError, match="boom"), opened(tmp_path):  # noqa: PT012
        write_tree(pos3.upload(rclone_site.url("up"), interval=None, sync_on_error=True), {"x": b"1"})
        raise ValueError("boom")
    assert told() == [f"mirror closed: {rclone_site.url('up')}: 1 uploaded (1 B)"]


def test_a_mirror_with_an_observer_leaves_it_to_that(
    rclone_site: S3Site, tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    class Seen:
        def registered(self, kind: str, url: str) -> None: ...

        def transferred(self, kind: str, url: str, report: pos3.Report) -> None: ...

    mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False), observer=Seen()).open()
    write_tree(mirror.upload(rclone_site.url("up"), interval=None), {"x": b"1"})
    mirror.close()
    assert rclone_site.objects() == {"up/x": b"1"}
    assert told() == []


PUSHES = """
import pos3, sys
with pos3.mirror(sys.argv[1]):
    (pos3.upload(sys.argv[2] + "/up") / "b").write_bytes(b"2" * 100)
"""


def test_on_a_terminal_the_line_is_there_and_not_in_the_log(rclone_site: S3Site, tmp_path: Path) -> None:
    script = f"import logging\nlogging.basicConfig(level='INFO', format='LOG %(message)s')\n{PUSHES}"
    shown, out = on_a_terminal(200, script, str(tmp_path / "cache"), rclone_site.url())
    assert out == ""
    assert f"pos3: {rclone_site.url('up')}: 1 uploaded (100 B)" in shown.splitlines()[-1]
    assert "LOG mirror closed" not in shown


@pytest.mark.parametrize("command", ["upload", "sync"])
def test_commands_say_only_their_own_summary(rclone_site: S3Site, tmp_path: Path, command: str) -> None:
    tree = write_tree(tmp_path / "tree", {"x": b"1"})
    arguments = [command, rclone_site.url("up"), "--local", str(tree), "--cache-root", str(tmp_path / "cache")]
    script = "import sys\nfrom pos3.cli import main\nsys.exit(main(sys.argv[1:]))"
    shown, _ = on_a_terminal(200, script, *arguments)
    assert shown.count("1 uploaded (1 B)") == 1
    (tree / "x").write_bytes(b"22")
    assert run_program(*arguments).stderr.count("1 uploaded (2 B)") == 1


# -- what is left


def advised(text: str) -> list[str]:
    """The command that a message advises to run."""
    found = re.search(r"'(pos3 recover(?: --cache-root .+)?)' or the same program again", text)
    assert found, text
    return shlex.split(found[1])


def test_a_failed_final_push_says_how_to_push_what_is_left_and_that_does_it(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    cache = tmp_path / "a cache"
    proxied(s3, Status(403, "AccessDenied", match=on("PUT", key="bad")))
    with pytest.raises(pos3.TransferError) as failure, pos3.mirror(cache, show_progress=False):  # noqa: PT012
        for key in ("bad", "good"):
            write_tree(pos3.upload(s3.url(key), interval=None), {"a": b"1"})
    assert s3.objects() == {"good/a": b"1"}
    _, *arguments = advised(str(failure.value))
    assert arguments[1:] == ["--cache-root", str(cache)]
    assert run_program(*arguments, **s3.server.environment()).status == 0
    assert s3.objects() == {"good/a": b"1", "bad/a": b"1"}


def test_the_usual_cache_root_needs_no_option(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT")))
    with pytest.raises(pos3.TransferError) as failure, pos3.mirror(show_progress=False):
        write_tree(pos3.upload(rclone_site.url("bad"), interval=None), {"a": b"1"})
    assert advised(str(failure.value)) == ["pos3", "recover"]


def test_a_final_push_that_cannot_even_begin_says_it_in_a_note(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site)
    with pytest.raises(pos3.AccessDeniedError) as failure, opened(tmp_path):  # noqa: PT012
        write_tree(pos3.upload(rclone_site.url("up"), interval=None), {"a": b"1"})
        proxy.inject(Status(403, "AccessDenied", match=on("LIST")))
    [note] = failure.value.__notes__
    assert advised(note)[2:] == ["--cache-root", str(tmp_path / "cache")]


def test_a_push_that_fails_after_the_body_did_says_it_in_note_and_log(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT")))
    with pytest.raises(ValueError, match="boom") as failure, opened(tmp_path):  # noqa: PT012
        write_tree(pos3.upload(rclone_site.url("up"), interval=None, sync_on_error=True), {"a": b"1"})
        raise ValueError("boom")
    [note] = failure.value.__notes__
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert advised(note) == advised(line)


def test_refused_deletes_are_nothing_to_recover(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("up/old", b"")
    with pytest.raises(pos3.PlanRefusedError) as failure, opened(tmp_path):
        write_tree(pos3.upload(rclone_site.url("up"), interval=None, max_delete=0), {"a": b"1"})
    assert "recover" not in f"{failure.value}{getattr(failure.value, '__notes__', '')}"
    assert set(rclone_site.objects("up/")) == {"a", "old"}


def test_finish_gives_no_advice_since_the_mirror_is_still_open(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT")))
    mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False)).open()
    write_tree(mirror.upload(rclone_site.url("up"), interval=None), {"a": b"1"})
    with pytest.raises(pos3.TransferError) as failure:
        mirror.finish()
    assert "recover" not in str(failure.value)
    mirror.close(push=False)


def test_a_failed_command_ends_with_the_advice(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT")))
    tree = write_tree(tmp_path / "tree", {"a": b"1", "b": b"1"})
    ran = run_program("upload", rclone_site.url("up"), "--local", tree, "--cache-root", tmp_path / "cache")
    assert ran.status == 1
    lines = ran.stderr.splitlines()
    assert lines[0] == "pos3 upload: 2 uploads failed:"
    assert advised(lines[-1]) == ["pos3", "recover", "--cache-root", str(tmp_path / "cache")]


def test_an_interrupted_command_says_how_to_push_what_is_left(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site, Hang(match=on("PUT")))
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    program = start_program("upload", rclone_site.url("up"), "--local", tree, "--cache-root", tmp_path / "cache")
    eventually(lambda: proxy.count("PUT") > 0)
    program.send_signal(signal.SIGINT)
    ran = ended(program)
    assert ran.status == 130
    assert advised(ran.stderr)[2:] == ["--cache-root", str(tmp_path / "cache")]
