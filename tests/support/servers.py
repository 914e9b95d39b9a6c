"""Real S3 servers for the tests, each with the same small interface for arranging and checking.

A started server listens on 127.0.0.1 and a free port, answers before `with` enters its body, and is gone
when the body ends or the test run dies, however it dies. Only what was started here is ever ended.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.sessions import boto3_session

_SUPPORT = Path(__file__).parent
_START_TIMEOUT = 60.0
YOURS = ["env"] if os.environ.get("POS3_TEST_S3_ENDPOINT") else []
"""The fixture of the server that the environment names, if it names one."""


@dataclass(frozen=True)
class Traits:
    """What a server can do beyond the minimum; tests skip or adapt by these, never by a server's name."""

    markers: bool = True
    """A key that ends in `/` is stored as such."""
    any_key: bool = True
    """Keys with `..`, `.`, empty segments or a leading slash, and `a` beside `a/b`, can be stored."""
    conditions: bool = True
    """If-Match and If-None-Match are honoured."""
    checks_credentials: bool = True
    """A wrong secret is refused."""
    versions: bool = True
    """A bucket can keep the versions of its objects."""


@dataclass(frozen=True)
class Stored:
    """One object as a listing shows it; the etag without its quotes."""

    size: int
    etag: str
    modified: float


@dataclass
class Server:
    """An S3 endpoint, and the credentials that open it."""

    endpoint_url: str
    access_key: str = "test-access"
    secret_key: str = field(default="test-secret-key", repr=False)
    region: str = "us-east-1"
    session_token: str | None = field(default=None, repr=False)
    traits: Traits = field(default_factory=Traits)

    def client(self, **config: Any) -> Any:
        """A new boto3 client: path-style, checksums only when required; `config` goes to its Config."""
        options: dict[str, Any] = {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "max_pool_connections": 32,
            **config,
        }
        session = boto3_session(
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            aws_session_token=self.session_token,
            region_name=self.region,
        )
        return session.client("s3", endpoint_url=self.endpoint_url, config=Config(**options))

    @cached_property
    def s3(self) -> Any:
        """One shared client, safe to use from many threads."""
        return self.client()

    def through(self, endpoint_url: str) -> Server:
        """The same server reached by another address, such as a proxy's."""
        return Server(endpoint_url, self.access_key, self.secret_key, self.region, self.session_token, self.traits)

    def environment(self) -> dict[str, str]:
        """The variables that make any AWS SDK talk to this server."""
        env = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }
        if self.session_token:
            env["AWS_SESSION_TOKEN"] = self.session_token
        return env

    def create_bucket(self, name: str) -> str:
        where = {} if self.region == "us-east-1" else {"LocationConstraint": self.region}
        extra = {"CreateBucketConfiguration": where} if where else {}
        self.s3.create_bucket(Bucket=name, **extra)
        return name

    def drop_bucket(self, name: str) -> None:
        """Removes the bucket and all that is in it, unfinished uploads and earlier versions included."""
        for key, upload in self._uploads(name):
            self.s3.abort_multipart_upload(Bucket=name, Key=key, UploadId=upload)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: self.delete(name, key), self.keys(name)))
            if self.traits.versions:
                list(pool.map(lambda version: self.delete(name, *version), self._versions(name)))
        self.s3.delete_bucket(Bucket=name)

    def keep_versions(self, bucket: str) -> None:
        """Lets the bucket keep the versions of its objects from now on."""
        self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def put(self, bucket: str, key: str, data: bytes = b"") -> str:
        """Stores one object and returns its etag without quotes."""
        return str(self.s3.put_object(Bucket=bucket, Key=key, Body=data)["ETag"]).strip('"')

    def put_all(self, bucket: str, objects: dict[str, bytes]) -> None:
        for key, data in objects.items():
            self.put(bucket, key, data)

    def get(self, bucket: str, key: str) -> bytes:
        """The whole object; KeyError when there is none."""
        try:
            body: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            raise KeyError(key) from None
        return body

    def delete(self, bucket: str, key: str, version_id: str | None = None) -> None:
        """Removes an object, or one of its versions for good."""
        version = {} if version_id is None else {"VersionId": version_id}
        self.s3.delete_object(Bucket=bucket, Key=key, **version)

    def keys(self, bucket: str, prefix: str = "") -> dict[str, Stored]:
        """Every key that starts with `prefix`, in the server's order, however many pages that takes."""
        found: dict[str, Stored] = {}
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                found[item["Key"]] = Stored(item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp())
        return found

    def uploads(self, bucket: str) -> list[str]:
        """The keys of multipart uploads that were begun and neither completed nor aborted."""
        return [key for key, _ in self._uploads(bucket)]

    def _versions(self, bucket: str) -> list[tuple[str, str]]:
        """The keys and ids of all versions, delete markers included."""
        return [
            (version["Key"], version["VersionId"])
            for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
            for kind in ("Versions", "DeleteMarkers")
            for version in page.get(kind, [])
        ]

    def _uploads(self, bucket: str) -> list[tuple[str, str]]:
        try:
            found = self.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        except self.s3.exceptions.NoSuchUpload:  # rclone's answer where no upload was ever begun
            return []
        except ClientError as error:
            if error.response["Error"]["Code"] == "NotImplemented":  # small servers do not list them
                return []
            raise
        return [(upload["Key"], upload["UploadId"]) for upload in found]


