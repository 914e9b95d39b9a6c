"""What a shell offers for URLs: profiles, buckets and keys, without a message and without a long wait."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.base import PutBefore
from tests.support import Hang, S3Site, write_tree
from tests.support.program import run_program


def completions(line: str, tmp_path: Path) -> list[str]:
    answer = tmp_path / "completions"
    answer.unlink(missing_ok=True)
    environment = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_COMP_WORDBREAKS": " \n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    ran = run_program(**environment)
    assert (ran.stdout, ran.stderr) == ("", "")
    return sorted(word.strip() for word in answer.read_text().splitlines())


def offered(line: str, tmp_path: Path) -> list[str]:
    """The completions, of which there are some. A busy machine may be too slow for them, so it is asked again."""
    return next(filter(None, (completions(line, tmp_path) for _ in range(5))), [])


@pytest.fixture
def site(rclone_site: S3Site, isolated_home: Path) -> S3Site:
    rclone_site.put_all({"data/a.txt": b"1", "data/b/c": b"2", "data/b/d": b"3", "dates": b"4"})
    profiles = isolated_home / "profiles.toml"
    server = rclone_site.server
    profiles.write_text(
        f'[profiles.posix]\nendpoint = "{server.endpoint_url}"\n'
        f'access_key = "{server.access_key}"\nsecret_key = "{server.secret_key}"\n'
    )
    profiles.chmod(0o600)
    return rclone_site


@pytest.mark.parametrize("command", ["ls", "du", "download", "upload", "sync", "check", "doctor", "runs ls"])
def test_a_beginning_of_a_key_becomes_what_lies_one_level_deep(site: S3Site, tmp_path: Path, command: str) -> None:
    assert offered(f"pos3 {command} {site.url('dat')}", tmp_path) == [site.url("data/"), site.url("dates")]
    assert offered(f"pos3 {command} {site.url('data/')}", tmp_path) == [
        site.url("data/a.txt"),
        site.url("data/b/"),
    ]


def test_a_bucket_and_a_profile_are_completed(site: S3Site, tmp_path: Path) -> None:
    assert f"{site.url()}/" in offered("pos3 ls s3://pos3-test", tmp_path)
    assert offered(f"pos3 ls {site.url()[:-2]}", tmp_path) == [f"{site.url()}/"]
    assert "s3://posix@" in offered("pos3 ls s3://po", tmp_path)
    assert offered(f"pos3 ls s3://posix@{site.bucket}/dates", tmp_path) == [f"s3://posix@{site.bucket}/dates"]
    assert f"s3://posix@{site.bucket}/" in offered("pos3 ls s3://posix@", tmp_path)


def test_the_profile_that_is_given_is_asked(site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert completions(f"pos3 ls {site.url('date')}", tmp_path) == []
    assert offered(f"pos3 ls --profile posix {site.url('date')}", tmp_path) == [site.url("dates")]


def test_local_paths_are_offered_where_they_may_stand(site: S3Site, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree", {"alpha": b"1", "beta": b"2"})
    assert offered(f"pos3 ls {root}/al", tmp_path) == [f"{root}/alpha"]
    assert completions(f"pos3 download {root}/al", tmp_path) == []
    assert "s3://" in offered("pos3 download s", tmp_path)


@pytest.mark.parametrize(
    "beginning", ["s3://", "s3://no-such-bucket-here/x", "s3://nobody@bucket/x", "s3://b/", "s3:///", "s3://@bucket/x"]
)
def test_what_cannot_be_asked_is_no_error(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beginning: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert completions(f"pos3 ls {beginning}", tmp_path) == []


def test_a_store_that_does_not_answer_is_not_waited_for(site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxy = proxied(site, Hang(times=None))
    began = time.monotonic()
    assert completions(f"pos3 ls {site.url('dat')}", tmp_path) == []
    assert time.monotonic() - began < 8
    proxy.end_hangs()


def test_offline_only_what_is_known_here_is_completed(
    site: S3Site, tmp_path: Path, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = proxied(site)
    monkeypatch.setenv("POS3_OFFLINE", "1")
    assert completions(f"pos3 ls {site.url('dat')}", tmp_path) == []
    assert offered("pos3 ls s3://po", tmp_path) == ["s3://posix@"]
    assert proxy.requests == []
