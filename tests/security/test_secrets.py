"""Secrets are in no message, log, repr, traceback, journal or index, however they came to pos3."""

from __future__ import annotations

import copy
import logging
import pickle
import pprint
import re
import reprlib
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from pos3.profiles.registry import resolve_profile
from pos3.profiles.secrets import Secret
from pos3.store.endpoints import shown_address
from pos3.store.s3.errors import error_for
from tests.security.echo import EchoServer
from tests.security.showing import shown
from tests.support import S3Site, write_tree
from tests.support.program import run_program

ACCESS, SECRET, TOKEN = "AKIDhunter2", "hunter2/secret+key", "hunter2-token-" + "x" * 400
HIDDEN = re.compile(r"hunter2|Signature=[0-9a-f]{8}")
Call = Callable[[str, pos3.Profile], object]


@pytest.fixture(autouse=True)
def no_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pos3.profiles.registry._PROFILES", {})
    monkeypatch.setattr("pos3.profiles.registry._REQUESTED_NAMES", {})


def profile_at(endpoint: str, name: str = "acme") -> pos3.Profile:
    return pos3.Profile(name, endpoint, access_key=ACCESS, secret_key=SECRET, session_token=TOKEN)


def leaks(*texts: str) -> list[str]:
    """The lines that show a secret."""
    return [line[:300] for text in texts for line in text.splitlines() if HIDDEN.search(line)]


def download(url: str, profile: pos3.Profile) -> object:
    return pos3.download(url, profile=profile)


def upload(url: str, profile: pos3.Profile, size_bytes: int = 3) -> object:
    write_tree(pos3.upload(url, profile=profile, interval=None), {"a": b"1" * size_bytes})
    return pos3.flush()


def upload_in_parts(url: str, profile: pos3.Profile) -> object:
    return upload(url, profile, 9 << 20)


def publish(url: str, profile: pos3.Profile) -> object:
    root = write_tree(pos3.current_mirror().cache_root / "set", {"a": b"1"})  # type: ignore[attr-defined]
    return pos3.publish(url, root, profile=profile)


def ls(url: str, profile: pos3.Profile) -> object:
    return pos3.ls(url, profile=profile)


# -- what servers say


@pytest.mark.parametrize(
    ("code", "status"),
    [("ExpiredToken", 400), ("AccessDenied", 403), ("InvalidRequest", 400)],
    ids=str,
)
@pytest.mark.parametrize(
    ("call", "lists", "key"),
    [
        pytest.param(download, True, "a", id="download"),
        pytest.param(download, True, "new\nline", id="download-by-boto3"),
        pytest.param(upload, True, "a", id="upload"),
        pytest.param(upload_in_parts, True, "a", id="upload-in-parts"),
        pytest.param(ls, False, "a", id="list"),
    ],
)
def test_a_refusal_that_quotes_token_and_signature_does_not_pass_them_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, call: Call, lists: bool, key: str, code: str, status: int
) -> None:
    caplog.set_level(logging.DEBUG, "pos3")
    with EchoServer(code, status, lists=lists, key=key) as server:
        profile = profile_at(server.endpoint_url)
        with (
            pytest.raises(pos3.Pos3Error) as failure,
            pos3.mirror(tmp_path / "cache", show_progress=False, default_profile=profile),
        ):
            call("s3://bucket/data", profile)
    assert code in str(failure.value) or str(status) in str(failure.value)
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("pos3")]
    assert leaks(shown(failure.value), *logged) == []


def test_what_is_left_of_a_quoting_message_still_tells_the_cause() -> None:
    message = "The token=abc was refused for key data/a; Signature: 99ff, Credential=AKID/x"
    error = error_for("AccessDenied", 403, message, "s3://bucket/data/a")
    assert "The token=*** was refused for key data/a; Signature: ***, Credential=***" in str(error)


def test_an_endpoint_that_cannot_be_reached_shows_no_signed_request(tmp_path: Path) -> None:
    with (
        EchoServer("AccessDenied", 403) as server,
        pos3.mirror(tmp_path / "cache", show_progress=False),
        pytest.raises(pos3.EndpointError, match="TLS") as failure,
    ):
        pos3.ls("s3://bucket/data", profile=profile_at(server.endpoint_url.replace("http://", "https://")))
    assert leaks(shown(failure.value)) == []


