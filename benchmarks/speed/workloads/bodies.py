"""Workloads that move bodies: many small files, a large one, and a dataset as found in practice."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.speed.bench import BUCKET, NGINX, PREFIX, Bench, Entrant
from benchmarks.speed.contest import Case
from benchmarks.speed.data import MIB, deep_names, remove_tree, write_index, write_large, write_tree
from benchmarks.speed.peers import (
    AwsCli,
    Boto3Crt,
    Boto3Threads,
    Pos3,
    Pos3Before,
    Rclone,
    Remote,
    S3fs,
    S5cmd,
)

_MANY_WORKERS = 64
_SMALL_BYTES = 4096


def _latency(delay_ms: int) -> str:
    return f", {delay_ms} ms added to each request" if delay_ms else ""


# What takes part in a case of small files: at 0 and 20 ms those that are fast, with few objects all others as well.
_FAST = [Entrant(Pos3()), Entrant(Pos3(_MANY_WORKERS)), Entrant(S5cmd()), Entrant(Rclone())]
_SLOW = [
    Entrant(Pos3(), 3),
    Entrant(S5cmd(), 3),
    Entrant(Boto3Crt(), 3),
    Entrant(Rclone(tuned=False), 3),
    Entrant(Boto3Threads(), 2),
    Entrant(Boto3Threads(1), 2),
    Entrant(AwsCli(), 2),
    Entrant(S3fs(), 2),
    Entrant(Pos3Before(), 2),
]
_SMALL_CASES = [(10_000, 0, _FAST, 75), (10_000, 20, _FAST, 60), (2_000, 100, _FAST, 30), (1_000, 0, _SLOW, 60)]


def small_down(bench: Bench) -> Iterator[Case]:
    for wanted, delay_ms, entrants, budget_seconds in _SMALL_CASES:
        count = bench.scaled(wanted)
        tree = bench.flat("small", count, _SMALL_BYTES)
        bench.front.bind(BUCKET, tree.index)
        remote = Remote(bench.front.http, BUCKET, PREFIX)
        yield Case(
            f"small-down-{delay_ms}ms{'-all' if entrants is _SLOW else ''}",
            f"Download {count:,} x 4 KiB{_latency(delay_ms)}",
            NGINX,
            [bench.download(entrant, remote, count, tree.total_bytes) for entrant in entrants],
            delay_ms / 1000,
            budget_seconds,
        )
        remove_tree(tree.root)


def small_up(bench: Bench) -> Iterator[Case]:
    for wanted, delay_ms, entrants, budget_seconds in _SMALL_CASES:
        count = bench.scaled(wanted)
        tree = bench.flat("small", count, _SMALL_BYTES)
        yield Case(
            f"small-up-{delay_ms}ms{'-all' if entrants is _SLOW else ''}",
            f"Upload {count:,} x 4 KiB{_latency(delay_ms)}",
            NGINX,
            [bench.upload(entrant, bench.front.http, tree) for entrant in entrants],
            delay_ms / 1000,
            budget_seconds,
        )
        remove_tree(tree.root)


def large(bench: Bench) -> Iterator[Case]:
    size_bytes = bench.scaled(2048) * MIB
    path = bench.scratch / "large.bin"
    item = write_large(path, size_bytes)
    bench.front.bind(BUCKET, write_index(bench.scratch / "large.tsv", "", [item]))
    bench.front.expect(path)
    entrants = [Entrant(Pos3()), Entrant(S5cmd()), Entrant(Rclone()), Entrant(Boto3Crt()), Entrant(AwsCli(), 2)]
    for scheme, endpoint in (("http", bench.front.http), ("https", bench.front.https)):
        title = f"{size_bytes / 2**30:g} GiB over {scheme}"
        yield Case(
            f"large-down-{scheme}",
            f"Download 1 x {title}",
            NGINX,
            [bench.download(entrant, Remote(endpoint, BUCKET, path.name), 1, size_bytes) for entrant in entrants],
            budget_seconds=60,
        )
        yield Case(
            f"large-up-{scheme}",
            f"Upload 1 x {title}",
            NGINX,
            [bench.upload_one(entrant, endpoint, path) for entrant in entrants],
            budget_seconds=60,
        )
    path.unlink()


def dataset(bench: Bench) -> Iterator[Case]:
    names = deep_names(bench.scaled(1000))
    tree = bench.tree("dataset", lambda root: write_tree(root, names, MIB))
    bench.front.bind(BUCKET, tree.index)
    remote = Remote(bench.front.http, BUCKET, PREFIX)
    for delay_ms in (0, 20):
        title = f"{len(names):,} x 1 MiB in a deep tree{_latency(delay_ms)}"
        yield Case(
            f"dataset-down-{delay_ms}ms",
            f"Download {title}",
            NGINX,
            [bench.download(entrant, remote, len(names), tree.total_bytes) for entrant in _FAST],
            delay_ms / 1000,
            25,
        )
        yield Case(
            f"dataset-up-{delay_ms}ms",
            f"Upload {title}",
            NGINX,
            [bench.upload(entrant, bench.front.http, tree) for entrant in _FAST],
            delay_ms / 1000,
            25,
        )
    remove_tree(tree.root)
