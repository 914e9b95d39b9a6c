"""Processes that are killed at random moments: whole files, whole objects, and a next run that finds its way."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from random import Random

from tests.faults.base import MIB, TRANSFER, PutBefore, eventually, leftovers, run_python, small_files
from tests.support import Latency, Proxy, RcloneServer, S3Site, assert_same, contents, on, write_tree
from tests.support.trees import pseudo_random

KILLS = 4


def versions(number: int) -> dict[str, bytes]:
    """A tree whose every file differs from number to number, some of them in length too."""
    small = small_files(30, 1000 + number)
    return {name: data[number % 3 :] for name, data in small.items()} | {"large": pseudo_random(9 * MIB, number)}


def killed_at_a_random_moment(proxy: Proxy, dice: Random, *arguments: object) -> None:
    """Runs the transfer, kills it within a second of its first request, and waits for what it still had asked for."""
    proxy.clear()
    program = run_python(TRANSFER, *arguments)
    eventually(lambda: proxy.count() or program.poll() is not None)
    time.sleep(dice.random() * 0.8)
    program.kill()
    program.communicate()
    proxy.settle()


def test_downloads_that_are_killed_leave_whole_files_and_the_next_one_completes_them(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    local = write_tree(tmp_path / "local", {})
    proxy = proxied(rclone_site, Latency(seconds=0.03))
    dice = Random(4)
    seen: list[dict[str, bytes]] = []
    for number in range(KILLS):
        seen.append(versions(number))
        rclone_site.put_all({f"data/{name}": data for name, data in seen[-1].items()})
        killed_at_a_random_moment(proxy, dice, "download", tmp_path / "cache", rclone_site.url("data"), local)
        for path, data in contents(local).items():
            assert path.rpartition("/")[2].startswith(".pos3-") or any(tree[path] == data for tree in seen)
    rclone_site.delete("data/3/003")
    program = run_python(TRANSFER, "download", tmp_path / "cache", rclone_site.url("data"), local)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert_same(local, rclone_site.server, rclone_site.bucket, "data")
    assert not leftovers(local)


def test_uploads_that_are_killed_leave_whole_objects_and_the_next_one_completes_them(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site, Latency(seconds=0.03))
    dice = Random(5)
    seen: list[dict[str, bytes]] = []
    for number in range(KILLS):
        # One that was done before it could be killed has deleted it.
        rclone_site.put("data/stale", b"1")
        seen.append(versions(number))
        tree = write_tree(tmp_path / "tree", seen[-1])
        killed_at_a_random_moment(proxy, dice, "upload", tmp_path / "cache", rclone_site.url("data"), tree)
        objects = rclone_site.objects("data/")
        complete = {name: objects.get(name) for name in seen[-1]} == seen[-1]
        assert objects.pop("stale", b"1" if complete else None) == b"1"
        assert all(any(tree[name] == data for tree in seen) for name, data in objects.items())
    program = run_python(TRANSFER, "upload", tmp_path / "cache", rclone_site.url("data"), tree)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert_same(tree, rclone_site.server, rclone_site.bucket, "data")


def test_a_sigkill_in_an_upload_leaves_the_old_object_or_none(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put("data/a", b"old")
    tree = write_tree(tmp_path / "tree", {"a": pseudo_random(24 * MIB), "b": pseudo_random(MIB)})
    proxy = proxied(s3, Latency(seconds=2, match=on("PUT ?partNumber", "PUT")))
    arguments = (TRANSFER, "upload", tmp_path / "cache", s3.url("data"), tree)
    program = run_python(*arguments)
    eventually(lambda: proxy.count("PUT ?partNumber") > 0)
    program.kill()
    program.communicate()
    assert s3.get("data/a") == b"old"
    proxy.inject()
    program = run_python(*arguments)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert s3.objects("data/") == contents(tree)


def test_a_process_that_sleeps_while_its_server_goes_away_goes_on_when_it_wakes(
    private_rclone: tuple[RcloneServer, S3Site], tmp_path: Path, proxied: PutBefore
) -> None:
    """As on a notebook that is closed in the middle of a download: every connection is dead when it is opened."""
    server, site = private_rclone
    files = small_files(80, 20_000)
    site.put_all({f"data/{name}": data for name, data in files.items()})
    proxy = proxied(site, Latency(seconds=0.1, match=on("GET")))
    program = run_python(TRANSFER, "download", tmp_path / "cache", site.url("data"), "")
    eventually(lambda: proxy.count("GET") >= 20)
    program.send_signal(signal.SIGSTOP)
    server.kill()
    time.sleep(0.5)
    server.restart()
    program.send_signal(signal.SIGCONT)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert contents(tmp_path / "cache" / "_" / site.bucket / "data") == files
