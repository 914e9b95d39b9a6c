"""What a push cannot read fails it, and what it leaves out is said; nothing is skipped in silence."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from pos3.local.tree import Scan, local_entries
from tests.support import S3Site, contents, write_tree
from tests.support.program import run_program, run_script_without_rights, run_without_rights


def opened(tmp_path: Path, **options: object) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)  # type: ignore[arg-type]


UPLOADS = """
import logging, os, pathlib, sys, time, pos3
cache, url, tree = sys.argv[1:4]
tree = pathlib.Path(tree)
logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
logging.getLogger("pos3.store").setLevel(logging.WARNING)
with pos3.mirror(cache, show_progress=False) as mirror:
    {body}
"""


def run_uploads(tmp_path: Path, url: str, tree: Path, body: str) -> tuple[int, str]:
    script = UPLOADS.format(body=body.strip().replace("\n", "\n    "))
    ran = run_script_without_rights(script, tmp_path / "cache", url, tree)
    return ran.status, ran.stderr


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """A tree with a directory that may not be read."""
    tree = write_tree(tmp_path / "tree", {"a": b"1", "vault/x": b"local", "z": b"2", "void/": b"", "_SUCCESS": b""})
    (tree / "vault").chmod(0)
    return tree


# -- unreadable


def test_an_unreadable_directory_fails_the_push_when_all_else_is_pushed_and_nothing_is_deleted(
    s3: S3Site, tmp_path: Path, vault: Path
) -> None:
    s3.put_all({"data/vault/x": b"remote", "data/old": b"old"})
    status, told = run_uploads(tmp_path, s3.url("data"), vault, "pos3.upload(url, tree, upload_last='_SUCCESS')")
    assert status == 1
    line = told.splitlines()[-1]
    assert line.startswith("pos3.errors.TransferError: 1 upload failed: ")
    assert f"'{vault}/vault' cannot be read (Permission denied)" in line
    assert "exclude=[...]" in line
    # What says that all is there does not go when something is missing.
    assert s3.objects("data/") == {"a": b"1", "z": b"2", "vault/x": b"remote", "old": b"old"}


def test_what_is_excluded_need_not_be_readable(rclone_site: S3Site, tmp_path: Path, vault: Path) -> None:
    rclone_site.put_all({"data/vault/x": b"remote", "data/old": b"old"})
    body = "pos3.upload(url, tree, exclude=['vault/', 'void/'])"
    assert run_uploads(tmp_path, rclone_site.url("data"), vault, body)[0] == 0
    assert rclone_site.objects("data/") == {"a": b"1", "z": b"2", "_SUCCESS": b"", "vault/x": b"remote"}


def test_each_thing_that_cannot_be_read_is_one_public_error(rclone_site: S3Site, tmp_path: Path, vault: Path) -> None:
    (vault / "a").chmod(0)
    body = """
mirror.upload(url, tree, None)
try:
    mirror.close()
except pos3.TransferError as error:
    assert [type(each) for each in error.failures] == [pos3.NotPushedError] * 2, error.failures
    assert mirror.report().failures == tuple(map(str, error.failures))
    print("caught", file=sys.stderr)
"""
    status, told = run_uploads(tmp_path, rclone_site.url("data"), vault, body)
    assert (status, told.splitlines()[-1]) == (0, "caught")


def test_hundreds_of_unreadable_files_do_not_keep_the_others_from_being_pushed(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    names = [f"a-{number:03}" for number in range(250)]
    tree = write_tree(tmp_path / "tree", {**dict.fromkeys(names, b"1"), "z/last": b"2"})
    for name in names:
        (tree / name).chmod(0)
    status, told = run_uploads(tmp_path, rclone_site.url("data"), tree, "pos3.upload(url, tree, None)")
    assert status == 1
    assert "250 uploads failed" in told.splitlines()[-1]
    assert rclone_site.objects("data/") == {"z/last": b"2"}


@pytest.mark.parametrize("closed", ["tree", "."], ids=["root", "above"])
def test_a_local_side_that_can_no_longer_be_reached_fails_the_push(
    rclone_site: S3Site, tmp_path: Path, closed: str
) -> None:
    rclone_site.put("data/old", b"old")
    tree = write_tree(tmp_path / "above" / "tree", {"a": b"1"})
    body = f"pos3.upload(url, tree, None)\n(tree.parent / {closed!r}).chmod(0)"
    try:
        status, told = run_uploads(tmp_path, rclone_site.url("data"), tree, body)
    finally:
        tree.parent.chmod(0o700)
    assert status == 1
    assert f"'{tree}'" in told
    assert "Permission denied" in told
    assert rclone_site.objects("data/") == {"old": b"old"}


def test_background_pushes_say_once_what_they_cannot_read_and_push_the_others(
    rclone_site: S3Site, tmp_path: Path, vault: Path
) -> None:
    (vault / "z").chmod(0)
    # A push that found the file was there before the next one is written, so each of them is a push of its own.
    body = """
