"""Workloads over trees of which most or all is up to date."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.speed.bench import BUCKET, NGINX, PREFIX, Bench, Entrant, Tree, added, once
from benchmarks.speed.contest import Case, Contestant, Run
from benchmarks.speed.data import (
    MODIFIED_SECONDS,
    Object,
    content,
    empty_tree,
    flat_names,
    remove_tree,
    write_file,
    write_index,
)
from benchmarks.speed.measure import Measured, RunError
from benchmarks.speed.peers import AwsCli, Pos3, Rclone, Remote, S5cmd
from benchmarks.speed.servers import Counts

_SIZE_BYTES = 1024
_MANY = 100_000


def rerun(bench: Bench) -> Iterator[Case]:
    count = bench.scaled(_MANY)
    tree = bench.flat("many", count, _SIZE_BYTES)
    bench.front.bind(BUCKET, tree.index)
    remote = Remote(bench.front.http, BUCKET, PREFIX)
    near = [Entrant(Pos3()), Entrant(Rclone()), once(S5cmd()), once(AwsCli())]
    far = [Entrant(Pos3(), 3), once(Rclone()), once(S5cmd())]
    for name, entrants, delay_ms, budget_seconds in (("rerun", near, 0, 50), ("rerun-100ms", far, 100, 40)):
        yield Case(
            name,
            f"Rerun over {count:,} objects, nothing has changed{added(delay_ms)}",
            NGINX,
            [_rerun(bench, entrant, remote, tree) for entrant in entrants],
            delay_ms / 1000,
            budget_seconds,
        )
    remove_tree(tree.root)


def _rerun(bench: Bench, entrant: Entrant, remote: Remote, tree: Tree) -> Contestant:
    """A sync into a directory that is up to date, by a client that may remember; the first round is not counted."""
    state = bench.memory(entrant.peer, tree.root.name)

    def check(number: int, _run: Measured, counts: Counts) -> None:
        if number and counts.requests.get("GET"):
            raise RunError(f"{counts.requests['GET']} objects were fetched again, though nothing had changed")

    return bench.contestant(entrant, lambda _: entrant.peer.sync_down(remote, tree.root, state), check=check)


def changed(bench: Bench) -> Iterator[Case]:
    """One object in a hundred is another one, of another size, each time."""
    count = bench.scaled(_MANY)
    versions = _Versions(bench, bench.flat("many", count, _SIZE_BYTES), every=100)
    # A tree that only pos3 writes to, since it remembers what it wrote; all others share one.
    own = bench.flat("own", count, _SIZE_BYTES)
    remote = Remote(bench.front.http, BUCKET, PREFIX)
    pos3 = bench.contestant(
        Entrant(Pos3()),
        lambda _: Pos3().sync_down(remote, own.root, bench.memory(Pos3(), "own")),
        before=versions.serve,
        check=lambda number, *_: versions.check(own.root, number),
    )
    others = [
        bench.contestant(
            entrant,
            lambda _, peer=entrant.peer: peer.sync_down(remote, versions.tree.root, bench.memory(peer, "shared")),
            before=versions.restore_and_serve,
            check=lambda number, *_: versions.check(versions.tree.root, number),
        )
        for entrant in (Entrant(Rclone()), once(S5cmd()))
    ]
    yield Case(
        "changed",
        f"{len(versions.names):,} of {count:,} objects have changed",
        NGINX,
        [pos3, *others],
        budget_seconds=50,
    )
    remove_tree(versions.tree.root)
    remove_tree(own.root)


class _Versions:
    """Two states of a bucket; a tree in one of them is brought to the other, round by round."""

    def __init__(self, bench: Bench, tree: Tree, every: int):
        self.tree = tree
        self._front = bench.front
        self._objects: list[dict[str, Object]] = []
        self._indexes: list[Path] = []
        self.names = [item.name for item in tree.objects[::every]]
        for version in (0, 1):
            folder = bench.scratch / "versions" / str(version)
            folder.mkdir(parents=True, exist_ok=True)
            written = {
                name: write_file(
                    str(folder / str(number)),
                    name,
                    content(number, _SIZE_BYTES + 512 * version, version),
                    MODIFIED_SECONDS + version,
                )
                for number, name in enumerate(self.names)
            }
            listed = [written.get(item.name, item) for item in tree.objects]
            self._objects.append(written)
            self._indexes.append(write_index(bench.scratch / f"version-{version}.tsv", PREFIX, listed))
        bench.front.bind(BUCKET, self._indexes[0])

    def serve(self, number: int) -> None:
        """What the bucket holds in this round: round 0 finds a tree that is as the bucket in the first state."""
        self._front.bind(BUCKET, self._indexes[(number + 1) % 2])

    def restore_and_serve(self, number: int) -> None:
        """The same, after the tree has been brought back into the state that the bucket had before."""
        for name, item in self._objects[number % 2].items():
            write_file(str(self.tree.root / name), name, Path(item.file).read_bytes(), item.modified_seconds)
        self.serve(number)

    def check(self, root: Path, number: int) -> None:
        expected = self._objects[(number + 1) % 2]
        wrong = [name for name in self.names if (root / name).read_bytes() != Path(expected[name].file).read_bytes()]
        if wrong:
            raise RunError(f"{len(wrong)} of {len(expected)} changed files are not as in the bucket")


def pushes(bench: Bench) -> Iterator[Case]:
    """Pushes in the background over a tree that S3 already holds; the others upload it again with their sync."""
    count = bench.scaled(_MANY)
    tree = bench.flat("many", count, _SIZE_BYTES)
    remote = Remote(bench.front.http, BUCKET, PREFIX)
    few = [item.name for item in tree.objects[::1000]]
    for case, names, title in (
        ("push-unchanged", [], "nothing has changed"),
        ("push-changed", few, f"{len(few)} files have changed"),
    ):
        bench.front.bind(BUCKET, tree.index)
        peers = [Entrant(Rclone()), once(S5cmd())] if not names else []
        yield Case(
            case,
            f"Push of {count:,} files, {title}",
            NGINX,
            [
                _push(bench, Entrant(Pos3()), remote, tree, names),
                *(_sync_up(bench, entrant, remote, tree) for entrant in peers),
            ],
            budget_seconds=30,
        )
    remove_tree(tree.root)


def _sync_up(bench: Bench, entrant: Entrant, remote: Remote, tree: Tree) -> Contestant:
    state = bench.memory(entrant.peer, "pushes")
    return bench.contestant(entrant, lambda _: entrant.peer.sync_up(tree.root, remote, state))


def _push(bench: Bench, entrant: Entrant, remote: Remote, tree: Tree, changed_names: Sequence[str]) -> Contestant:
    listed = bench.scratch / "changed.txt"

    def before(_: int) -> None:
        listed.write_text("\n".join(changed_names))

    def figures(number: int, run: Measured, _counts: Counts) -> Run:
        """Those of the push alone, which the program measures itself; only the memory is that of all of it."""
        found = run.json()
        if found["uploaded"] != len(changed_names):
            raise RunError(f"{found['uploaded']} files were pushed, not {len(changed_names)}")
        return Run(number, found["wall_seconds"], found["cpu_seconds"], run.peak_bytes, found["requests"])

    peer = Pos3()
    counts = bench.front.control_url("counts")
    contestant = bench.contestant(
        entrant, lambda _: peer.pushes(tree.root, remote, bench.memory(peer, "pushes"), listed, counts), before=before
    )
    return replace(contestant, figures=figures)


def million(bench: Bench) -> Iterator[Case]:
    """A whole sync over a million objects, all of them there already, and empty: what counts is the work on names.

    pos3 alone: on a busy machine, s5cmd was not done after 200 s, and no time would be left for other cases.
    """
    count = bench.scaled(1_000_000)
    names = flat_names(count)
    tree = bench.tree("million", lambda root: empty_tree(root, names))
    bench.front.bind(BUCKET, tree.index)
    remote = Remote(bench.front.http, BUCKET, PREFIX)
    yield Case(
        "million",
        f"Rerun over {count:,} empty objects, nothing has changed",
        NGINX,
        [_rerun(bench, Entrant(Pos3(), 2), remote, tree)],
        budget_seconds=30,
        timeout_seconds=200,
    )
    remove_tree(tree.root)
