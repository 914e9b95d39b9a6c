"""Profiles and mirror options that are Prefect blocks."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentCreate
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import ValidationError

import pos3
from pos3.orchestration import Pos3Mirror, Pos3Profile, pos3_flow
from pos3.orchestration.runtime.flow_function import mirror_options_of
from tests.orchestration.conftest import Mirrors, environment_of_children
from tests.support import S3Site

SECRET = "test-secret-key"


@pytest.fixture
def lab(rclone_site: S3Site, monkeypatch: pytest.MonkeyPatch) -> S3Site:
    """A bucket that only the saved block "lab" leads to."""
    profile_of(rclone_site).save("lab", overwrite=True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "wrong")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    return rclone_site


def profile_of(site: S3Site, **settings: Any) -> Pos3Profile:
    server = site.server
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    return Pos3Profile(**{"endpoint": server.endpoint_url, **keys, **settings})


def test_a_block_is_found_by_its_name_wherever_a_profile_is_named(lab: S3Site, cache: Path) -> None:
    lab.put("data/file", b"x")
    url = f"s3://lab@{lab.bucket}/data"
    seen: dict[str, Any] = {}

    @task
    def in_a_task() -> None:
        seen["task"] = pos3.download(url)

    def in_a_thread() -> None:
        seen["thread"] = pos3.download(url)

    @pos3_flow(cache_root=cache, default_profile="lab")
    def learn() -> None:
        seen["default"] = pos3.download(lab.url("data"))
        seen["argument"] = pos3.download(lab.url("data"), profile="lab")
        in_a_task.submit().wait()
        (thread := threading.Thread(target=in_a_thread)).start()
        thread.join()
        (pos3.upload(lab.url("out"), interval=None) / "new").write_text("y")

    learn()
    assert set(seen.values()) == {cache / "lab" / lab.bucket / "data"}
    assert list(seen) == ["default", "argument", "task", "thread"]
    assert lab.get("out/new") == b"y"


async def test_a_block_is_found_in_an_async_flow_and_loaded_once(
    lab: S3Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.put("data/file", b"x")
    Pos3Mirror(cache_root=str(cache), default_profile=await Pos3Profile.aload("lab")).save(
        "gpu-box", overwrite=True, _sync=True
    )
    loaded = []
    load = Pos3Profile._from_block_document.__func__
    monkeypatch.setattr(
        Pos3Profile, "_from_block_document", classmethod(lambda *given: loaded.append(given[1].name) or load(*given))
    )

    @pos3_flow(mirror="gpu-box")
    async def learn() -> list[Path]:
        return [pos3.download(lab.url("data")), *(pos3.download(f"s3://lab@{lab.bucket}/data") for _ in range(3))]

    assert set(await learn()) == {cache / "lab" / lab.bucket / "data"}
    assert loaded == ["lab"]
    assert set(await learn()) == {cache / "lab" / lab.bucket / "data"}
    assert loaded == ["lab", "lab"]


def test_what_is_registered_in_code_wins_over_a_block(lab: S3Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pos3.profiles.registry._PROFILES", {"lab": pos3.Profile("other", "http://127.0.0.1:9")})
    learn = pos3_flow(default_profile="lab")(lambda: pos3.current_mirror().options.default_profile)
    assert learn.with_options(name="code-wins")() == "lab"
    with pytest.raises(pos3.EndpointError):
        pos3_flow(name="code-wins", retries=0)(lambda: pos3.ls(f"s3://lab@{lab.bucket}"))()


def test_outside_of_a_flow_run_no_block_is_looked_for(lab: S3Site, cache: Path) -> None:
    with pos3.mirror(cache), pytest.raises(pos3.ProfileError, match=r"unknown profile 'lab'.*Register it"):
        pos3.ls(f"s3://lab@{lab.bucket}")


@pytest.mark.parametrize("name", ["nobody", "No Body", "../lab"])
def test_a_name_that_no_block_has_is_an_unknown_profile(name: str) -> None:
    learn = flow(name="unknown-profile")(lambda: pos3.ls("s3://bucket/x", profile=name))
    mirrored = pos3_flow(learn)
    with pytest.raises(pos3.ProfileError, match=f"unknown profile {name!r}"):
        mirrored()


def test_the_options_of_a_block_are_below_those_of_the_decorator(mirrors: Mirrors, tmp_path: Path) -> None:
    block = Pos3Mirror(cache_root=str(tmp_path), max_workers=3, cache_limit="1GB")
    block.save("small", overwrite=True)
    for choice in ("small", block):
        pos3_flow(name="small", mirror=choice, max_workers=4)(lambda: None)()
        options = mirrors.opened[-1].options
        assert (options.cache_root, options.max_workers, options.cache_limit) == (str(tmp_path), 4, "1GB")
        assert not options.show_progress


def test_a_mirror_block_that_does_not_exist_fails_the_run_with_one_clear_error(mirrors: Mirrors) -> None:
    learn = pos3_flow(name="no-block")(lambda: None).with_options(mirror="nothing")
    with pytest.raises(pos3.InvalidArgumentError, match=r"mirror='nothing': there is no Pos3Mirror block"):
        learn()
    assert not mirrors.opened


def test_a_block_that_cannot_be_loaded_is_named_with_the_cause(lab: S3Site, cache: Path) -> None:
    failures: list[pos3.ProfileError] = []
    nowhere = {
        PREFECT_API_URL: "http://127.0.0.1:9/api",
        PREFECT_CLIENT_MAX_RETRIES: 0,
    }
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name("lab", "pos3-profile")
        changed = {**document.data, "endpoint": "storage.example.com"}
        client.create_block_document(
            BlockDocumentCreate(
                name="broken",
                data=changed,
                block_schema_id=document.block_schema_id,
                block_type_id=document.block_type_id,
            )
        )

    def without_an_api() -> None:
        with temporary_settings(nowhere):
            note_failure("lab")

    def note_failure(name: str) -> None:
        with pytest.raises(pos3.ProfileError) as failure:
            pos3.ls(f"s3://{name}@{lab.bucket}")
        failures.append(failure.value)

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        note_failure("broken")
        (thread := threading.Thread(target=without_an_api)).start()
        thread.join()

    learn()
    first, second = map(str, failures)
    assert "the Pos3Profile block 'broken' cannot be loaded: " in first
    assert "endpoint 'storage.example.com' must start with https://" in first
    assert lab.server.secret_key not in first
    assert "the Pos3Profile block 'lab' cannot be loaded: " in second
    assert "ConnectError" in second


def test_secrets_are_in_no_repr_no_log_no_message_and_no_listing(
    lab: S3Site, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    block = Pos3Profile.load("lab")
    mirror = Pos3Mirror(default_profile=block)
    url = lab.url()
    learn = pos3_flow(name="secretive", mirror=mirror, cache_root=cache)(lambda: pos3.ls(url))
    assert cloudpickle.loads(cloudpickle.dumps(learn))() == learn() == []
    profile = mirror_options_of(learn).default_profile
    assert isinstance(profile, pos3.Profile)
    assert profile.secret_key == lab.server.secret_key
    shown = [repr(block), str(block), repr(mirror), repr(profile), caplog.text, repr(learn)]
    for bad in ({"endpoint": "nowhere"}, {"access_key": None}, {"addressing_style": "odd"}):
        with pytest.raises(ValidationError) as failure:
            profile_of(lab, **bad)
        shown.append(str(failure.value))
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name("lab", "pos3-profile", include_secrets=False)
        shown.append(document.model_dump_json())
    assert not [text for text in shown if lab.server.secret_key in text]


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (Pos3Profile, {"endpoint": "storage.example.com"}, "must start with https://"),
        (Pos3Profile, {"access_key": "key"}, "access_key and secret_key must be set together"),
        (Pos3Mirror, {"max_workers": 0}, "max_workers=0"),
        (Pos3Mirror, {"cache_limit": "much"}, "cache_limit='much'"),
    ],
    ids=["endpoint", "half a key", "workers", "limit"],
)
def test_a_block_that_cannot_work_is_refused_when_it_is_made(kind: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        kind(**settings)


def test_a_profile_that_has_no_name_yet_needs_a_directory() -> None:
    with pytest.raises(pos3.ProfileError, match="local_name"):
        Pos3Profile().to_profile()
    assert Pos3Profile(local_name="lab", region="eu-north-1", public=True).to_profile() == pos3.Profile(
        "lab", None, True, "eu-north-1"
    )


def test_a_block_with_a_region_and_no_endpoint_is_refused_unless_it_says_aws() -> None:
    aws = pytest.importorskip("prefect_aws", reason="prefect-aws is not installed")
    keys = {"access_key": "key", "secret_key": "secret"}
    minio = aws.MinIOCredentials(minio_root_user="key", minio_root_password="secret", region_name="us-east-1")
    for settings in ({"region": "us-east-1"}, {"region": "us-east-1", **keys}, {"credentials": minio}):
        with pytest.raises(ValidationError, match="endpoint"):
            Pos3Profile(local_name="lab", **settings)
    ours = aws.AwsCredentials(aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1")
    for settings in ({"credentials": ours}, {"region": "us-east-1", "aws_profile": "research"}):
        profile = Pos3Profile(local_name="lab", **settings).to_profile()
        assert (profile.endpoint, profile.region) == (None, "us-east-1")


def said_by_python(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment_of_children())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_blocks_can_be_registered_with_prefect() -> None:
    said = said_by_python("-m", "prefect", "block", "register", "-m", "pos3.orchestration")
    assert "Successfully registered 2 blocks" in said
    with get_client(sync_client=True) as client:
        names = [client.read_block_type_by_slug(slug).name for slug in ("pos3-profile", "pos3-mirror")]
    assert names == ["pos3 Profile", "pos3 Mirror"]


def test_prefect_knows_the_class_of_a_block_and_flows_do_not_wait_for_what_only_blocks_need(lab: S3Site) -> None:
    script = """