mirror.upload(url, tree, 0.02)
for number in range(4):
    (tree / f"new-{number}").write_text("x")
    while f"{url}/new-{number}" not in mirror.ls(url):
        time.sleep(0.02)
(tree / "vault").chmod(0o700)
(tree / "z").chmod(0o600)
assert len(mirror.report().failures) == 2, mirror.report().failures
"""
    status, told = run_uploads(tmp_path, rclone_site.url("data"), vault, body)
    assert status == 0, told
    [line] = [line for line in told.splitlines() if "background push" in line]
    assert line.startswith("WARNING")
    assert f"{vault}/vault" in line
    assert f"{vault}/z" in line
    assert rclone_site.objects("data/").items() >= {"new-3": b"x", "vault/x": b"local", "z": b"2"}.items()


def test_a_background_push_tells_an_unreadable_directory_although_it_is_all_there_is(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    tree = write_tree(tmp_path / "tree", {"vault/x": b"local"})
    (tree / "vault").chmod(0)
    body = """
mirror.upload(url, tree, None)
try:
    mirror.flush()
except pos3.TransferError as error:
    print("flush:", error, file=sys.stderr)
(tree / "vault").chmod(0o700)
"""
    status, told = run_uploads(tmp_path, rclone_site.url("data"), tree, body)
    assert status == 0, told
    [line] = [line for line in told.splitlines() if line.startswith("flush:")]
    assert f"{tree}/vault" in line


def test_a_set_that_cannot_be_read_whole_is_not_published(rclone_site: S3Site, tmp_path: Path, vault: Path) -> None:
    rclone_site.put_all({"data/a": b"0", "data/_SUCCESS": b""})
    status, told = run_uploads(tmp_path, rclone_site.url("data"), vault, "pos3.publish(url, tree)")
    assert status == 1
    assert told.splitlines()[-1].startswith("pos3.errors.PlanRefusedError")
    assert f"{vault}/vault" in told.splitlines()[-1]
    assert rclone_site.objects("data/") == {"a": b"0", "_SUCCESS": b""}


def test_the_command_names_what_it_cannot_read_and_pushes_the_others(
    rclone_site: S3Site, tmp_path: Path, vault: Path
) -> None:
    arguments = (rclone_site.url("data"), "--local", vault, "--cache-root", tmp_path / "cache")
    ran = run_without_rights("upload", *arguments)
    assert (ran.status, ran.stdout) == (1, "")
    advice = "give this user read permission, or leave it out with --exclude"
    assert f"'{vault}/vault' cannot be read (Permission denied): {advice}" in ran.stderr
    assert rclone_site.objects("data/").keys() == {"a", "z", "_SUCCESS"}
    assert run_without_rights("upload", *arguments, "--exclude", "vault/").status == 0


@pytest.mark.parametrize("as_json", [False, True], ids=["lines", "json"])
def test_a_dry_run_says_what_could_not_be_read(rclone_site: S3Site, tmp_path: Path, vault: Path, as_json: bool) -> None:
    rclone_site.put("data/old", b"old")
    arguments = ["upload", "-n", "--delete", rclone_site.url("data"), "--local", vault]
    ran = run_without_rights(*arguments, *(["--json"] if as_json else []))
    assert ran.status == 0
    assert f"'{vault}/vault' cannot be read" in ran.stderr
    if as_json:
        [plan] = ran.objects
        assert len(plan["problems"]) == 1
        assert f"{vault}/vault" in plan["problems"][0]
        assert plan["delete"] == []
    else:
        assert [line for line in ran.lines if line.startswith("delete")] == []
        assert len([line for line in ran.lines if line.startswith("upload")]) == 3


def test_a_directory_that_goes_while_it_is_listed_is_no_problem(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "b/": b""})

    def takes_part(path: str) -> bool:
        if path == "a":
            (tree / "b").rmdir()
        return True

    found = list(local_entries(str(tree), Scan(True, takes_part, lambda path: False)))
    assert [entry.path for entry in found] == ["a", "b/"]
    assert found[1].unusable
    assert not found[1].is_unreadable


# -- what is no file


def make_odd(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "broken").symlink_to("nowhere")
    (tree / "through").symlink_to("a/below-a-file")
    (tree / "self").symlink_to("self")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tree)
        server.bind("sock")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_is_no_file_is_one_warning_a_registration_however_often_it_is_pushed(
    s3: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    s3.put("data/fifo", b"remote")
    trees = [write_tree(tmp_path / name, {"a": b"1"}) for name in ("one", "two")]
    for tree in trees:
        make_odd(tree, monkeypatch)
    with opened(tmp_path):
        for tree, key in zip(trees, ("data", "more"), strict=True):
            pos3.upload(s3.url(key), tree, interval=None)
        for number in range(3):
            for tree in trees:
                (tree / "a").write_bytes(b"x" * number)
            pos3.flush()
    told = warnings_of(caplog)
    assert len(told) == 2
    for line, tree in zip(told, trees, strict=True):
        assert str(tree) in line
        assert "6 left out" in line
        assert "'broken' (a broken symbolic link)" in line
        assert "'fifo' (a FIFO)" in line
        assert line.endswith("and 1 more")
    assert s3.objects("data/") == {"a": b"xx", "fifo": b"remote"}


def test_a_link_that_leads_nowhere_is_told_and_fails_no_push(
    rclone_site: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rclone_site.put_all({"data/latest": b"remote", "data/old": b"old"})
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    (tree / "latest").symlink_to("gone")
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree, interval=None)
    [line] = warnings_of(caplog)
    assert "1 left out" in line
    assert "'latest' (a broken symbolic link)" in line
    assert rclone_site.objects("data/") == {"a": b"1", "latest": b"remote"}


def test_what_is_excluded_or_a_link_that_is_not_to_be_followed_is_not_warned_of(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    make_odd(tree, monkeypatch)
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree, None, exclude=["fifo", "sock"], follow_symlinks=False)
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("command", ["upload", "sync"])
def test_the_command_tells_what_is_no_file_once(rclone_site: S3Site, tmp_path: Path, command: str) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    os.mkfifo(tree / "pipe")
    ran = run_program(command, rclone_site.url("data"), "--local", tree, "--cache-root", tmp_path / "cache")
    assert ran.status == 0
    assert ran.stderr.count("pipe") == 1
    assert "'pipe' (a FIFO)" in ran.stderr


def test_a_fifo_that_is_to_be_the_upload_itself_is_an_error(rclone_site: S3Site, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    ran = run_program("upload", rclone_site.url("data"), "--local", tmp_path / "pipe")
    assert ran.status == 1
    assert f"'{tmp_path}/pipe' is a FIFO" in ran.stderr
    assert rclone_site.objects() == {}


# -- lost+found


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "pos3")
    return lambda: [record.getMessage() for record in caplog.records if "lost+found" in record.getMessage()]


def test_the_lost_and_found_of_a_mount_point_is_left_out_with_a_line(
    rclone_site: S3Site, tmp_path: Path, disk: Path, heard: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    rclone_site.put_all({"data/old": b"old", "data/lost+found/x": b"remote"})
    write_tree(disk, {"a": b"1", "lost+found/x": b"local", "deep/lost+found/x": b"1"})
    with opened(tmp_path) as mirror:
        pos3.upload(rclone_site.url("data"), disk, interval=None)
        mirror.finish()
    assert rclone_site.objects("data/") == {"a": b"1", "deep/lost+found/x": b"1", "lost+found/x": b"remote"}
    assert len(heard()) == 1
    assert warnings_of(caplog) == []
    with opened(tmp_path):
        pos3.publish(rclone_site.url("set"), disk)
    assert rclone_site.objects("set/").keys() == {"a", "deep/lost+found/x", "_SUCCESS"}


def test_a_directory_called_lost_and_found_elsewhere_is_content(
    rclone_site: S3Site, tmp_path: Path, heard: Callable[[], list[str]]
) -> None:
    tree = write_tree(tmp_path / "tree", {"lost+found/x": b"1"})
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree, interval=None)
    assert rclone_site.objects("data/") == {"lost+found/x": b"1"}
    assert heard() == []


def test_a_download_to_a_mount_point_leaves_its_lost_and_found(moto_site: S3Site, tmp_path: Path, disk: Path) -> None:
    moto_site.put("data/a", b"1")
    (disk / "lost+found").mkdir()
    with opened(tmp_path):
        pos3.download(moto_site.url("data"), disk, adopt=True)
    assert (disk / "lost+found").is_dir()
    # An earlier upload may have taken it along.
    moto_site.put_all({"data/lost+found/": b"", "data/lost+found/x": b"2"})
    with opened(tmp_path):
        pos3.download(moto_site.url("data"), disk, adopt=True)
    assert contents(disk) == {"a": b"1", "lost+found/x": b"2"}
