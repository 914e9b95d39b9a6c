"""Nothing from a listing or a profile becomes a header of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from pos3.profiles.registry import resolve_profile
from tests.support import Request
from tests.support.hostile import HostileStore, Play, element, page, raw

Stage = Callable[[dict[str, Play]], HostileStore]
MIB = 1 << 20
BODY = b"x" * (17 * MIB)


@pytest.mark.parametrize(
    "etag",
    [
        "a&#13;&#10;X-Evil: 1",
        "a&#10;X-Evil: 1",
        "a\nX-Evil: 1",
        "a&#9;b",
        "a\x7fb",
        "é",
        "a\u202eb",
        "a&#x85;X-Evil: 1",
    ],
    ids=ascii,
)
def test_a_listed_etag_with_line_ends_adds_no_header(hostile: Stage, tmp_path: Path, etag: str) -> None:
    def body(_: Request) -> bytes:
        return raw(200, BODY, b'ETag: "other"', b"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT")

    store = hostile({"LIST": raw(200, page(element("data/a", len(BODY), etag=etag))), "GET": body, "HEAD": raw(404)})
    with pos3.mirror(tmp_path, show_progress=False):
        root = pos3.download("s3://bucket/data")
    assert (root / "a").stat().st_size == len(BODY)
    assert all("x-evil" not in request.headers for request in store.asked)
    assert all("\n" not in value for request in store.asked for value in request.headers.values())


SETTINGS = ("endpoint", "region", "server_side_encryption", "sse_kms_key_id")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("control", ["\r\nX-Evil: 1", "\n", "\x00", "\x1b[2J", "\x7f", "\x85"], ids=ascii)
def test_a_profile_with_control_characters_is_refused(setting: str, control: str) -> None:
    options = {"endpoint": "https://storage.example.com", setting: f"https://x{control}"}
    with pytest.raises(pos3.ProfileError, match=f"{setting}.*control character") as failure:
        pos3.Profile("acme", **options)  # type: ignore[arg-type]
    assert control not in str(failure.value)


@pytest.mark.parametrize("setting", SETTINGS)
def test_so_is_one_of_the_profiles_file(isolated_home: Path, setting: str) -> None:
    table = {"endpoint": "https://storage.example.com", setting: "https://x\\r\\nX-Evil: 1"}
    lines = "".join(f'{name} = "{value}"\n' for name, value in table.items())
    (isolated_home / "profiles.toml").write_text(f"[profiles.acme]\n{lines}")
    with pytest.raises(pos3.ProfileError, match="control character"):
        resolve_profile("acme")


@pytest.mark.parametrize("variable", ["AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"])
def test_the_environment_adds_no_header_either(
    hostile: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    store = hostile({})
    value = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": store.endpoint_url}[variable]
    monkeypatch.setenv(variable, f"{value}\r\nX-Evil: 1")
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises((pos3.Pos3Error, OSError)):
        pos3.ls("s3://bucket/data")
    assert all("x-evil" not in request.headers for request in store.asked)
