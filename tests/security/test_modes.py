"""Who may read what pos3 writes, and what it says of files with secrets that others may read."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pos3
from pos3.profiles.registry import resolve_profile
from tests.support import S3Site, write_tree

MIB = 1 << 20


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize(("mask", "files", "directories"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_downloaded_files_and_directories_follow_the_umask(
    moto_site: S3Site, tmp_path: Path, mask: int, files: int, directories: int
) -> None:
    # In one request, in ranges, and by boto3.
    moto_site.put_all({"data/sub/small": b"1", "data/large": b"1" * (17 * MIB), "data/new\nline": b"1"})
    with umask(mask), pos3.mirror(tmp_path / "cache", show_progress=False):
        path = pos3.download(moto_site.url("data"))
    assert {mode(path / name) for name in ("sub/small", "large", "new\nline")} == {files}
    assert {mode(path), mode(path / "sub"), mode(tmp_path / "cache" / "_")} == {directories}


@pytest.mark.parametrize("mask", [0o000, 0o022], ids=oct)
@pytest.mark.parametrize("first", ["download", "upload", "publish"])
def test_what_pos3_remembers_is_for_this_user_alone(rclone_site: S3Site, tmp_path: Path, mask: int, first: str) -> None:
    rclone_site.put("data/a", b"1")
    state = tmp_path / "cache" / ".pos3"
    with umask(mask), pos3.mirror(tmp_path / "cache", show_progress=False):
        if first == "download":
            pos3.download(rclone_site.url("data"))
        elif first == "publish":
            pos3.publish(rclone_site.url("set"), write_tree(tmp_path / "set", {"a": b"1"}))
        pos3.upload(rclone_site.url("up"), interval=None)
        journals = list((state / "journal").iterdir())
        assert [mode(journal) for journal in journals] == [0o600]
        assert mode(state) == mode(state / "journal") == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_journal_that_somebody_else_has_put_there_is_left_alone(
    rclone_site: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tree(tmp_path / "private", {"key": b"secret"})
    mirror = pos3.Mirror(pos3.MirrorOptions(cache_root=tmp_path / "cache", show_progress=False)).open()
    mirror.upload(rclone_site.url("up"), tmp_path / "private", interval=None)
    (journal,) = (tmp_path / "cache" / ".pos3" / "journal").iterdir()
    planted = journal.with_name("planted.jsonl")
    planted.write_bytes(journal.read_bytes().replace(f'"pid": {os.getpid()}'.encode(), b'"pid": 999999'))
    mirror.close(push=False)
    os.chown(planted, 65534, 65534)
    assert pos3.recover(tmp_path / "cache", show_progress=False) == []
    assert "belongs to another user" in caplog.text
    assert rclone_site.objects() == {}
    os.chown(planted, 0, 0)
    assert [found.outcome for found in pos3.recover(tmp_path / "cache", show_progress=False)] == ["pushed"]


# -- files with secrets


@pytest.fixture
def secrets(isolated_home: Path) -> Path:
    (isolated_home / "profiles.toml").write_text(
        '[profiles.acme]\nendpoint = "https://x"\ncredentials_file = "acme.creds"\n'
        '[profiles.inline]\nendpoint = "https://x"\naccess_key = "key"\nsecret_key = "secret"\n'
    )
    (isolated_home / "acme.creds").write_text("[acme]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    for name in ("profiles.toml", "acme.creds"):
        (isolated_home / name).chmod(0o600)
    return isolated_home


@pytest.mark.parametrize("loose", [0o604, 0o620, 0o644], ids=oct)
@pytest.mark.parametrize(("name", "profile"), [("acme.creds", "acme"), ("profiles.toml", "inline")])
def test_a_file_with_secrets_that_others_may_read_or_write_is_warned_of_once(
    secrets: Path, caplog: pytest.LogCaptureFixture, name: str, profile: str, loose: int
) -> None:
    (secrets / name).chmod(loose)
    for _ in range(2):
        resolve_profile(profile)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"chmod 600 {secrets / name}" in record.getMessage()
    assert f"{loose:03o}" in record.getMessage()


@pytest.mark.parametrize("tight", [0o600, 0o400, 0o640], ids=oct)
def test_a_file_with_secrets_of_this_user_or_group_is_not_warned_of(
    secrets: Path, caplog: pytest.LogCaptureFixture, tight: int
) -> None:
    for name in ("profiles.toml", "acme.creds"):
        (secrets / name).chmod(tight)
    resolve_profile("acme")
    resolve_profile("inline")
    assert caplog.records == []


def test_a_profiles_file_without_secrets_may_be_read_by_all(
    isolated_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (isolated_home / "profiles.toml").write_text('[profiles.acme]\nendpoint = "https://x"\n')
    (isolated_home / "profiles.toml").chmod(0o644)
    resolve_profile("acme")
    assert caplog.records == []
