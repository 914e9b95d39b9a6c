"""What all workloads share: the scratch directory, the server, the clients, and contestants of the usual kinds."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.contest import Contestant
from benchmarks.speed.data import Object, remove_tree, write_index
from benchmarks.speed.measure import Measured, RunError
from benchmarks.speed.peers import Peer, Remote
from benchmarks.speed.servers import Counts, Endpoint, Front

PREFIX = "data/"


@dataclass(frozen=True)
class Entrant:
    """A client, and in how many rounds it takes part; a slow one is not warmed up."""

    peer: Peer
    runs: int = 5

    @property
    def warms_up(self) -> bool:
        return self.runs > 2


@dataclass(frozen=True)
class Tree:
    """A local tree of files, the objects that equal them, and the bucket that lists them."""

    root: Path
    objects: Sequence[Object]
    index: Path

    @property
    def total_bytes(self) -> int:
        return sum(item.size_bytes for item in self.objects)

    @functools.cached_property
    def md5(self) -> str:
        """What ``Front.summary`` says of a bucket that holds exactly this."""
        lines = "\n".join(f"{PREFIX}{item.name} {item.etag}" for item in self.objects)
        return hashlib.md5(lines.encode(), usedforsecurity=False).hexdigest()


class Bench:
    """The place where everything happens; ``share`` scales the number and size of objects."""

    def __init__(self, scratch: Path, front: Front, share: float, most_runs: int):
        self.scratch = scratch
        self.front = front
        self.most_runs = most_runs
        self._share = share

    def scaled(self, number: int) -> int:
        return max(1, int(number * self._share))

    def tree(self, name: str, names: Sequence[str], write: Callable[[Path], Sequence[Object]]) -> Tree:
        """Writes a tree once for all cases that use it; ``names`` tells two trees of one name apart."""
        root = self.scratch / f"{name}-{len(names)}"
        objects = write(root)
        return Tree(root, objects, write_index(self.scratch / f"{root.name}.tsv", PREFIX, objects))

    # Contestants

    def _slug(self, peer: Peer, what: str) -> str:
        return re.sub(r"\W+", "-", f"{what}-{peer.label}")

    def download(self, entrant: Entrant, remote: Remote, files: int, size_bytes: int) -> Contestant:
        """A download into a directory that does not exist yet, by a client that remembers nothing."""
        target = self.scratch / self._slug(entrant.peer, "out")
        state = self.scratch / self._slug(entrant.peer, "state")
        single = not remote.key.endswith("/")
        local = target / "file" if single else target

        def before(_: int) -> None:
            state.mkdir()
            if single:
                target.mkdir()

        def check(_: int, _run: Measured, _counts: Counts) -> None:
            found = [os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(target) for name in names]
            if len(found) != files or sum(found) != size_bytes:
                raise RunError(f"{len(found)} files with {sum(found)} bytes arrived, not {files} with {size_bytes}")

        return Contestant(
            entrant.peer.tool,
            entrant.peer.label,
            entrant.peer.settings,
            command=lambda _: entrant.peer.download(remote, local, state),
            before=before,
            check=check,
            after=lambda _: self._forget(target, state),
            runs=min(entrant.runs, self.most_runs),
            warms_up=entrant.warms_up,
        )

    def upload(self, entrant: Entrant, endpoint: Endpoint, tree: Tree) -> Contestant:
        """An upload of a tree into an empty bucket; the keys and the MD5 of each object are checked."""
        state = self.scratch / self._slug(entrant.peer, "state")
        remote = Remote(endpoint, "sink", PREFIX)

        def before(_: int) -> None:
            state.mkdir()
            self.front.bind("sink")

        def check(_: int, _run: Measured, _counts: Counts) -> None:
            found = self.front.summary("sink")
            if (found["objects"], found["md5"]) != (len(tree.objects), tree.md5):
                raise RunError(f"the bucket holds {found}, not {len(tree.objects)} objects with MD5 {tree.md5}")

        return Contestant(
            entrant.peer.tool,
            entrant.peer.label,
            entrant.peer.settings,
            command=lambda _: entrant.peer.upload(tree.root, remote, state),
            before=before,
            check=check,
            after=lambda _: self._forget(state),
            runs=min(entrant.runs, self.most_runs),
            warms_up=entrant.warms_up,
        )

    def upload_one(self, entrant: Entrant, endpoint: Endpoint, path: Path) -> Contestant:
        """An upload of one large file; the server has compared its bytes with the file."""
        state = self.scratch / self._slug(entrant.peer, "state")
        remote = Remote(endpoint, "sink", path.name)
        size_bytes = path.stat().st_size

        def before(_: int) -> None:
            state.mkdir()
            self.front.bind("sink")

        def check(_: int, _run: Measured, counts: Counts) -> None:
            found = self.front.summary("sink")
            if (found["objects"], found["bytes"], counts.matched_bytes) != (1, size_bytes, size_bytes):
                raise RunError(f"the bucket holds {found}, and {counts.matched_bytes} bytes were as sent")

        return Contestant(
            entrant.peer.tool,
            entrant.peer.label,
            entrant.peer.settings,
            command=lambda _: entrant.peer.upload(path, remote, state),
            before=before,
            check=check,
            after=lambda _: self._forget(state),
            runs=min(entrant.runs, self.most_runs),
            warms_up=entrant.warms_up,
        )

    def rerun(self, entrant: Entrant, remote: Remote, tree: Tree) -> Contestant:
        """A sync into a directory that is up to date, by a client that may remember; the first round is not counted."""
        state = self.scratch / self._slug(entrant.peer, "memory")
        state.mkdir(exist_ok=True)

        def check(number: int, _run: Measured, counts: Counts) -> None:
            if number and counts.requests.get("GET"):
                raise RunError(f"{counts.requests['GET']} objects were fetched again, though nothing had changed")

        return Contestant(
            entrant.peer.tool,
            entrant.peer.label,
            entrant.peer.settings,
            command=lambda _: entrant.peer.sync_down(remote, tree.root, state),
            check=check,
            runs=min(entrant.runs, self.most_runs),
            warms_up=entrant.warms_up,
        )

    def listing(self, entrant: Entrant, remote: Remote, keys: int) -> Contestant:
        def check(_: int, run: Measured, _counts: Counts) -> None:
            if run.lines < keys:
                raise RunError(f"{run.lines} lines were printed for {keys} keys")

        return Contestant(
            entrant.peer.tool,
            entrant.peer.label,
            entrant.peer.settings,
            command=lambda _: entrant.peer.list(remote),
            check=check,
            runs=min(entrant.runs, self.most_runs),
            warms_up=False,
        )

    @staticmethod
    def _forget(*paths: Path) -> None:
        for path in paths:
            remove_tree(path)
