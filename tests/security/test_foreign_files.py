"""What another user of the machine may have put where pos3 keeps its own files, or where its settings are."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from pos3.local.own_files import ForeignFileError, open_own
from pos3.profiles.registry import resolve_profile
from pos3.state.kernel_lock import KernelLock
from pos3.state.locks import UseLock
from tests.faults.base import run_python
from tests.support import S3Site, contents, write_tree
from tests.support.program import run_program

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
Put = Callable[[Path], object]


def as_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def with_second_name(path: Path) -> None:
    os.link(path, path.with_name("other-name"))


def given_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def open_to_all(path: Path) -> None:
    path.chmod(0o666)


def as_it_is(path: Path) -> tuple[int, ...]:
    """All but when it was looked at last."""
    status = path.lstat()
    return status.st_mode, status.st_ino, status.st_nlink, status.st_uid, status.st_size, status.st_mtime_ns


FOREIGN = [
    pytest.param(as_link, "symbolic link", id="a link"),
    pytest.param(as_fifo, "no regular file", id="a FIFO"),
    pytest.param(with_second_name, "another name", id="a hard link"),
    pytest.param(open_to_all, "mode 666", id="writable by all"),
    pytest.param(given_away, f"another user \\({NOBODY}\\)", id="of another user", marks=root_only),
]


@pytest.fixture
def left(rclone_site: S3Site, tmp_path: Path) -> Path:
    """The journal that a killed mirror has left."""
    write_tree(tmp_path / "private", {"key": b"secret"})
    script = f"""
import os, pos3
with pos3.mirror({str(tmp_path / "cache")!r}, show_progress=False):
    pos3.upload({rclone_site.url("out")!r}, {str(tmp_path / "private")!r}, interval=None)
    os._exit(9)
