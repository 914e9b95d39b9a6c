"""The two real sides of the model: a directory on this disk and a prefix on a real S3 server, and who changes them."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pos3
from tests.model.trees import Tree, above
from tests.support import Fault, Proxy, S3Site
from tests.support.trees import contents, empty_directories

Stamp = tuple[int, int, int]


@dataclass
class World:
    """One prefix, a cache with its local side, and the proxy through which pos3 sees the server."""

    site: S3Site
    proxy: Proxy
    key: str
    cache: Path
    remote: Tree = field(default_factory=dict)
    """What is in the bucket if pos3 did what it should."""
    gone: Tree = field(default_factory=dict)
    """What was in the bucket once, under names that it lacks now."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.graveyard.mkdir(parents=True)

    @property
    def graveyard(self) -> Path:
        """Where files are made, and end."""
        return self.cache.with_name(f"{self.cache.name}-files")

    def clear(self) -> None:
        for name in self.remote:
            self.site.delete(f"{self.key}/{name}")
        shutil.rmtree(self.cache)
        shutil.rmtree(self.graveyard)

    @property
    def local_root(self) -> Path:
        return self.cache / "model" / self.site.bucket / self.key

    @property
    def url(self) -> str:
        return self.site.url(self.key)

    def new_mirror(self, *, offline: bool = False) -> pos3.Mirror:
        server = self.site.server
        profile = pos3.Profile(
            "model",
            self.proxy.endpoint_url,
            region=server.region,
            access_key=server.access_key,
            secret_key=server.secret_key,
        )
        options = pos3.MirrorOptions(self.cache, show_progress=False, default_profile=profile, offline=offline)
        return pos3.Mirror(options).open()

    def strike_what_is_left(self) -> None:
        """As if somebody had decided that nothing of it is to be pushed."""
        for journal in (self.cache / ".pos3" / "journal").glob("*"):
            journal.unlink()

    # What is there

    def local(self) -> Tree:
        root = self.local_root
        if not root.is_dir():
            return {}
        return contents(root) | {f"{name}/": b"" for name in empty_directories(root)}

    def stamp(self, name: str) -> Stamp | None:
        """Size, time and inode of a local file: all by which an edit can be told without reading it."""
        try:
            status = (self.local_root / name).stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns, status.st_ino

    def differences(self, expected: Tree) -> list[str]:
        """Where the bucket is not as expected; by ETags, which are MD5s here."""
        found = {name[len(self.key) + 1 :]: stored.etag for name, stored in self.site.keys(f"{self.key}/").items()}
        wanted = {name: hashlib.md5(data).hexdigest() for name, data in expected.items()}
        return [
            f"{name}: is {self._tell(found.get(name))}, should be {expected.get(name, 'nothing')!r}"
            for name in sorted(found.keys() | wanted.keys())
            if found.get(name) != wanted.get(name)
        ]

    def _tell(self, etag: str | None) -> str:
        return "nothing" if etag is None else f"an object with ETag {etag}"

    def stored(self) -> Tree:
        return self.site.objects(f"{self.key}/")

    def strays(self) -> list[str]:
        """Files outside the local root, and temporary files within."""
        state = self.cache / ".pos3"
        found = [path for path in self.cache.rglob("*") if not path.is_dir() and not path.is_relative_to(state)]
        strays = [path for path in found if not path.is_relative_to(self.local_root) or path.name.startswith(".pos3-")]
        return [str(path) for path in strays] + [str(path) for path in state.rglob("*.tmp")]

    # Local changes

    def write(self, name: str, data: bytes) -> None:
        """By a rename, so into a new inode; whatever is in the way goes."""
        target = self.local_root / name
        for directory in reversed(target.parents):
            if directory.is_relative_to(self.local_root) and directory.is_file():
                directory.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        aside = self.graveyard / f"{next(self._numbers)}"
        aside.write_bytes(data)
        if target.exists():
            # A file system may give a new file the inode of an old one, which would hide the edit.
            os.link(target, self.graveyard / f"{next(self._numbers)}")
        aside.replace(target)

    def replace_with_the_same_time(self, name: str, data: bytes) -> None:
        before = (self.local_root / name).stat().st_mtime_ns
        self.write(name, data)
        os.utime(self.local_root / name, ns=(before, before))

    def edit(self, name: str, data: bytes) -> None:
        """In place, so the inode stays."""
        (self.local_root / name).write_bytes(data)

    def unlink(self, name: str, *, prune: bool) -> None:
        (self.local_root / name).unlink()
        self._prune(name, really=prune)

    def rename(self, name: str, to: str, *, prune: bool) -> None:
        target = self.local_root / to
        if target.is_dir() or any((self.local_root / directory).is_file() for directory in above(to)):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.local_root / name).replace(target)
        self._prune(name, really=prune)

    def _prune(self, name: str, *, really: bool) -> None:
        for directory in map(self.local_root.joinpath, reversed(above(name)) if really else ()):
            if any(directory.iterdir()):
                return
            directory.rmdir()

    def touch(self, name: str) -> None:
        os.utime(self.local_root / name)

    def make_directory(self, name: str) -> None:
        if not (self.local_root / name).exists() and not (self.local_root / name).parent.is_file():
            (self.local_root / name).mkdir(parents=True, exist_ok=True)

    def lose_all_files(self) -> None:
        if self.local_root.is_dir():
            for path in self.local_root.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    # Changes by another writer

    def put(self, name: str, data: bytes) -> None:
        self.site.put(f"{self.key}/{name}", data)
        self.settle(self.remote | {name: data})

    def delete(self, name: str) -> None:
        self.site.delete(f"{self.key}/{name}")
        self.settle({other: data for other, data in self.remote.items() if other != name})

    def settle(self, remote: Tree) -> None:
        """From now on, this is what the bucket should hold."""
        self.gone |= self.remote
        self.remote = remote
        self.gone = {name: data for name, data in self.gone.items() if name not in remote}

    def faulty(self, *faults: Fault) -> None:
        self.proxy.inject(*faults)
