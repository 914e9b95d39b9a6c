"""`pos3 profile`: what is in the profiles file, and whether an endpoint answers to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import S3Site
from tests.support.program import run_program


@pytest.fixture
def profiles(rclone_site: S3Site, isolated_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    server = rclone_site.server
    path = isolated_home / "profiles.toml"
    path.write_text(
        f"""
[profiles.lab]
endpoint = "{server.endpoint_url}"
region = "eu-north-1"
access_key = "{server.access_key}"
secret_key = "{server.secret_key}"

[profiles.open]
endpoint = "https://open.example.com"
public = true

[profiles.team]
aws_profile = "team"
"""
    )
    path.chmod(0o600)
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    return path


def test_profiles_are_listed_without_their_secrets(profiles: Path, rclone_site: S3Site) -> None:
    ran = run_program("profile", "ls")
    assert (ran.status, ran.stderr) == (0, "")
    assert [line.split(maxsplit=2) for line in ran.lines] == [
        ["NAME", "ENDPOINT", ran.lines[0].split(maxsplit=2)[2]],
        ["lab", rclone_site.server.endpoint_url, "eu-north-1  keys of its own"],
        ["open", "https://open.example.com", "none, public"],
        ["team", "AWS", "AWS profile team"],
    ]
    as_json = run_program("profile", "ls", "--json")
    assert as_json.objects[0] == {
        "name": "lab",
        "endpoint": rclone_site.server.endpoint_url,
        "region": "eu-north-1",
        "credentials": "keys of its own",
        "local_name": "lab",
    }
    for secret in (rclone_site.server.secret_key, rclone_site.server.access_key):
        assert secret not in ran.stdout + as_json.stdout


def test_an_entry_that_cannot_work_is_told_and_the_others_are_listed(profiles: Path) -> None:
    profiles.write_text(profiles.read_text() + '\n[profiles.broken]\nendpoint = "no-url"\n')
    ran = run_program("profile", "ls")
    assert ran.status == 1
    assert [line.split()[0] for line in ran.lines] == ["NAME", "lab", "open", "team"]
    assert "'broken'" in ran.stderr


def test_no_profiles_are_no_error(isolated_home: Path) -> None:
    ran = run_program("profile", "ls")
    assert (ran.status, ran.stdout) == (0, "")
    assert f"there are no profiles in {isolated_home}/profiles.toml" in ran.stderr


def test_a_profile_whose_endpoint_answers_is_good(profiles: Path, rclone_site: S3Site) -> None:
    ran = run_program("profile", "check", "lab", "--json")
    assert (ran.status, [finding["is_good"] for finding in ran.objects]) == (0, [True] * 4)
    found = {finding["name"]: finding["told"] for finding in ran.objects}
    assert found["endpoint"] == f"{rclone_site.server.endpoint_url}, region eu-north-1"
    assert found["credentials"] == "explicit, profile 'lab'"


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        pytest.param("nobody", "", "unknown profile", id="unknown"),
        pytest.param("team", "", "team", id="no such AWS profile"),
        pytest.param("lab", "http://127.0.0.1:9", "the endpoint", id="nobody there"),
    ],
)
def test_a_profile_that_cannot_work_is_bad(
    profiles: Path, rclone_site: S3Site, name: str, change: str, told: str
) -> None:
    if change:
        profiles.write_text(profiles.read_text().replace(rclone_site.server.endpoint_url, change))
    ran = run_program("profile", "check", name)
    assert ran.status == 1
    assert ran.lines[-2].startswith("BAD ")
    assert told in ran.stdout
    assert "what to do: " in ran.lines[-1]


def test_wrong_keys_are_bad(profiles: Path, rclone_site: S3Site) -> None:
    profiles.write_text(profiles.read_text().replace(rclone_site.server.secret_key, "wrong"))
    ran = run_program("profile", "check", "lab")
    assert ran.status == 1
    assert "check the credentials" in ran.lines[-1]


def test_offline_a_profile_cannot_be_checked(profiles: Path) -> None:
    ran = run_program("profile", "check", "lab", POS3_OFFLINE="1")
    assert ran.status == 1
    assert "POS3_OFFLINE says that no request is sent" in ran.lines[0]
    assert ran.lines[-1].endswith("what to do: unset POS3_OFFLINE")
