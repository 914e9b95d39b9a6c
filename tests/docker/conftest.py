"""One engine, one image and one stack for all tests of the image."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests.docker.engine import IMAGE, ROOT, Engine, NoEngineError, compose, running_engine
from tests.support.servers import rclone_binary

COMPOSE_FILE = ROOT / "docker" / "compose.yaml"
SECRET = "stack-test-secret"
S3_IMAGE = "pos3-test-s3:local"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    if not os.environ.get("POS3_TEST_DOCKER"):
        pytest.skip("the image is not built and tried here: 'make image-test' does that")
    try:
        with running_engine() as engine:
            yield engine
    except NoEngineError as error:
        pytest.skip(f"NO DOCKER ENGINE, THE IMAGE IS NOT TRIED: {error}")


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The image, just built."""
    arguments = {"BASE_IMAGE": engine.base_image, "VERSION": "0.0.test", "REVISION": "abc", **_packages()}
    flags = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    engine.docker("build", "--network=host", "--file=docker/Dockerfile", *flags, f"--tag={IMAGE}", ".")
    return IMAGE


def _packages() -> dict[str, str]:
    """The same Prefect as in the tests."""
    import prefect

    return {"PACKAGES": f"prefect=={prefect.__version__}"}


def eventually(holds: Callable[[], object], within_seconds: float = 90) -> None:
    deadline = time.monotonic() + within_seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_seconds:g} s"
        time.sleep(0.3)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Stack:
    """What compose.yaml starts, on the network of the machine, since the tests' engine has none of its own."""

    engine: Engine
    file: Path
    prefect_port: int = field(default_factory=free_port)
    s3_port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)

    def write(self) -> None:
        wanted: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
        for service in wanted["services"].values():
            service["network_mode"] = "host"
            service.pop("ports", None)
            service.pop("build", None)
        worker = wanted["services"]["worker"]
        worker["environment"] |= {
            "PREFECT_WORKER_WEBSERVER_PORT": str(self.health_port),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        worker["healthcheck"] = {"interval": "2s"}
        self.file.write_text(yaml.safe_dump(wanted), encoding="utf-8")

    def compose(self, *arguments: str, timeout: float = 300) -> str:
        return self.engine.run(
            *compose(),
            *("--project-name", "pos3test", "--project-directory", str(COMPOSE_FILE.parent)),
            *("--file", str(self.file), *arguments),
            timeout=timeout,
            POS3_IMAGE=IMAGE,
            S3_IMAGE=S3_IMAGE,
            PREFECT_PORT=str(self.prefect_port),
            PREFECT_URL=f"http://127.0.0.1:{self.prefect_port}",
            S3_PORT=str(self.s3_port),
            S3_URL=f"http://127.0.0.1:{self.s3_port}",
            S3_SECRET_KEY=SECRET,
            POS3_LOG_FORMAT="json",
        )

    @cached_property
    def worker(self) -> str:
        """The container's id, the same for as long as the stack is up."""
        return self.compose("ps", "--quiet", "worker").strip().splitlines()[-1]

    def inspect(self, container: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", container))
        return found[0]

    @property
    def s3(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.s3_port}",
            aws_access_key_id="local",
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )


@pytest.fixture(scope="session")
def stack(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server, an S3 server, a pool and a worker, all up."""
    context = tmp_path_factory.mktemp("s3-image")
    shutil.copy(rclone_binary(), context / "rclone")
    (context / "Dockerfile").write_text(
        f'FROM {engine.base_image}\nCOPY rclone /usr/local/bin/rclone\nENTRYPOINT ["rclone"]\n', encoding="utf-8"
    )
    engine.docker("build", f"--tag={S3_IMAGE}", str(context))
    stack = Stack(engine, tmp_path_factory.mktemp("stack") / "compose.yaml")
    stack.write()
    try:
        stack.compose("up", "--detach", "worker", "s3")
        yield stack
    except AssertionError as error:
        error.add_note(stack.compose("logs", "--no-color")[-5000:])
        raise
    finally:
        stack.compose("down", "--volumes", "--timeout", "5")