def test_a_wrong_secret_is_named_and_not_shown(rclone_site: S3Site, tmp_path: Path) -> None:
    wrong = pos3.Profile("acme", rclone_site.server.endpoint_url, False, None, rclone_site.server.access_key, SECRET)
    with (
        pos3.mirror(tmp_path / "cache", show_progress=False),
        pytest.raises(pos3.CredentialsError, match="SignatureDoesNotMatch") as failure,
    ):
        download(rclone_site.url("data"), wrong)
    assert leaks(shown(failure.value)) == []


@pytest.mark.parametrize(
    ("address", "told"),
    [
        pytest.param("http://who:hunter2@host:9/path?hunter2#hunter2", "http://host:9/path", id="url"),
        pytest.param("who:hunter2@host:9", "host:9", id="no-scheme"),
        pytest.param("wh_o:hunter2@host:9", "host:9", id="no-name-of-a-scheme"),
        pytest.param("http://who:hunter2/hunter2@host", "http://host", id="slash-in-the-secret"),
        pytest.param("http://[::1]:9000/", "http://[::1]:9000/", id="nothing-secret"),
    ],
)
def test_the_address_of_an_endpoint_or_proxy_is_shown_without_its_secret(address: str, told: str) -> None:
    assert shown_address(address) == told


# -- keys in URLs


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("s3://who:hunter2@bucket/key", id="unknown-profile"),
        pytest.param("s3://who:hunter2@bad bucket/key", id="bad-bucket"),
        pytest.param("s3://who:hunter2@/key", id="no-bucket"),
        pytest.param("s3://:hunter2@bucket/key", id="no-profile"),
        pytest.param("s3://who:sec/hunter2@bucket/key", id="slash-in-the-secret"),
        pytest.param("s3://who:12345/hunter2@bucket/key", id="digits-and-slash"),
        pytest.param("s3://who:hunter2/key", id="no-at"),
        pytest.param("s3://who:s@hunter2@bad bucket/key", id="at-in-the-secret"),
        pytest.param("S3://who:hunter2@bucket/key", id="upper-case"),
        pytest.param("s3:/who:hunter2@bucket/key", id="one-slash"),
        pytest.param("s3:who:hunter2@bucket/key", id="no-slash"),
        pytest.param("3s://who:hunter2@bucket/key", id="taken-for-a-local-path"),
        pytest.param("nonsense://who:hunter2@bucket/key", id="unknown-scheme"),
        pytest.param("https://who:hunter2@bucket.s3.amazonaws.com/key", id="web-address"),
        pytest.param("https://who:hunter2@s3.amazonaws.com/bucket/key", id="web-address-with-path"),
        pytest.param(Path("s3://who:hunter2@bucket/key"), id="path-object"),
    ],
)
def test_a_secret_in_a_url_is_masked_in_every_message(tmp_path: Path, address: str | Path) -> None:
    with (
        pos3.mirror(tmp_path / "cache", show_progress=False),
        pytest.raises((pos3.InvalidArgumentError, pos3.RemoteNotFoundError)) as failure,
    ):
        pos3.download(address)
    assert leaks(str(failure.value), repr(failure.value)) == []


def test_the_command_line_masks_a_secret_in_a_url(tmp_path: Path) -> None:
    ran = run_program("ls", "s3://who:hunter2/x@bucket/key", HOME=str(tmp_path))
    assert ran.status != 0
    assert "who" in ran.stderr
    assert leaks(ran.stdout, ran.stderr) == []


def test_debug_messages_of_the_command_show_no_secret_wherever_it_was_set(tmp_path: Path) -> None:
    """Keys and token in the environment, a password of the HTTP proxy, and a server that quotes what was signed."""
    keys = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    with EchoServer("SlowDown", 503) as server:
        host = server.endpoint_url.removeprefix("http://")
        ran = run_program(
            "download",
            "-v",
            "s3://bucket/data",
            "--cache-root",
            tmp_path,
            **keys,
            AWS_ENDPOINT_URL="http://who:hunter2@s3.example.com",
            NO_PROXY="",
            no_proxy="",
            http_proxy=f"http://who:hunter2@{host}",
        )
    assert ran.status == 1
    assert "endpoint http://s3.example.com, path addressing, region us-east-1, profile 'default'" in ran.stderr
    assert f"proxy http://{host}" in ran.stderr
    assert "attempt 2 of 6" in ran.stderr
    assert leaks(ran.stdout, ran.stderr) == []


