"""Workloads over keys alone."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.speed.bench import BUCKET, NGINX, PREFIX, Bench, Entrant, added, once
from benchmarks.speed.contest import Case, Contestant
from benchmarks.speed.data import flat_names, synthetic, write_index
from benchmarks.speed.measure import Measured, RunError
from benchmarks.speed.peers import AwsCli, Boto3Threads, Peer, Pos3, Rclone, Remote, S3fs, S5cmd
from benchmarks.speed.servers import Counts


def listing(bench: Bench) -> Iterator[Case]:
    remote = Remote(bench.front.http, BUCKET, PREFIX)
    hundred_thousand = [
        Entrant(Pos3()),
        Entrant(S5cmd()),
        Entrant(Rclone()),
        once(Boto3Threads()),
        once(AwsCli()),
        once(S3fs()),
    ]
    far = [once(Pos3(), 3), once(S5cmd()), once(Rclone())]
    million = [once(Pos3(), 2), once(S5cmd()), once(Rclone())]
    for name, wanted, entrants, delay_ms, budget_seconds in (
        ("100k", 100_000, hundred_thousand, 0, 45),
        ("100k-100ms", 100_000, far, 100, 40),
        ("1m", 1_000_000, million, 0, 45),
    ):
        count = bench.scaled(wanted)
        bench.front.bind(BUCKET, write_index(bench.scratch / "listed.tsv", PREFIX, synthetic(flat_names(count))))
        yield Case(
            f"list-{name}",
            f"List {count:,} keys{added(delay_ms)}",
            NGINX,
            [_listing(bench, entrant, remote, count) for entrant in entrants],
            delay_ms / 1000,
            budget_seconds,
        )
    bench.front.bind(BUCKET)


def _listing(bench: Bench, entrant: Entrant, remote: Remote, keys: int) -> Contestant:
    def check(_: int, run: Measured, _counts: Counts) -> None:
        if run.lines < keys:
            raise RunError(f"{run.lines} lines were printed for {keys} keys")

    return bench.contestant(entrant, lambda _: entrant.peer.list(remote), check=check)


def delete(bench: Bench) -> Iterator[Case]:
    count = bench.scaled(10_000)
    index = write_index(bench.scratch / "listed.tsv", PREFIX, synthetic(flat_names(count)))
    # pos3 deletes what the source does not have, and an empty source deletes nothing.
    kept = bench.scratch / "kept"
    kept.mkdir(exist_ok=True)
    (kept / "kept").write_bytes(b"the only file")
    remote = Remote(bench.front.http, "sink", PREFIX)
    # aws cli deletes one object after the other, which takes longer than all other cases of listings together.
    peers: list[Peer] = [Pos3(), S5cmd(), Rclone(), Boto3Threads(), S3fs()]

    def contestant(peer: Peer) -> Contestant:
        def check(_: int, _run: Measured, _counts: Counts) -> None:
            left = bench.front.summary("sink")["objects"]
            if left != (peer.tool == "pos3"):
                raise RunError(f"{left} objects are left")

        entrant = Entrant(peer) if peer.tool in ("pos3", "s5cmd") else once(peer, 2)
        command = (
            (lambda _: peer.sync_up(kept, remote, bench.memory(peer, "deletes")))
            if peer.tool == "pos3"
            else lambda _: peer.delete(remote)
        )
        return bench.contestant(entrant, command, before=lambda _: bench.front.bind("sink", index), check=check)

    yield Case("delete", f"Delete {count:,} objects", NGINX, [contestant(peer) for peer in peers], budget_seconds=20)
