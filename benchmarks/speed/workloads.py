"""The workloads: each yields its cases one by one, with their data prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.speed.bench import PREFIX, Bench, Entrant, Tree
from benchmarks.speed.contest import Case
from benchmarks.speed.data import (
    MIB,
    deep_names,
    flat_names,
    remove_tree,
    synthetic,
    write_index,
    write_large,
    write_tree,
)
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

BUCKET = "bench"
NGINX = "nginx"
_MANY_WORKERS = 64
_SMALL_BYTES = 4096

Workload = Callable[[Bench], Iterator[Case]]


def _flat(bench: Bench, name: str, count: int, size_bytes: int) -> Tree:
    names = flat_names(count)
    return bench.tree(name, names, lambda root: write_tree(root, names, size_bytes))


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
    for count, delay_ms, entrants, budget_seconds in _SMALL_CASES:
        count = bench.scaled(count)
        tree = _flat(bench, "small", count, _SMALL_BYTES)
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
    for count, delay_ms, entrants, budget_seconds in _SMALL_CASES:
        count = bench.scaled(count)
        tree = _flat(bench, "small", count, _SMALL_BYTES)
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
    tree = bench.tree("dataset", names, lambda root: write_tree(root, names, MIB))
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


def rerun(bench: Bench) -> Iterator[Case]:
    count = bench.scaled(100_000)
    tree = _flat(bench, "many", count, 1024)
    bench.front.bind(BUCKET, tree.index)
    remote = Remote(bench.front.http, BUCKET, PREFIX)
    entrants = [Entrant(Pos3()), Entrant(S5cmd()), Entrant(Rclone()), Entrant(AwsCli(), 1)]
    yield Case(
        "rerun",
        f"Rerun over {count:,} objects, nothing has changed",
        NGINX,
        [bench.rerun(entrant, remote, tree) for entrant in entrants],
        budget_seconds=90,
    )
    remove_tree(tree.root)


def listing(bench: Bench) -> Iterator[Case]:
    remote = Remote(bench.front.http, "listed", PREFIX)
    hundred_thousand = [Pos3(), S5cmd(), Rclone(), Boto3Threads(), AwsCli(), S3fs()]
    million = [Pos3(), S5cmd(), Rclone()]
    for name, count, peers, runs, budget_seconds in (
        ("100k", 100_000, hundred_thousand, 2, 40),
        ("1m", 1_000_000, million, 2, 70),
    ):
        count = bench.scaled(count)
        names = flat_names(count)
        bench.front.bind("listed", write_index(bench.scratch / "listed.tsv", PREFIX, synthetic(names)))
        yield Case(
            f"list-{name}",
            f"List {count:,} keys",
            NGINX,
            [bench.listing(Entrant(peer, runs), remote, count) for peer in peers],
            budget_seconds=budget_seconds,
        )
        bench.front.bind("listed")


WORKLOADS: dict[str, Workload] = {
    "small-down": small_down,
    "small-up": small_up,
    "large": large,
    "rerun": rerun,
    "list": listing,
    "dataset": dataset,
}

PEERS = [Pos3(), S5cmd(), Rclone(), AwsCli(), Boto3Threads(), S3fs(), Pos3Before()]