"""
    with run_python(script) as program:
        assert program.wait(60) == 9
    (journal,) = (tmp_path / "cache" / ".pos3" / "journal").iterdir()
    return journal


@pytest.mark.timeout(30)
@pytest.mark.parametrize("label", [None, ""], ids=["all", "with a label"])
@pytest.mark.parametrize(("put", "told"), FOREIGN)
def test_a_journal_that_others_may_have_put_there_is_told_and_left_alone(
    rclone_site: S3Site, left: Path, caplog: pytest.LogCaptureFixture, put: Put, told: str, label: str | None
) -> None:
    put(left)
    assert pos3.recover(left.parents[2], show_progress=False, label=label) == []
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    caplog.clear()
    assert pos3.recover(left.parents[2], show_progress=False) == []
    assert caplog.text == ""
    assert left.exists()
    assert rclone_site.objects() == {}


@pytest.mark.timeout(30)
def test_a_fifo_among_the_journals_hangs_no_download(rclone_site: S3Site, left: Path) -> None:
    as_fifo(left)
    rclone_site.put("in/a", b"1")
    with pos3.mirror(left.parents[2], show_progress=False):
        assert contents(pos3.download(rclone_site.url("in"))) == {"a": b"1"}


@pytest.mark.parametrize("which", [".pos3", "journal"])
@pytest.mark.parametrize("mode", [0o777, 0o702, 0o770], ids=oct)
def test_journals_in_a_directory_that_others_may_write_are_left_alone(
    rclone_site: S3Site, left: Path, caplog: pytest.LogCaptureFixture, which: str, mode: int
) -> None:
    directory = left.parent if which == "journal" else left.parents[1]
    directory.chmod(mode)
    if mode & stat.S_IWGRP:
        os.chown(directory, -1, NOBODY) if os.geteuid() == 0 else pytest.skip("only root can change the group")
    assert pos3.recover(left.parents[2], show_progress=False) == []
    assert f"mode {mode:03o}" in caplog.text
    assert f"chmod -R go-w {left.parents[1]}" in caplog.text
    directory.chmod(0o700)
    assert [found.outcome for found in pos3.recover(left.parents[2], show_progress=False)] == ["pushed"]


@pytest.mark.parametrize(("put", "told"), FOREIGN[2:])
def test_what_such_a_journal_names_is_kept_all_the_same(
    rclone_site: S3Site, left: Path, isolated_home: Path, put: Put, told: str
) -> None:
    local = left.parents[3] / "private"
    rclone_site.put("out/other", b"1")
    put(left)
    # The list of writers goes with the home of a container.
    shutil.rmtree(isolated_home / ".local")
    with pos3.mirror(left.parents[2], show_progress=False):
        pos3.download(rclone_site.url("out"), local, adopt=True)
    assert (local / "key").read_bytes() == b"secret"


def test_the_command_says_which_journals_it_has_left_alone(rclone_site: S3Site, left: Path) -> None:
    open_to_all(left)
    ran = run_program("recover", "--cache-root", left.parents[2])
    assert ran.status == 1
    assert f"1 journal(s) left alone, since others may have written them: {left}" in ran.stderr


def test_a_refusal_to_replace_says_that_what_is_remembered_cannot_be_used(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    local = tmp_path / "local"
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(rclone_site.url("data"), local)
    (tmp_path / "cache" / ".pos3").chmod(0o777)
    rclone_site.put("data/a", b"22")
    with (
        pos3.mirror(tmp_path / "cache", show_progress=False),
        pytest.raises(pos3.PlanRefusedError, match="cannot be used"),
    ):
        pos3.download(rclone_site.url("data"), local)
    assert contents(local) == {"a": b"1"}


# Indexes


@pytest.fixture
def cached(rclone_site: S3Site, tmp_path: Path) -> Path:
    """The index of a cached download."""
    rclone_site.put_all({"data/a": b"1", "data/b": b"2"})
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(rclone_site.url("data"))
    (index,) = (tmp_path / "cache" / ".pos3").glob("*.sqlite")
    return index


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("put", "told"), FOREIGN)
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_an_index_that_others_may_have_written_is_not_used_and_transfers_go_on(
    rclone_site: S3Site, cached: Path, caplog: pytest.LogCaptureFixture, put: Put, told: str, suffix: str
) -> None:
    index = cached.with_name(cached.name + suffix)
    index.touch(0o600)
    put(index)
    before = as_it_is(index)
    rclone_site.put("data/a", b"11")
    with pos3.mirror(cached.parents[1], show_progress=False):
        path = pos3.sync(rclone_site.url("data"), interval=None)
        write_tree(path, {"c": b"3"})
    assert rclone_site.objects("data/") == contents(path) == {"a": b"11", "b": b"2", "c": b"3"}
    assert as_it_is(index) == before
    assert "is not used" in caplog.text
    assert all(part in caplog.text for part in told.replace("\\", "").split(" (", 1)[:1])


def test_a_state_directory_that_all_may_write_is_not_used_and_transfers_go_on(
    rclone_site: S3Site, cached: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cached.parent.chmod(0o777)
    with pos3.mirror(cached.parents[1], show_progress=False) as mirror:
        pos3.download(rclone_site.url("data"))
        pos3.upload(rclone_site.url("out"), interval=None)
    assert mirror.report().downloaded_files == 0
    told = [record.getMessage() for record in caplog.records if "is not used" in record.getMessage()]
    assert len(told) == 1
    assert "mode 777" in told[0]


def test_a_link_does_not_stand_for_the_state_directory(
    rclone_site: S3Site, cached: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = cached.parent
    state.rename(state.parents[1] / "elsewhere")
    state.symlink_to(state.parents[1] / "elsewhere")
    with pos3.mirror(state.parent, show_progress=False):
        assert contents(pos3.download(rclone_site.url("data"))) == {"a": b"1", "b": b"2"}
    assert "it is a symbolic link" in caplog.text


@pytest.mark.parametrize("mode", [0o770, 0o2770], ids=oct)
def test_a_group_without_a_name_counts_as_this_user(
    rclone_site: S3Site, cached: Path, caplog: pytest.LogCaptureFixture, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Kubernetes makes volumes writable: it changes group and mode of all that lies there."""
    group = 2_000_001
    monkeypatch.setattr(os, "getgroups", lambda: [group])
    if os.geteuid() != 0:
        pytest.skip("only root can change the group")
    for path in [cached.parent, *cached.parent.rglob("*")]:
        os.chown(path, -1, group)
        path.chmod(mode if path.is_dir() else 0o660)
    with pos3.mirror(cached.parents[1], show_progress=False) as mirror:
        pos3.download(rclone_site.url("data"))
    assert mirror.report().downloaded_files == 0
    assert caplog.text == ""


