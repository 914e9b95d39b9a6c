"""Signed requests: whatever characters the credentials have, the server is told exactly these, or nothing is sent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pos3
from pos3.errors import CredentialsError
from pos3.store import Store, open_store
from pos3.url import Location
from tests.support import Handler, RcloneServer, S3Site, ScriptedServer, contents, write_tree
from tests.support.trees import pseudo_random

EMPTY_PAGE = b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>"


def store_with(endpoint: str, access_key: str, secret_key: str = "secret", token: str | None = None) -> Store:
    profile = pos3.Profile(
        "theirs", endpoint, access_key=access_key, secret_key=secret_key, session_token=token, region="us-east-1"
    )
    return open_store(Location("s3", "bucket", ""), profile, 2)


@pytest.mark.parametrize(
    ("access_key", "secret_key"),
    [
        pytest.param("test:tester", "testing", id="tenant-and-user"),
        pytest.param("project$user", "s3/cr+t=", id="dollar"),
        pytest.param("user@example.com", "secret:with:colons", id="mail-address"),
        pytest.param("100%41a+b", "s e\\c$r%41et", id="percent"),
        pytest.param("plain", "geheimnisträger", id="secret-beyond-ascii"),
    ],
)
def test_credentials_of_any_characters_open_the_bucket(
    private_rclone: tuple[RcloneServer, S3Site],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    access_key: str,
    secret_key: str,
) -> None:
    server, site = private_rclone
    server.rotate_keys(access_key, secret_key)
    server.restart()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    tree = {"large": pseudo_random(20 << 20), "plain": b"1", "a space &ü": b"2", "empty": b""}
    source, copy = tmp_path / "source", tmp_path / "copy"
    write_tree(source, tree)
    for gone in (set(), {"plain", "empty"}):
        for name in gone:
            (source / name).unlink()
        left = {name: data for name, data in tree.items() if name not in gone}
        with pos3.mirror(cache_root=tmp_path / "cache", show_progress=False):
            pos3.upload(site.url("out"), local=source, interval=None)
        assert site.objects("out/") == left
        with pos3.mirror(cache_root=tmp_path / "cache", show_progress=False):
            pos3.download(site.url("out"), local=copy)
        assert contents(copy) == left


def test_all_pages_of_a_listing_are_asked_for_with_the_access_key_as_it_is(
    private_rclone: tuple[RcloneServer, S3Site],
) -> None:
    server, site = private_rclone
    for number in range(3010):
        (server.data / site.bucket / f"{number:04}").touch()
    server.rotate_keys("tenant:user", "secret")
    server.restart()
    profile = pos3.Profile("theirs", server.endpoint_url, access_key="tenant:user", secret_key="secret")
    store = open_store(Location("s3", site.bucket, ""), profile, 4)
    assert [entry.path for entry in store.entries("", is_prefix=True)] == [f"{number:04}" for number in range(3010)]


@pytest.mark.parametrize("access_key", ["AKIA0123", "tenant:user", "a/b", "$x", "p%3Aq", "A+b/c==", 'q"uo,te;d', "a b"])
def test_the_server_is_told_the_access_key_as_it_is(access_key: str) -> None:
    told: list[str] = []

    class Listening(Handler):
        def respond(self) -> None:
            self.body()
            told.append(self.headers["Authorization"])
            self.answer(200, EMPTY_PAGE if self.command == "GET" else b"")

    with ScriptedServer(Listening) as server:
        store = store_with(server.endpoint_url, access_key)
        store.survey("x")
        store.delete(["a", " b", " b/../c"])
    assert len(told) == 4
    for header in told:
        found = re.search(r"Credential=(.*)/\d{8}/us-east-1/s3/aws4_request", header)
        assert found
        assert found[1] == access_key


@pytest.mark.parametrize(
    ("access_key", "token"),
    [
        pytest.param("AKIA12\n", None, id="line-end"),
        pytest.param("AKIA12\r\nHost: elsewhere", None, id="header"),
        pytest.param(" AKIA12", None, id="blank-before"),
        pytest.param("AKIA12é", None, id="beyond-ascii"),
        pytest.param("AKIA12", "token\r\n", id="token-with-line-end"),
    ],
)
def test_credentials_that_no_header_can_carry_are_named_and_nothing_is_sent(access_key: str, token: str | None) -> None:
    asked: list[str] = []

    class Listening(Handler):
        def respond(self) -> None:
            asked.append(self.path)
            self.answer(200, EMPTY_PAGE)

    told = pytest.raises(CredentialsError, match="the access key or the session token")
    with ScriptedServer(Listening) as server, told as failure:
        store_with(server.endpoint_url, access_key, token=token).survey("x")
    assert asked == []
    assert "AKIA12" not in str(failure.value)
