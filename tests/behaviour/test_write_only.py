"""Credentials that may only write, or only read objects that they can name: what they do, and what they are told."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

import pos3
from tests.support import MotoServer, Proxy, Request, S3Site, Status, contents, on, write_tree
from tests.support.program import run_program
from tests.support.trees import pseudo_random

PutBefore = Callable[..., Proxy]
FILES = {"a": b"1", "d/b": b"22", "large": pseudo_random(9 << 20)}
WRITES = {"PUT", "POST ?uploads", "PUT ?partNumber", "POST ?uploadId"}
EVERYTHING_ELSE = 1 << 30


def forbidden(request: Request) -> bool:
    return request.kind not in WRITES


@pytest.fixture
def write_only(rclone_site: S3Site, proxied: PutBefore) -> Proxy:
    return proxied(rclone_site, Status(403, "AccessDenied", match=forbidden))


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def upload(site: S3Site, tmp_path: Path, **options: object) -> None:
    with opened(tmp_path):
        pos3.upload(site.url("data"), tmp_path / "tree", interval=None, delete=False, **options)  # type: ignore[arg-type]


def sent(proxy: Proxy) -> list[str]:
    """The keys of what was sent, since this was called last."""
    keys = sorted({request.key for request in proxy.requests if request.kind in WRITES})
    proxy.clear()
    return keys


# Uploads


def test_an_upload_without_deletes_needs_the_right_to_write_alone(
    rclone_site: S3Site, tmp_path: Path, write_only: Proxy
) -> None:
    tree = write_tree(tmp_path / "tree", FILES)
    (tree / "hollow").mkdir()
    upload(rclone_site, tmp_path)
    assert rclone_site.objects("data/") == FILES
    assert sent(write_only) == ["data/a", "data/d/b", "data/large"]


@pytest.mark.parametrize("compare", ["auto", "size", "checksum"])
def test_what_was_sent_from_here_and_has_not_changed_is_not_sent_again(
    rclone_site: S3Site, tmp_path: Path, write_only: Proxy, compare: str
) -> None:
    tree = write_tree(tmp_path / "tree", FILES)
    upload(rclone_site, tmp_path, compare=compare)
    sent(write_only)
    upload(rclone_site, tmp_path, compare=compare)
    assert sent(write_only) == []
    (tree / "a").write_bytes(b"other")
    (tree / "new").write_bytes(b"3")
    (tree / "d/b").unlink()
    upload(rclone_site, tmp_path, compare=compare)
    assert sent(write_only) == ["data/a", "data/new"]
    assert rclone_site.objects("data/") == {**FILES, "a": b"other", "new": b"3"}
    upload(rclone_site, tmp_path, compare=compare, overwrite="new")
    assert sent(write_only) == ["data/new"]


def test_without_a_record_everything_is_sent(rclone_site: S3Site, tmp_path: Path, write_only: Proxy) -> None:
    write_tree(tmp_path / "tree", FILES)
    upload(rclone_site, tmp_path)
    sent(write_only)
    with pos3.mirror(tmp_path / "other", show_progress=False):
        pos3.upload(rclone_site.url("data"), tmp_path / "tree", interval=None, delete=False)
    assert sent(write_only) == ["data/a", "data/d/b", "data/large"]


def test_one_file_can_be_uploaded_to_its_key(rclone_site: S3Site, tmp_path: Path, write_only: Proxy) -> None:
    file = write_tree(tmp_path / "tree", FILES) / "a"
    with opened(tmp_path):
        pos3.upload(rclone_site.url("x/a"), file, interval=None, delete=False)
    assert rclone_site.objects() == {"x/a": b"1"}


def test_background_pushes_need_no_more(rclone_site: S3Site, tmp_path: Path, write_only: Proxy) -> None:
    with opened(tmp_path):
        path = pos3.upload(rclone_site.url("data"), delete=False)
        (path / "first").write_bytes(b"1")
        pos3.flush()
        assert rclone_site.objects() == {"data/first": b"1"}
        (path / "second").write_bytes(b"2")
    assert rclone_site.objects() == {"data/first": b"1", "data/second": b"2"}
    assert sent(write_only) == ["data/first", "data/second"]


def test_a_dry_run_shows_what_would_be_sent(rclone_site: S3Site, tmp_path: Path, write_only: Proxy) -> None:
    write_tree(tmp_path / "tree", FILES)
    with opened(tmp_path) as mirror:
        plan = mirror.plan_upload(rclone_site.url("data"), tmp_path / "tree", delete=False)
    assert [url for _, url in plan.to_copy] == [rclone_site.url(f"data/{name}") for name in FILES]
    assert sent(write_only) == []


def test_the_command_line_says_that_nothing_is_listed(rclone_site: S3Site, tmp_path: Path, write_only: Proxy) -> None:
    write_tree(tmp_path / "tree", FILES)
    command = ("upload", rclone_site.url("data"), "--local", tmp_path / "tree", "--cache-root", tmp_path / "cache")
    ran = run_program(*command)
    assert (ran.status, "3 uploaded" in ran.stderr, "may not be listed" in ran.stderr) == (0, True, True)
    assert rclone_site.objects("data/") == FILES
    ran = run_program(*command)
    assert (ran.status, "3 unchanged" in ran.stderr) == (0, True)
    ran = run_program(*command, "--delete")
    assert ran.status == 1
    assert "--delete lists what is there" in ran.stderr


READING = {
    "upload": (lambda url, tree: pos3.upload(url, tree, interval=None), "with delete=False"),
    "sync": (lambda url, tree: pos3.sync(url, tree, interval=None), "a sync reads what is there"),
    "bisync": (pos3.bisync, "a sync reads what is there"),
    "publish": (pos3.publish, "upload_last='_SUCCESS'"),
}


@pytest.mark.parametrize(("call", "told"), READING.values(), ids=READING)
def test_what_must_read_is_one_error_that_says_what_to_do_before_anything_is_changed(
    rclone_site: S3Site, tmp_path: Path, write_only: Proxy, call: Callable[[str, Path], object], told: str
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    rclone_site.put("data/old", b"0")
    with pytest.raises(pos3.AccessDeniedError, match=told), opened(tmp_path):
        call(rclone_site.url("data"), tree)
    assert contents(tree) == {"a": b"1"}
    assert rclone_site.objects() == {"data/old": b"0"}
    assert sent(write_only) == []


def test_what_a_killed_process_left_is_not_pushed_over_what_nobody_may_look_at(
    rclone_site: S3Site, tmp_path: Path, write_only: Proxy
) -> None:
    """Recovering keeps what others have put there since; the same program, started again, pushes."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pos3, sys\n"
        f"with pos3.mirror({str(tmp_path / 'cache')!r}, show_progress=False):\n"
        f"    path = pos3.upload({rclone_site.url('data')!r}, interval=None, delete=False)\n"
        "    (path / 'a').write_bytes(b'1')\n"
        "    os._exit(9) if sys.argv[1:] else None\n"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, str(program), "die"]) == 9
    [left] = pos3.recover(tmp_path / "cache", show_progress=False)
    assert (left.outcome, type(left.error), sent(write_only)) == ("failed", pos3.AccessDeniedError, [])
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, str(program)]) == 0
    assert rclone_site.objects() == {"data/a": b"1"}
    assert pos3.recover(tmp_path / "cache", show_progress=False) == []