# Locks


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", [lambda path: KernelLock(path).try_acquire(), UseLock], ids=["lock", "mark"])
@pytest.mark.parametrize("kind", ["a link", "a FIFO"])
def test_a_lock_is_never_taken_through_a_link_or_a_fifo(
    tmp_path: Path, kind: str, make: Callable[[str], object]
) -> None:
    target = tmp_path / "x.lock"
    if kind == "a link":
        target.symlink_to(tmp_path / "of-somebody")
    else:
        os.mkfifo(target)
    with pytest.raises(ForeignFileError) as caught:
        make(str(target))
    assert caught.value.errno == errno.EPERM
    assert not (tmp_path / "of-somebody").exists()


@pytest.mark.timeout(30)
def test_a_fifo_in_place_of_a_lock_is_an_error_that_names_it(rclone_site: S3Site, cached: Path) -> None:
    as_fifo(cached.with_suffix(".lock"))
    with pos3.mirror(cached.parents[1], show_progress=False), pytest.raises(OSError, match="no regular file") as caught:
        pos3.download(rclone_site.url("data"))
    assert caught.value.filename == str(cached.with_suffix(".lock"))


# Settings


@pytest.fixture
def settings(isolated_home: Path) -> Path:
    (isolated_home / "profiles.toml").write_text(
        '[profiles.acme]\nendpoint = "https://x"\ncredentials_file = "acme.creds"\n'
        '[profiles.inline]\nendpoint = "https://x"\naccess_key = "key"\nsecret_key = "secret"\n'
    )
    (isolated_home / "acme.creds").write_text("[acme]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    for name in ("profiles.toml", "acme.creds"):
        (isolated_home / name).chmod(0o600)
    return isolated_home


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("name", "profile"), [("acme.creds", "acme"), ("profiles.toml", "inline")])
@pytest.mark.parametrize(("put", "told"), [FOREIGN[1], FOREIGN[3], FOREIGN[4]])
def test_settings_that_others_may_have_written_are_not_used(
    settings: Path, caplog: pytest.LogCaptureFixture, put: Put, told: str, name: str, profile: str
) -> None:
    put(settings / name)
    with pytest.raises(pos3.ProfileError) as caught:
        resolve_profile(profile)
    word = told.replace("\\", "")
    assert word in str(caught.value)
    assert name != "profiles.toml" or word in caplog.text


def test_settings_are_used_again_once_they_are_the_users_own(settings: Path) -> None:
    (settings / "profiles.toml").chmod(0o666)
    with pytest.raises(pos3.ProfileError):
        resolve_profile("inline")
    (settings / "profiles.toml").chmod(0o600)
    assert resolve_profile("inline") is not None


@pytest.mark.parametrize("name", ["acme.creds", "profiles.toml"])
def test_settings_may_be_linked_as_they_are_where_they_are_mounted(settings: Path, name: str) -> None:
    (settings / name).rename(settings / "data")
    (settings / name).symlink_to("data")
    assert resolve_profile("acme") is not None


@root_only
def test_settings_of_root_are_those_of_an_administrator(settings: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for directory in [settings, *settings.parents]:
        if str(directory).startswith("/tmp/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    for name in ("profiles.toml", "acme.creds"):
        (settings / name).chmod(0o644)
    # Python itself may lie in root's home.
    script = f"""
import grp, os, pwd, tomllib, pos3
from pos3.profiles.registry import resolve_profile
os.seteuid({NOBODY})
assert resolve_profile("acme") is not None
"""
    with run_python(script) as program:
        output = program.communicate(timeout=60)[0]
    assert program.returncode == 0, output


# What all of it stands on


def test_only_a_file_that_is_this_users_alone_is_opened(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.touch(0o600)
    os.close(open_own(str(mine), os.O_RDONLY))
    with pytest.raises(FileNotFoundError):
        open_own(str(tmp_path / "none"), os.O_RDONLY)
    for put in (with_second_name, open_to_all, as_fifo):
        one = tmp_path / put.__name__
        one.touch(0o600)
        put(one)
        with pytest.raises(ForeignFileError):
            open_own(str(one), os.O_RDONLY)
