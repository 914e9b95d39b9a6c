"""The mirror that ``pos3.open_mirror`` opens, and which calls belong to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import pos3
from tests.support import S3Site
from tests.support.program import run_code


@pytest.fixture
def opened(rclone_site: S3Site, tmp_path: Path) -> Iterator[pos3.Mirror]:
    mirror = pos3.open_mirror(tmp_path / "cache", show_progress=False)
    yield mirror
    mirror.close()


def test_a_second_call_with_the_same_options_returns_the_open_mirror(opened: pos3.Mirror, tmp_path: Path) -> None:
    assert pos3.open_mirror(tmp_path / "cache", show_progress=False) is opened


def test_a_second_call_with_other_options_is_refused_and_names_the_first_that_differs(
    opened: pos3.Mirror, tmp_path: Path
) -> None:
    with pytest.raises(pos3.InvalidArgumentError, match="max_workers=3: a mirror with max_workers=10 is open") as error:
        pos3.open_mirror(tmp_path / "cache", show_progress=False, max_workers=3)
    assert error.value.argument == "max_workers"
    assert pos3.current_mirror() is opened


def test_after_close_another_one_can_be_opened(opened: pos3.Mirror, tmp_path: Path) -> None:
    opened.close()
    other = pos3.open_mirror(tmp_path / "other", show_progress=False)
    assert pos3.current_mirror() is other
    other.close()
    with pytest.raises(pos3.NoMirrorError, match="open_mirror"):
        pos3.current_mirror()


def test_options_that_are_not_given_come_from_the_environment(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POS3_CACHE_ROOT", str(tmp_path / "named"))
    mirror = pos3.open_mirror()
    mirror.close()
    assert mirror.cache_root == str(tmp_path / "named")


def test_a_thread_belongs_to_it_also_while_other_mirrors_are_open(opened: pos3.Mirror, tmp_path: Path) -> None:
    found: list[pos3.MirrorLike] = []
    with pos3.mirror(tmp_path / "other", show_progress=False) as inner:
        assert pos3.current_mirror() is inner
        thread = threading.Thread(target=lambda: found.append(pos3.current_mirror()))
        thread.start()
        thread.join()
    assert found == [opened]
    assert pos3.current_mirror() is opened


def test_it_stays_open_although_nobody_keeps_it(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    pos3.open_mirror(tmp_path / "cache", show_progress=False)
    assert (pos3.download(rclone_site.url("data")) / "a").read_bytes() == b"1"
    mirror = pos3.current_mirror()
    assert isinstance(mirror, pos3.Mirror)
    mirror.close()


FORKED = """
import os, sys
import pos3
cache, url = sys.argv[1:]
parent = pos3.open_mirror(cache, show_progress=False)
(pos3.upload(url + "/parent", interval=None) / "x").write_text("parent")
if not os.fork():
    assert (pos3.download(url + "/data") / "a").read_text() == "1"
    own = pos3.open_mirror(cache, show_progress=False)
    assert own is not parent and parent.is_forked_child and not own.is_forked_child
    (pos3.upload(url + "/child", interval=None) / "x").write_text("child")
    own.close()
    parent.close()
    os._exit(0)
assert os.wait()[1] == 0
assert url + "/parent/x" not in pos3.ls(url, recursive=True)
parent.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_opens_one_of_its_own(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    ran = run_code(FORKED, tmp_path / "cache", rclone_site.url())
    assert (ran.status, ran.stderr) == (0, "")
    assert rclone_site.objects() == {"data/a": b"1", "parent/x": b"parent", "child/x": b"child"}


def test_the_exit_without_close_pushes_and_deletes_nothing(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("out/before", b"old")
    script = """
import sys, pos3
pos3.open_mirror(sys.argv[1], show_progress=False)
(pos3.upload(sys.argv[2], interval=None) / "x").write_text("new")
"""
    ran = run_code(script, tmp_path / "cache", rclone_site.url("out"))
    assert ran.status == 0
    assert "it is open at the interpreter's exit" in ran.stderr
    assert rclone_site.objects("out/") == {"before": b"old", "x": b"new"}


def test_a_program_that_has_only_imported_ipython_shows_no_bar(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    script = """
import sys
import IPython, ipykernel.zmqshell
import pos3
pos3.open_mirror(sys.argv[1])
pos3.download(sys.argv[2])
"""
    ran = run_code(script, tmp_path / "cache", rclone_site.url("data"))
    assert (ran.status, ran.stdout, ran.stderr) == (0, "", "")
