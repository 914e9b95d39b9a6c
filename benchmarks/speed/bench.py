"""What all workloads share: the scratch directory, the server, and contestants of the usual kinds."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.contest import Contestant
from benchmarks.speed.data import Object, flat_names, remove_tree, write_index, write_tree
from benchmarks.speed.measure import Command, Measured, RunError
from benchmarks.speed.peers import Peer, Remote
from benchmarks.speed.servers import Counts, Endpoint, Front
from tests.support.servers import LocalServer

BUCKET = "bench"
SINK = "sink"
PREFIX = "data/"
NGINX = "nginx"


@dataclass(frozen=True)
class Entrant:
    """A client, and in how many rounds it takes part; a slow one is not warmed up."""

    peer: Peer
    runs: int = 5
    warms_up: bool = True


def once(peer: Peer, runs: int = 1) -> Entrant:
    """One that is too slow to be warmed up, or has nothing to be warmed up."""
    return Entrant(peer, runs, warms_up=False)


@dataclass(frozen=True)
class Tree:
    """A local tree of files, the objects that equal them, and the index of a bucket that holds these."""

    root: Path
    objects: Sequence[Object]
    index: Path

    @functools.cached_property
    def total_bytes(self) -> int:
        return sum(item.size_bytes for item in self.objects)

    @functools.cached_property
    def md5(self) -> str:
        """What ``Front.summary`` says of a bucket that holds exactly this."""
        lines = "\n".join(f"{PREFIX}{item.name} {item.etag}" for item in self.objects)
        return hashlib.md5(lines.encode(), usedforsecurity=False).hexdigest()


class Bench:
    """The place where everything happens; ``share`` scales the number and size of objects."""

    def __init__(self, scratch: Path, front: Front, real: Mapping[str, LocalServer], share: float, most_runs: int):
        self.scratch = scratch
        self.front = front
        self.real = real
        self._share = share
        self._most_runs = most_runs

    def scaled(self, number: int) -> int:
        return max(1, int(number * self._share))

    def tree(self, name: str, write: Callable[[Path], Sequence[Object]]) -> Tree:
        """A tree that ``write`` fills; its objects come in order of their names."""
        root = self.scratch / name
        objects = write(root)
        return Tree(root, objects, write_index(self.scratch / f"{name}.tsv", PREFIX, objects))

    def flat(self, name: str, count: int, size_bytes: int) -> Tree:
        return self.tree(name, lambda root: write_tree(root, flat_names(count), size_bytes))

    def memory(self, peer: Peer, name: str) -> Path:
        """Where a client remembers things from one run of a case to the next."""
        path = self.scratch / f"{name}-{_slug(peer)}"
        path.mkdir(exist_ok=True)
        return path

    def contestant(
        self,
        entrant: Entrant,
        command: Callable[[int], Command],
        *,
        check: Callable[[int, Measured, Counts], None] = lambda *_: None,
        before: Callable[[int], None] = lambda _: None,
        after: Callable[[int], None] = lambda _: None,
    ) -> Contestant:
        peer = entrant.peer
        runs = min(entrant.runs, self._most_runs)
        return Contestant(
            peer.tool,
            peer.label,
            peer.settings,
            command,
            check=check,
            before=before,
            after=after,
            runs=runs,
            warms_up=entrant.warms_up,
        )

    def download(self, entrant: Entrant, remote: Remote, files: int, size_bytes: int) -> Contestant:
        """A download into a directory that does not exist yet, by a client that remembers nothing.

        Of nginx, whoever says that it asks for checksums must have been told that of each object.
        """
        target = self.scratch / f"out-{_slug(entrant.peer)}"
        state = self.scratch / f"state-{_slug(entrant.peer)}"
        tells_checksums = remote.endpoint in (self.front.http, self.front.https)
        single = not remote.key.endswith("/")
        local = target / "file" if single else target

        def before(_: int) -> None:
            remove_tree(target)
            remove_tree(state)
            state.mkdir()
            if single:
                target.mkdir()

        def check(_: int, _run: Measured, counts: Counts) -> None:
            found = [os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(target) for name in names]
            if len(found) != files or sum(found) != size_bytes:
                raise RunError(f"{len(found)} files with {sum(found)} bytes arrived, not {files} with {size_bytes}")
            if entrant.peer.asks_for_checksums and tells_checksums and counts.told_checksums < files:
                raise RunError(f"it asked for {counts.told_checksums} checksums of {files} objects")

        def after(_: int) -> None:
            remove_tree(target)
            remove_tree(state)

        command = functools.partial(entrant.peer.download, remote, local, state)
        return self.contestant(entrant, lambda _: command(), before=before, check=check, after=after)

    def upload(self, entrant: Entrant, endpoint: Endpoint, tree: Tree) -> Contestant:
        """An upload of a tree into an empty bucket; the keys and the MD5 of each object are checked."""

        def check(_: int, _run: Measured, _counts: Counts) -> None:
            found = self.front.summary(SINK)
            if (found["objects"], found["md5"]) != (len(tree.objects), tree.md5):
                raise RunError(f"the bucket holds {found}, not {len(tree.objects)} objects with MD5 {tree.md5}")

        return self._upload(entrant, tree.root, Remote(endpoint, SINK, PREFIX), check)

    def upload_one(self, entrant: Entrant, endpoint: Endpoint, path: Path) -> Contestant:
        """An upload of one large file into an empty bucket; the server has compared its bytes with the file."""
        size_bytes = path.stat().st_size

        def check(_: int, _run: Measured, counts: Counts) -> None:
            found = self.front.summary(SINK)
            # More than the file are received if a part was sent again.
            as_sent = counts.matched_bytes == counts.received_bytes >= size_bytes
            if (found["objects"], found["bytes"]) != (1, size_bytes) or not as_sent:
                raise RunError(f"the bucket holds {found}; {counts}")

        return self._upload(entrant, path, Remote(endpoint, SINK, path.name), check)

    def _upload(
        self, entrant: Entrant, source: Path, remote: Remote, check: Callable[[int, Measured, Counts], None]
    ) -> Contestant:
        state = self.scratch / f"state-{_slug(entrant.peer)}"

        def before(_: int) -> None:
            remove_tree(state)
            state.mkdir()
            self.front.bind(SINK)

        command = functools.partial(entrant.peer.upload, source, remote, state)
        return self.contestant(
            entrant, lambda _: command(), before=before, check=check, after=lambda _: remove_tree(state)
        )


def added(delay_ms: int) -> str:
    """What the title of a case says of its latency."""
    return f", {delay_ms} ms added to each request" if delay_ms else ""


def _slug(peer: Peer) -> str:
    return re.sub(r"\W+", "-", peer.label)
