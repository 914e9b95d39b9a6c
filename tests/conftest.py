"""Each test gets a real S3 server, a bucket of its own, and none of the user's configuration."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import hypothesis
import pytest

from tests.support import YOURS, EnvServer, Fault, MemoryServer, MotoServer, Proxy, RcloneServer, S3Site, Server, pages
from tests.support.remembering import remember_at

_ENVIRONMENT = dict(os.environ)
os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
# Tests start hundreds of Pythons. Where each of them has to compile pos3 anew, it takes 0.6 s more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A shell starts its background jobs with SIGINT ignored, and children inherit that: programs that are interrupted in
# tests would not notice.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says more about the machine than about the code.
# The suite asks the same each time, so that it tells of a change and not of luck; fuzz and histories look for more.
hypothesis.settings.register_profile("pos3", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile(
    "fuzz", deadline=None, max_examples=int(os.environ.get("POS3_FUZZ_EXAMPLES", "10000")), print_blob=True
)
hypothesis.settings.load_profile("pos3")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Marks what runs on the server that the environment names; what takes longest comes first.

    Whichever of several processes got the last long test would keep the others waiting. And those that start many
    processes do not come all at once, since a process of pytest begins with a part of all tests in their order.
    """
    for item in items:
        if hasattr(item, "callspec") and "env" in item.callspec.params.values():
            item.add_marker("contract")
    yield
    items.sort(key=lambda item: item.path.parent.name != "orchestration")


@pytest.fixture(autouse=True)
def isolated_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own: no AWS, pos3 or XDG settings of the user reach it."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith(("AWS_", "POS3_", "XDG_"))]:
        monkeypatch.delenv(name)
    nowhere = str(home / "nothing-here")
    for name, value in {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "AWS_EC2_METADATA_DISABLED": "true",
        "POS3_PROFILES_FILE": str(home / "profiles.toml"),
        "NO_PROXY": "127.0.0.1,localhost",
        # Ray keeps the token of its cluster in the home, which another test no longer has.
        "RAY_AUTH_MODE": "disabled",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return home


@pytest.fixture(scope="session")
def rclone() -> Iterator[RcloneServer]:
    with RcloneServer() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    with MotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def env() -> Iterator[Server]:
    with EnvServer(_ENVIRONMENT) as server:
        yield server


@pytest.fixture
def new_site(isolated_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Server], S3Site]]:
    """Makes a fresh bucket on a server and points the environment at that server; the bucket is removed."""
    with ExitStack() as stack:

        def make(server: Server) -> S3Site:
            bucket = server.create_bucket(f"pos3-test-{uuid.uuid4().hex[:16]}")
            if isinstance(server, EnvServer):
                stack.callback(server.drop_bucket, bucket)
            for name, value in server.environment().items():
                monkeypatch.setenv(name, value)
            return S3Site(server, bucket)

        yield make


@pytest.fixture(params=["rclone", "moto", *YOURS])
def s3(request: pytest.FixtureRequest, new_site: Callable[[Server], S3Site]) -> S3Site:
    """A fresh bucket, once on every server; the environment points at it."""
    return new_site(request.getfixturevalue(request.param))


@pytest.fixture
def rclone_site(rclone: RcloneServer, new_site: Callable[[Server], S3Site]) -> S3Site:
    return new_site(rclone)


@pytest.fixture
def moto_site(moto: MotoServer, new_site: Callable[[Server], S3Site]) -> S3Site:
    return new_site(moto)


@pytest.fixture
def private_rclone(new_site: Callable[[Server], S3Site]) -> Iterator[tuple[RcloneServer, S3Site]]:
    """A server for this test alone, to be killed and restarted."""
    with RcloneServer() as server:
        yield server, new_site(server)


@pytest.fixture
def serve_from_memory(monkeypatch: pytest.MonkeyPatch, isolated_home: Path) -> Iterator[Callable[..., MemoryServer]]:
    """`serve_from_memory(**habits)`: a server in memory, and the environment at it."""
    with ExitStack() as stack:

        def started(**habits: Any) -> MemoryServer:
            server = stack.enter_context(MemoryServer(**habits))
            for name, value in Server(server.endpoint_url).environment().items():
                monkeypatch.setenv(name, value)
            return server

        yield started


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isolated_home: Path) -> Iterator[Callable[..., Proxy]]:
    """`proxy = proxied(site, *faults, seed=0)`: a proxy before the site's server, and the environment at it.

    `site` itself keeps its direct line, for arranging and checking without being recorded or broken. What was
    synced with the server so far counts as synced through the proxy, although that is another endpoint.
    """
    with ExitStack() as stack:

        def put_before(site: S3Site, *faults: Fault, seed: int = 0) -> Proxy:
            proxy = stack.enter_context(Proxy(site.server, *faults, seed=seed))
            for top in (tmp_path, isolated_home):
                remember_at(proxy.endpoint_url, os.environ["AWS_ENDPOINT_URL"], top)
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint_url)
            return proxy

        yield put_before


@pytest.fixture
def shown(rclone: RcloneServer, moto: MotoServer, new_site: Callable[[Server], S3Site]) -> Iterator[dict[str, str]]:
    """The buckets that the docs name, and what stands for the addresses in them."""
    new_site(rclone)
    with ExitStack() as stack:
        for server, bucket in ((rclone, pages.BUCKET), (moto, pages.PUBLIC_BUCKET)):
            server.create_bucket(bucket)
            stack.callback(server.drop_bucket, bucket)
        rclone.put_all(pages.BUCKET, pages.CONTENT)
        moto.s3.put_bucket_acl(Bucket=pages.PUBLIC_BUCKET, ACL="public-read")
        moto.s3.put_object(Bucket=pages.PUBLIC_BUCKET, Key="set/a.txt", Body=b"open", ACL="public-read")
        yield {
            "https://storage.example.com": rclone.endpoint_url,
            "https://open.example.com": moto.endpoint_url,
            'access_key="key"': f'access_key="{rclone.access_key}"',
            'secret_key="secret"': f'secret_key="{rclone.secret_key}"',
            "AWS_ACCESS_KEY_ID=key": f"AWS_ACCESS_KEY_ID={rclone.access_key}",
            "AWS_SECRET_ACCESS_KEY=secret": f"AWS_SECRET_ACCESS_KEY={rclone.secret_key}",
        }


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many attempts as ever, with pauses of a twentieth between them: for a store that fails each time, or some."""
    monkeypatch.setattr("pos3.store.retry._FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("pos3.store.retry._LONGEST_PAUSE_SECONDS", 0.25)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(autouse=True)
def no_log_handler_writes_to_a_closed_stream() -> None:
    """Removes what programs that ran in this process have left: their stderr was that of their test."""
    for logger in (logging.getLogger(), logging.getLogger("pos3")):
        for handler in list(logger.handlers):
            if getattr(getattr(handler, "stream", None), "closed", False):
                logger.removeHandler(handler)
