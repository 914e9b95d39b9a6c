"""Servers that do not answer are given up soon; those that are only slow are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pos3
from pos3.store import open_store
from pos3.url import Location
from tests.faults.base import MIB, PutBefore
from tests.support import (
    Handler,
    Hang,
    LateAnswer,
    Relay,
    Request,
    S3Site,
    ScriptedServer,
    Trickle,
    contents,
    on,
    write_tree,
)
from tests.support.trees import pseudo_random


def delete_a_batch_that_takes_23_seconds() -> None:
    """A server says nothing while it deletes one object after the other."""
    asked: list[str] = []

    class Slow(Handler):
        def respond(self) -> None:
            self.body()
            asked.append(self.command)
            time.sleep(23)
            self.answer(200, b"<DeleteResult/>")

    with ScriptedServer(Slow) as server:
        profile = pos3.Profile("slow", server.endpoint_url, access_key="key", secret_key="secret")
        store = open_store(Location("s3", "bucket", ""), profile, 4)
        assert store.delete([f"data/{number}" for number in range(100)]) == []
    assert asked == ["POST"]


def test_what_hangs_is_given_up_after_20_seconds_and_sent_again_and_what_is_slow_is_not(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    """All kinds at once, each in a thread and a mirror of its own, so that this takes 20 seconds only once."""
    files = {"body": pseudo_random(3 * MIB), "other": b"1"}
    for key in ("list", "get", "delete", "stall", "slow"):
        rclone_site.put_all({f"{key}/{name}": data for name, data in files.items()})

    def listing_of(key: str) -> Callable[[Request], bool]:
        return lambda request: request.kind == "LIST" and request.query.get("prefix", "").startswith(key)

    proxy = proxied(
        rclone_site,
        Hang(match=listing_of("list")),
        Hang(match=on("GET", key="^get/")),
        Hang(match=on("PUT", key="^put/")),
        Hang(match=on("POST ?delete")),
        LateAnswer(match=on("POST ?uploadId"), seconds=23),
        Trickle(match=on("GET", key="^slow/body"), bytes_per_second=3 * MIB / 24),
    )
    stalled = threading.Event()

    def stall(data: bytes) -> bytes:
        if len(data) > 20_000 and not stalled.is_set():
            stalled.set()
            time.sleep(60)
        return data

    def download(key: str, endpoint: str) -> None:
        with pos3.mirror(tmp_path / key, show_progress=False, default_profile=pos3.Profile(key, endpoint)):
            assert contents(pos3.download(rclone_site.url(key))) == files

    def upload(key: str, endpoint: str) -> None:
        new = pseudo_random(9 * MIB) if key == "end" else b"2"
        tree = write_tree(tmp_path / f"tree-{key}", {"new": new})
        with pos3.mirror(tmp_path / key, show_progress=False, default_profile=pos3.Profile(key, endpoint)):
            pos3.upload(rclone_site.url(key), tree, interval=None)
        assert rclone_site.objects(f"{key}/") == {"new": new}

    def seconds(work: Callable[[str, str], None], key: str, endpoint: str) -> float:
        began = time.monotonic()
        work(key, endpoint)
        return time.monotonic() - began

    here = proxy.endpoint_url
    with Relay(here, down=stall) as stalling, ThreadPoolExecutor(8) as pool:
        deleting = pool.submit(delete_a_batch_that_takes_23_seconds)
        works = {
            "list": (download, here),
            "get": (download, here),
            "put": (upload, here),
            "delete": (upload, here),
            "stall": (download, stalling.endpoint_url),
            "slow": (download, here),
            "end": (upload, here),
        }
        running = {key: pool.submit(seconds, work, key, endpoint) for key, (work, endpoint) in works.items()}
        took = {key: run.result() for key, run in running.items()}
        deleting.result()
    assert min(took.pop("slow"), took.pop("end")) > 23
    assert proxy.count("POST ?uploadId") == 1
    assert all(15 < duration < 30 for duration in took.values()), took
    assert sum(request.key == "slow/body" for request in proxy.requests) == 1