import sys, pos3.orchestration
print("pos3.orchestration.blocks" in sys.modules, "prefect_aws" in sys.modules)
from prefect.blocks.core import Block
print(type(Block.load("pos3-profile/lab")).__name__)
"""
    assert said_by_python("-c", script).splitlines() == ["False False", "Pos3Profile"]


def test_credentials_of_prefect_aws_lead_to_the_bucket(lab: S3Site, cache: Path) -> None:
    aws = pytest.importorskip("prefect_aws", reason="prefect-aws is not installed")
    server = lab.server
    where = {"region_name": "us-east-1", "aws_client_parameters": {"endpoint_url": server.endpoint_url}}
    blocks = {
        "with-aws": aws.AwsCredentials(
            aws_access_key_id=server.access_key, aws_secret_access_key=server.secret_key, **where
        ),
        "with-minio": aws.MinIOCredentials(
            minio_root_user=server.access_key, minio_root_password=server.secret_key, **where
        ),
    }
    lab.put("data/file", b"x")
    for name, credentials in blocks.items():
        credentials.save(name, overwrite=True)
        Pos3Profile(credentials=credentials).save(name, overwrite=True)
        learn = pos3_flow(name=name, cache_root=cache)(lambda name=name: pos3.ls(f"s3://{name}@{lab.bucket}/data"))
        assert learn() == [lab.url("data/file")]
    profile = Pos3Profile.load("with-aws").to_profile()
    assert (profile.local_name, profile.region) == ("with-aws", "us-east-1")
    assert lab.server.secret_key not in repr(Pos3Profile.load("with-minio"))
    for settings, said in (
        ({"access_key": "key", "secret_key": "secret"}, "either credentials or keys"),
        ({"credentials": aws.AwsCredentials(assume_role_arn="arn:aws:iam::1:role/r")}, "expire in the middle of a run"),
    ):
        with pytest.raises(ValidationError, match=said):
            Pos3Profile(**{"credentials": blocks["with-aws"], **settings})