class LocalServer(Server):
    """A server in a child process: `kill()` is a power cut, `restart()` brings it back on the same port."""

    def __init__(self, traits: Traits) -> None:
        super().__init__(endpoint_url="", traits=traits)
        self._home = Path(tempfile.mkdtemp(prefix="pos3-server-"))
        self._child: subprocess.Popen[bytes] | None = None
        self._port = 0

    def command(self, port: int) -> list[str]:
        """The command that serves on 127.0.0.1:`port` (0: any) and prints `http://127.0.0.1:<port>`."""
        raise NotImplementedError

    def child_environment(self) -> dict[str, str]:
        ours = ("AWS_", "RCLONE_")
        return {name: value for name, value in os.environ.items() if not name.startswith(ours)}

    def start(self) -> Self:
        """Returns once the server answers; raises RuntimeError with its log if it does not."""
        log = self._home / "log"
        with log.open("wb") as out:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SUPPORT / "leash.py"), *self.command(self._port)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self.child_environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self._child.poll() is None:
            address = re.search(rb"https?://127\.0\.0\.1:([1-9]\d*)", log.read_bytes())
            if address and _answers(address[0].decode()):
                self._port = int(address[1])
                self.endpoint_url = address[0].decode()
                return self
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"{type(self).__name__} did not start:\n{log.read_text(errors='replace')}")

    def kill(self) -> None:
        """Ends the server at once, in the middle of whatever it does; open connections break."""
        child, self._child = self._child, None
        if child is not None:
            stdin: IO[bytes] | None = child.stdin
            if stdin is not None:
                stdin.close()
            child.wait(timeout=30)

    def restart(self) -> None:
        """Starts a killed server again on the port that it had."""
        self.kill()
        self.start()

    def rotate_keys(self, access_key: str, secret_key: str) -> None:
        """From the next start on, only these are taken."""
        self.access_key, self.secret_key = access_key, secret_key
        self.__dict__.pop("s3", None)

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)


class RcloneServer(LocalServer):
    """`rclone serve s3` over a temporary directory: fast, verifies signatures, keeps its data over a restart.

    It cannot hold directory markers (`d/` becomes `d`), odd keys, `a` beside `a/b`, or versions; it ignores If-Match,
    and answers ranged requests with 200.
    """

    def __init__(self) -> None:
        super().__init__(Traits(markers=False, any_key=False, conditions=False, versions=False))
        self.data = self._home / "data"
        self.data.mkdir()

    def command(self, port: int) -> list[str]:
        # No --dir-cache-time: with 0 every rename forgets the tree above it, exponentially in its depth.
        # --no-cleanup: otherwise deleting a directory's last key races with a write into it (500).
        return [
            rclone_binary(),
            "serve",
            "s3",
            str(self.data),
            f"--addr=127.0.0.1:{port}",
            f"--auth-key={self.access_key},{self.secret_key}",
            "--vfs-cache-mode=off",
            "--no-cleanup",
            "--max-header-bytes=65536",
        ]

    def child_environment(self) -> dict[str, str]:
        return {**super().child_environment(), "RCLONE_CONFIG": os.devnull}


