"""What is misspelt is answered with what was probably meant: commands, options, buckets and prefixes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.base import PutBefore
from tests.support import S3Site, write_tree
from tests.support.program import run_program


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({"data/images/a.png": b"1", "data/labels.csv": b"2", "models/v1": b"3"})
    return rclone_site


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(
            "donwload s3://b/k", "there is no command 'pos3 donwload'; did you mean 'pos3 download'?", id="typo"
        ),
        pytest.param(
            "cache prun", "there is no command 'pos3 cache prun'; did you mean 'pos3 cache prune'?", id="cache"
        ),
        pytest.param("get s3://b/k", "did you mean 'pos3 download'?", id="other name"),
        pytest.param("quux", "Commands: ls, partition, download, upload, sync,", id="nothing like it"),
        pytest.param("cp x s3://b/k", "To copy to S3: pos3 upload s3://BUCKET/KEY --local PATH", id="cp"),
        pytest.param("mv s3://b/k s3://b/l", "use 'rclone moveto' or 'aws s3 mv'", id="mv"),
        pytest.param("rm s3://b/k", "use 'rclone delete' or 'aws s3 rm'", id="rm"),
        pytest.param("download s3://b/k --dry_run", "--dry_run; did you mean --dry-run?", id="option"),
        pytest.param(
            "download s3://b/k --frob", "--frob; 'pos3 download --help' shows the options", id="unknown option"
        ),
    ],
)
def test_a_misspelt_command_or_option_is_wrong_usage_that_says_what_was_meant(words: str, told: str) -> None:
    ran = run_program(*words.split())
    assert (ran.status, ran.stdout) == (2, "")
    assert told in ran.stderr


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        pytest.param("dta", "data/", id="directory"),
        pytest.param("dta/images", "data/", id="directory above"),
        pytest.param("data/imagse/", "data/images/", id="second level"),
        pytest.param("data/Labels.csv", "data/labels.csv", id="case"),
        pytest.param("data/labels.csv/", "data/labels.csv", id="object with a slash"),
    ],
)
@pytest.mark.parametrize("command", ["ls", "download", "fingerprint"])
def test_a_url_with_nothing_there_is_a_failure_that_names_what_is_near(
    site: S3Site, tmp_path: Path, command: str, typo: str, meant: str
) -> None:
    options = ["--local", tmp_path / "here"] if command == "download" else []
    ran = run_program(command, site.url(typo), *options)
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.splitlines()[-1] == f"  did you mean '{site.url(meant)}'?"
    if command == "ls":
        assert ran.stderr.startswith(f"pos3 ls: nothing is at {site.url(typo)}\n")


@pytest.mark.parametrize("options", [[], ["-r"], ["-l"], ["--json"]], ids=" ".join)
def test_ls_of_what_is_like_nothing_else_is_one_line_and_status_1(site: S3Site, options: list[str]) -> None:
    ran = run_program("ls", *options, site.url("nothing/"))
    assert (ran.status, ran.stdout, ran.stderr) == (1, "", f"pos3 ls: nothing is at {site.url('nothing/')}\n")


def test_the_profile_of_a_mistyped_url_is_in_the_answer(
    site: S3Site, isolated_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = site.server
    profiles = isolated_home / "profiles.toml"
    profiles.write_text(
        f'[profiles.lab]\nendpoint = "{server.endpoint_url}"\n'
        f'access_key = "{server.access_key}"\nsecret_key = "{server.secret_key}"\n'
    )
    profiles.chmod(0o600)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    ran = run_program("ls", f"s3://lab@{site.bucket}/dta")
    assert ran.stderr.splitlines()[-1] == f"  did you mean 's3://lab@{site.bucket}/data/'?"


def test_a_mistyped_bucket_is_answered_with_the_bucket_that_is_near(site: S3Site, tmp_path: Path) -> None:
    typo = f"s3://{site.bucket[:-1]}/data"
    ran = run_program("download", typo, "--local", tmp_path / "here")
    assert (ran.status, ran.stdout) == (1, "")
    assert site.url("data") in ran.stderr.splitlines()[-1]


def test_an_empty_bucket_and_an_empty_directory_are_there(moto_site: S3Site, tmp_path: Path) -> None:
    assert run_program("ls", moto_site.url()).status == 0
    moto_site.put("void/", b"")
    ran = run_program("ls", moto_site.url("void"))
    assert (ran.status, ran.stdout, ran.stderr) == (0, "", "")
    assert run_program("ls", write_tree(tmp_path / "empty", {})).status == 0


def test_a_large_directory_is_not_listed_as_a_whole_for_a_suggestion(rclone_site: S3Site, proxied: PutBefore) -> None:
    rclone_site.put_all({f"data/a{number:04}": b"" for number in range(1100)} | {"data/zebra": b""})
    proxy = proxied(rclone_site)
    ran = run_program("ls", rclone_site.url("data/zebar"))
    assert ran.stderr.splitlines()[-1] == f"  did you mean '{rclone_site.url('data/zebra')}'?"
    assert len(proxy.requests) <= 6
    assert run_program("ls", rclone_site.url("data/qqqqq")).stderr.splitlines()[1:] == []


def test_offline_no_request_is_sent_for_a_suggestion(site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxy = proxied(site)
    ran = run_program("download", site.url("dta"), "--local", tmp_path / "here", POS3_OFFLINE="1")
    assert ran.status == 1
    assert proxy.requests == []
