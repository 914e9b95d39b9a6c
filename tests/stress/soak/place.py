"""Where a case happens: servers that all cases share, and for each case a prefix, a cache, and a proxy of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Self

from soak.contents import Tree

import pos3
from tests.support import Fault, MotoServer, Proxy, RcloneServer, S3Site
from tests.support.trees import contents

PROFILE = "soak"
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Place:
    """The servers, and where results and caches lie. Caches of cases without a violation are removed."""

    home: Path
    seed: int
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    @cached_property
    def rclone(self) -> S3Site:
        return self._site(RcloneServer())

    @cached_property
    def moto(self) -> S3Site:
        return self._site(MotoServer())

    def _site(self, server: Any) -> S3Site:
        self._stack.enter_context(server)
        return S3Site(server, server.create_bucket(f"soak-{uuid.uuid4().hex[:12]}"))

    @contextlib.contextmanager
    def corner(self, scenario: str, case: int, *, moto: bool = False) -> Iterator[Corner]:
        key = f"{scenario}-{case:05}"
        cache = self.home / "caches" / key
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        site = self.moto if moto else self.rclone
        dice = Random(f"{self.seed}/{scenario}/{case}")
        with Proxy(site.server, seed=dice.randrange(1 << 30)) as proxy:
            corner = Corner(site, proxy, f"{key}-{uuid.uuid4().hex[:6]}", cache, dice)
            yield corner
        corner.clear()
        if not corner.violations:
            shutil.rmtree(cache)


@dataclass
class Corner:
    """One case's prefix, cache, proxy and dice, and what was found wrong in it."""

    site: S3Site
    proxy: Proxy
    key: str
    cache: Path
    dice: Random
    violations: list[str] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)

    def wrong(self, found: list[str]) -> None:
        self.violations += found

    def count(self, event: str, times: int = 1) -> None:
        self.events[event] = self.events.get(event, 0) + times

    @property
    def url(self) -> str:
        return self.site.url(self.key)

    @property
    def local_root(self) -> Path:
        return self.cache / PROFILE / self.site.bucket / self.key

    # Both sides

    def local(self) -> Tree:
        return contents(self.local_root) if self.local_root.is_dir() else {}

    def stored(self) -> Tree:
        """The objects that are no markers of directories."""
        names = [key.removeprefix(f"{self.key}/") for key in self.site.keys(f"{self.key}/")]
        return {name: self.stored_content(name) for name in names if not name.endswith("/")}

    def stored_content(self, name: str) -> bytes:
        """What an object holds; from rclone's disk where that is the server, since it is asked for so often."""
        server = self.site.server
        if isinstance(server, RcloneServer):
            return (server.data / self.site.bucket / self.key / name).read_bytes()
        return self.site.get(f"{self.key}/{name}")

    def clear(self) -> None:
        """Removes the case's objects. No other case has the same prefix."""
        server = self.site.server
        if isinstance(server, RcloneServer):
            shutil.rmtree(server.data / self.site.bucket / self.key, ignore_errors=True)
        elif keys := [{"Key": key} for key in self.site.keys(f"{self.key}/")]:
            server.s3.delete_objects(Bucket=self.site.bucket, Delete={"Objects": keys, "Quiet": True})

    def store(self, before: Tree, after: Tree) -> None:
        """What another writer would do to turn one version in the bucket into the next."""
        for name in before.keys() - after.keys():
            self.site.delete(f"{self.key}/{name}")
        for name, data in after.items():
            if before.get(name) != data:
                self.site.put(f"{self.key}/{name}", data)

    # pos3 here, and in processes of its own

    def profile(self) -> dict[str, Any]:
        """How to reach the server, through the proxy."""
        server = self.proxy.server
        keys = {"access_key": server.access_key, "secret_key": server.secret_key}
        return {"local_name": PROFILE, "endpoint": server.endpoint_url, "region": server.region, **keys}

    def mirror(self) -> pos3.Mirror:
        """An open mirror on the case's cache."""
        profile = pos3.Profile(**self.profile())
        return pos3.Mirror(pos3.MirrorOptions(self.cache, show_progress=False, default_profile=profile)).open()

    def start(self, work: str, **details: Any) -> subprocess.Popen[bytes]:
        """A process that does ``work`` (see soak.child) through the proxy, and says "ready" when it begins."""
        job = {"work": work, "url": self.url, "cache": str(self.cache), "profile": self.profile(), **details}
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'stress'}"}
        with (self.cache / "child.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "soak.child", json.dumps(job)],
                env=environment,
                cwd=self.cache,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C for the soak is none for its processes.
                start_new_session=True,
            )

    def inject(self, *faults: Fault) -> None:
        self.proxy.inject(*faults)