class MotoServer(LocalServer):
    """moto's S3: any key, markers and conditions as on AWS; any credentials will do; a restart empties it."""

    def __init__(self) -> None:
        super().__init__(Traits(checks_credentials=False))

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-P", str(_SUPPORT / "moto_server.py"), str(port)]

    def put_empty(self, bucket: str, keys: Iterable[str]) -> None:
        """Stores empty objects, unsigned, at a third of boto3's cost."""
        scope = f"Credential={self.access_key}/20260101/{self.region}/s3/aws4_request"
        headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=none"}
        with closing(http.client.HTTPConnection(urlsplit(self.endpoint_url).netloc)) as connection:
            for key in keys:
                connection.request("PUT", f"/{bucket}/{key}", b"", headers)
                assert connection.getresponse().read() == b""


class EnvServer(Server):
    """The server that POS3_TEST_S3_ENDPOINT names, opened by the other POS3_TEST_S3_* variables; its traits are probed.

    Creates buckets named `pos3-test-<random>` only, and removes each of them.
    """

    def __init__(self, environ: dict[str, str]) -> None:
        super().__init__(
            endpoint_url=environ["POS3_TEST_S3_ENDPOINT"].rstrip("/"),
            access_key=environ["POS3_TEST_S3_ACCESS_KEY"],
            secret_key=environ["POS3_TEST_S3_SECRET_KEY"],
            region=environ.get("POS3_TEST_S3_REGION") or "us-east-1",
            session_token=environ.get("POS3_TEST_S3_SESSION_TOKEN"),
            traits=Traits(versions=False),
        )

    def __enter__(self) -> Self:
        bucket = self.create_bucket(f"pos3-test-{uuid.uuid4().hex[:16]}")
        try:
            self.traits = self._probe(bucket)
        finally:
            self.drop_bucket(bucket)
        return self

    def __exit__(self, *_exc: object) -> None:
        return None

    def _probe(self, bucket: str) -> Traits:
        self.put(bucket, "file", b"content")

        def accepts(key: str) -> bool:
            try:
                self.put(bucket, key, b"")
            except (ClientError, BotoCoreError):
                return False
            return key in self.keys(bucket)

        def refuses_wrong_etag() -> bool:
            try:
                self.s3.get_object(Bucket=bucket, Key="file", IfMatch='"0000"')
            except ClientError:
                return True
            return False

        def refuses_wrong_secret() -> bool:
            try:
                replace(self.through(self.endpoint_url), secret_key="wrong").keys(bucket)
            except ClientError:
                return True
            return False

        def keeps_versions() -> bool:
            try:
                self.keep_versions(bucket)
                for content in (b"earlier", b"later"):
                    self.put(bucket, "version", content)
                return len({version for key, version in self._versions(bucket) if key == "version"}) == 2
            except (ClientError, BotoCoreError):
                return False

        return Traits(
            markers=accepts("marker/"),
            any_key=all(accepts(key) for key in ("file/below", "up/../x", "two//slashes", "/abs")),
            conditions=refuses_wrong_etag(),
            checks_credentials=refuses_wrong_secret(),
            versions=keeps_versions(),
        )


def rclone_binary() -> str:
    """The rclone of the running environment, else the one on PATH."""
    beside = Path(sys.executable).parent / "rclone"
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if not found:
        raise RuntimeError("rclone is missing: install the dev dependency group")
    return found


def _answers(url: str) -> bool:
    # Whether it can be trusted is for the test; here it only has to be up.
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    opener = urllib.request.build_opener(*handlers)
    try:
        opener.open(url, timeout=5).close()
    except urllib.error.HTTPError as refused:
        refused.close()
    except OSError:
        return False
    return True