# Downloads


@pytest.mark.parametrize("key", ["data/a", "data/large"])
def test_one_object_can_be_downloaded_where_nothing_may_be_listed(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, key: str
) -> None:
    rclone_site.put_all({f"data/{name}": body for name, body in FILES.items()})
    proxy = proxied(rclone_site, Status(403, "AccessDenied", match=on("LIST")))
    for _ in range(2):
        with opened(tmp_path):
            assert pos3.download(rclone_site.url(key)).read_bytes() == FILES[key.removeprefix("data/")]
    assert proxy.count("GET") == 1


def test_a_missing_key_is_told_from_a_forbidden_one_where_the_store_does_not(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    """S3 answers 403 for both."""
    proxied(rclone_site, Status(403, "AccessDenied", match=on("LIST", "HEAD")))
    told = "an object of exactly this key is missing or may not be read"
    with pytest.raises(pos3.AccessDeniedError, match=told) as caught, opened(tmp_path):
        pos3.download(rclone_site.url("data/typo"))
    assert caught.value.url == rclone_site.url("data/typo")


# With the policies of AWS


@pytest.fixture
def allowing(new_site: Callable[..., S3Site], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., S3Site]]:
    """`allowing("s3:PutObject")`: a bucket, and credentials in the environment that may do this alone."""
    with MotoServer() as server:
        site = new_site(server)
        iam = boto3.client("iam", endpoint_url=server.endpoint_url)
        iam.create_user(UserName="user")
        key = iam.create_access_key(UserName="user")["AccessKey"]

        def check_from(action: int) -> None:
            request = urllib.request.Request(
                f"{server.endpoint_url}/moto-api/reset-auth", str(action).encode(), {"Content-Type": "text/plain"}
            )
            urllib.request.urlopen(request).close()

        def allow(*actions: str) -> S3Site:
            statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
            policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            check_from(EVERYTHING_ELSE)
            iam.put_user_policy(UserName="user", PolicyName="rights", PolicyDocument=policy)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
            check_from(0)
            return site

        allow.ends = lambda: check_from(EVERYTHING_ELSE)  # type: ignore[attr-defined]
        yield allow


def test_credentials_of_aws_that_may_only_put_and_then_only_get(
    allowing: Callable[..., S3Site], tmp_path: Path
) -> None:
    site = allowing("s3:PutObject")
    tree = write_tree(tmp_path / "tree", FILES)
    with pytest.raises(pos3.AccessDeniedError, match="with delete=False"), opened(tmp_path):
        pos3.upload(site.url("data"), tree, interval=None)
    upload(site, tmp_path)
    upload(site, tmp_path)
    site = allowing("s3:GetObject")
    for key in ("a", "large"):
        with opened(tmp_path):
            assert pos3.download(site.url(f"data/{key}")).read_bytes() == FILES[key]
    with pytest.raises(pos3.AccessDeniedError, match="listing"), opened(tmp_path):
        pos3.download(site.url("data"))
    allowing.ends()  # type: ignore[attr-defined]
    assert site.objects("data/") == FILES
