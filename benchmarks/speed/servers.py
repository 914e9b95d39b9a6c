"""The servers of the benchmark, all on 127.0.0.1.

* :class:`Front`: nginx with ``store.lua``, an S3 server that is not the bottleneck. It serves files and listings, takes
  uploads without keeping their bodies, counts requests, and can hold each of them back for a while.
* Real servers: ``rclone serve s3`` and moto, reached through the same nginx, which counts and holds back.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import string
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import trustme

from benchmarks.speed.installing import Nginx
from tests.support.servers import LocalServer

ACCESS_KEY, SECRET_KEY = "bench-access", "bench-secret"
_HERE = Path(__file__).resolve().parent
_LEASH = _HERE.parents[1] / "tests/support/leash.py"


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@dataclass(frozen=True)
class Endpoint:
    """Where a client is sent, and the bundle with the certificate's authority if that is over TLS."""

    url: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    authority: Path | None = None


@dataclass(frozen=True)
class Counts:
    """What the server saw since it was last asked."""

    requests: dict[str, int]
    received_bytes: int
    matched_bytes: int
    told_checksums: int


class Front:
    """nginx with the store in Lua."""

    def __init__(self, nginx: Nginx, home: Path, real: Mapping[str, LocalServer]):
        """``real``: servers that run already, and the names by which :meth:`before` knows them."""
        self._nginx = nginx
        self._home = home
        self._real = real
        self._http, self._https, *passing = free_ports(2 + len(real))
        self._passing = dict(zip(real, passing, strict=True))
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> Endpoint:
        return Endpoint(f"http://127.0.0.1:{self._http}")

    @property
    def https(self) -> Endpoint:
        return Endpoint(f"https://127.0.0.1:{self._https}", authority=self._home / "authority.pem")

    def before(self, name: str) -> Endpoint:
        """A real server as reached through this one."""
        server = self._real[name]
        return Endpoint(f"http://127.0.0.1:{self._passing[name]}", server.access_key, server.secret_key)

    def _passing_on(self) -> str:
        template = string.Template((_HERE / "passing.conf").read_text())
        return "".join(
            template.substitute(name=name, port=self._passing[name], real=server.endpoint_url.partition("//")[2])
            for name, server in self._real.items()
        )

    def start(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self._home / "authority.pem")
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(self._home / "server.pem")
        settings = string.Template((_HERE / "nginx.conf").read_text()).substitute(
            home=self._home,
            code=_HERE,
            modules=self._nginx.modules,
            lua=self._nginx.lua,
            http_port=self._http,
            https_port=self._https,
            real_servers=self._passing_on(),
        )
        (self._home / "nginx.conf").write_text(settings)
        log = self._home / "error.log"
        with log.open("wb") as out:
            # On a leash, it ends when this process does, however that comes about.
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", _LEASH, self._nginx.binary, "-c", self._home / "nginx.conf", "-e", log],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env={**os.environ, "LD_LIBRARY_PATH": self._nginx.libraries},
                start_new_session=True,
            )
        deadline = time.monotonic() + 15
        while self._child.poll() is None and time.monotonic() < deadline:
            try:
                self._control("counts")
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"nginx did not start:\n{log.read_text(errors='replace')}")

    def stop(self) -> None:
        child, self._child = self._child, None
        if child is not None and child.stdin is not None:
            child.stdin.close()
            child.wait(30)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    # What a bucket holds, and what was asked

    def bind(self, bucket: str, index: Path | None = None) -> None:
        """From now on the bucket holds what the index says, or nothing."""
        self._control("bind", bucket=bucket, **({} if index is None else {"index": str(index)}))

    def delay(self, seconds: float) -> None:
        """Each request waits that long before it is looked at."""
        self._control("delay", seconds=str(seconds))

    def expect(self, path: Path) -> None:
        """Large uploads are compared with this file, which is faster than to compute their MD5."""
        self._control("known", path=str(path), size=str(path.stat().st_size))

    def counts(self) -> Counts:
        return Counts(**self._control("counts"))

    def summary(self, bucket: str) -> dict[str, Any]:
        return self._control("summary", bucket=bucket)

    def control_url(self, name: str) -> str:
        return f"{self.http.url}/_bench/{name}"

    def _control(self, name: str, **arguments: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._http, timeout=120)
        try:
            connection.request("GET", f"/_bench/{name}?{urlencode(arguments)}")
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"nginx answered {answer.status} to {name}: {body[:500]!r}")
        found: dict[str, Any] = json.loads(body)
        return found