def test_a_secret_in_a_url_of_a_known_profile_is_dropped(rclone_site: S3Site, tmp_path: Path) -> None:
    server = rclone_site.server
    pos3.register_profile("who", server.endpoint_url, access_key=server.access_key, secret_key=server.secret_key)
    with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
        path = pos3.upload(f"s3://who:hunter2@{rclone_site.bucket}/up", interval=None)
        write_tree(path, {"a": b"1"})
        pos3.flush()
        said = [str(path), repr(mirror), repr(pos3.reference(path)), repr(mirror.registrations())]
        state = written_below(tmp_path / "cache" / ".pos3")
    assert leaks(*said, state) == []


# -- what is written down


def written_below(directory: Path) -> str:
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".sqlite", ".jsonl"}
    return "\n".join(path.read_bytes().decode("latin-1") for path in files)


def test_neither_journal_nor_index_holds_a_key_or_token(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put("data/a", b"1")
    profile = profile_at(moto_site.server.endpoint_url)
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.sync(moto_site.url("data"), profile=profile, interval=None)
        upload(moto_site.url("up"), profile)
        assert leaks(written_below(tmp_path / "cache" / ".pos3")) == []
        assert leaks(written_below(tmp_path / "cache")) == []


# -- what shows values


def test_no_public_value_shows_the_secrets_of_its_profile() -> None:
    profile = profile_at("https://s3.example.com")
    mirror = pos3.Mirror(pos3.MirrorOptions(default_profile=profile))
    values = [profile, pos3.MirrorOptions(default_profile=profile), mirror, vars(profile), {"keys": [profile]}]
    showing = (repr, str, pprint.pformat, reprlib.repr, "{!r:.500}".format)
    assert leaks(*(show(value) for value in values for show in showing)) == []


def test_a_secret_is_its_text_everywhere_but_in_its_repr() -> None:
    secret = Secret(TOKEN)
    for same in (secret, copy.deepcopy(secret), pickle.loads(pickle.dumps(secret))):
        assert same == TOKEN
        assert hash(same) == hash(TOKEN)
        assert f"{same}" == str(same) == TOKEN
        assert leaks(repr(same), repr(same[:80]), repr([same])) == []


def write_profiles(home: Path, mistake: str, keys_in: str) -> None:
    (home / "keys").write_text(f"[acme]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n")
    keys = f'access_key = "{ACCESS}"\nsecret_key = "{SECRET}"' if keys_in == "profiles" else 'credentials_file = "keys"'
    (home / "profiles.toml").write_text(f"[profiles.acme]\n{mistake}\n{keys}\n")


@pytest.mark.parametrize("keys_in", ["profiles", "credentials"])
@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param('endpoint = "s3.example.com"', id="endpoint"),
        pytest.param('endpoint = "https://x"\naddressing_style = "x"', id="addressing-style"),
        pytest.param('endpoint = "https://x"\naws_profile = "x"', id="two-kinds-of-credentials"),
        pytest.param('endpoint = "https://x"\nnonsense = "x"', id="unknown-setting"),
        pytest.param('endpoint = "https://x"\nregion = 5', id="wrong-type"),
    ],
)
def test_a_mistake_in_the_profiles_file_shows_no_secret_of_it(isolated_home: Path, mistake: str, keys_in: str) -> None:
    write_profiles(isolated_home, mistake, keys_in)
    with pytest.raises(pos3.ProfileError, match="acme") as failure:
        resolve_profile("acme")
    assert leaks(shown(failure.value)) == []


def test_an_endpoint_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(pos3.ProfileError, match="user and password") as failure:
        pos3.Profile("acme", "https://who:hunter2@s3.example.com")
    assert leaks(str(failure.value), repr(failure.value)) == []


@pytest.mark.parametrize("text", ["[profiles.acme\n", "[profiles.acme]\nx = hunter2\n", "\udcff"], ids=repr)
def test_a_profiles_file_that_is_no_toml_shows_nothing_of_its_text(isolated_home: Path, text: str) -> None:
    secret = f'[profiles.ok]\nsecret_key = "{SECRET}"\n'
    (isolated_home / "profiles.toml").write_bytes((secret + text).encode("utf-8", "surrogateescape"))
    with pytest.raises(pos3.ProfileError, match=r"profiles\.toml") as failure:
        resolve_profile("acme")
    assert leaks(str(failure.value), repr(failure.value)) == []
    assert failure.value.__suppress_context__
