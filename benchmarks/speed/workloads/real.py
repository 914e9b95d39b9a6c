"""The same transfers with real S3 servers, which need more of the processors than the clients do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.speed.bench import BUCKET, PREFIX, Bench, Entrant, Tree
from benchmarks.speed.contest import Case, Contestant
from benchmarks.speed.data import MIB, Object, flat_names, remove_tree, write_large, write_tree
from benchmarks.speed.measure import Measured, RunError, measured
from benchmarks.speed.peers import Pos3, Rclone, Remote, S5cmd
from benchmarks.speed.servers import Counts
from tests.support.servers import LocalServer, RcloneServer


def real(bench: Bench) -> Iterator[Case]:
    """Small files and a large one, up and down, with ``rclone serve s3`` and moto."""
    for server, count, large_mib in (("rclone", 1_000, 256), ("moto", 300, 64)):
        yield from _on(bench, server, bench.scaled(count), bench.scaled(large_mib))


def _on(bench: Bench, server: str, count: int, large_mib: int) -> Iterator[Case]:
    def write(root: Path) -> list[Object]:
        objects = write_tree(root, flat_names(count), 4096)
        (root / "large").mkdir()
        large = write_large(root / "large/large.bin", large_mib * MIB)
        return [*objects, replace(large, name="large/large.bin")]

    tree = bench.tree("real", write)
    title = f"{count:,} x 4 KiB and 1 x {large_mib} MiB"
    entrants = [Entrant(peer, 3) for peer in (Pos3(), S5cmd(), Rclone())]
    uploads = [_upload(bench, entrant, server, tree) for entrant in entrants]
    yield Case(f"{server}-up", f"Upload {title}", server, uploads, budget_seconds=12)

    endpoint = bench.front.before(server)
    bucket = f"down-{BUCKET}"
    bench.real[server].create_bucket(bucket)
    remote = Remote(endpoint, bucket, PREFIX)
    measured(S5cmd().upload(tree.root, remote, tree.root), timeout_seconds=60)
    downloads = [bench.download(entrant, remote, len(tree.objects), tree.total_bytes) for entrant in entrants]
    yield Case(f"{server}-down", f"Download {title}", server, downloads, budget_seconds=12)
    _drop(bench.real[server], bucket)
    remove_tree(tree.root)


def _upload(bench: Bench, entrant: Entrant, name: str, tree: Tree) -> Contestant:
    """An upload into a new bucket, in which afterwards each key has its size, and each small object its MD5."""
    server = bench.real[name]
    endpoint = bench.front.before(name)
    state = bench.scratch / f"state-{entrant.peer.tool}"

    def bucket(number: int) -> str:
        return f"up-{entrant.peer.tool}-{number}"

    def before(number: int) -> None:
        remove_tree(state)
        state.mkdir()
        server.create_bucket(bucket(number))

    def check(number: int, _run: Measured, _counts: Counts) -> None:
        found = server.keys(bucket(number), PREFIX)
        wrong = [
            item.name
            for item in tree.objects
            if (stored := found.get(PREFIX + item.name)) is None
            or stored.size != item.size_bytes
            or ("-" not in item.etag and stored.etag != item.etag)
        ]
        if wrong or len(found) != len(tree.objects):
            raise RunError(f"of {len(tree.objects)} objects, {len(found)} are there and {len(wrong)} are not as sent")

    def after(number: int) -> None:
        remove_tree(state)
        _drop(server, bucket(number))

    return bench.contestant(
        entrant,
        lambda number: entrant.peer.upload(tree.root, Remote(endpoint, bucket(number), PREFIX), state),
        before=before,
        check=check,
        after=after,
    )


def _drop(server: LocalServer, bucket: str) -> None:
    if isinstance(server, RcloneServer):
        # It serves a directory, and to remove that takes no request for each object.
        shutil.rmtree(server.data / bucket)
    else:
        server.drop_bucket(bucket)
