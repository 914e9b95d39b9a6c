"""Several processes on one cache: every body once, and nobody sees half a file."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pos3
from tests.faults.base import TRANSFER, PutBefore, eventually, run_python
from tests.support import Latency, S3Site, contents, on, write_tree
from tests.support.trees import pseudo_random

PROCESSES = 4

FORK = """
import os, sys, time, traceback
import boto3, pycurl, pos3, pos3.store.s3.store

body, cache, url, count = compile(sys.argv[1], "body", "exec"), sys.argv[2], sys.argv[3], int(sys.argv[4])
children = []
for number in range(count):
    child = os.fork()
    if not child:
        try:
            exec(body, {"pos3": pos3, "os": os, "time": time, "cache": cache, "url": url, "number": number})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def at_once(body: str, cache: Path, url: str, count: int = PROCESSES) -> list[str]:
    """Runs the code in so many processes, each with a `number` of its own; the lines that they printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, body, str(cache), url, str(count)],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_processes_that_share_a_cache_download_every_object_once(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    s3.put_all({f"data/{number:02}": pseudo_random(1000, number) for number in range(30)})
    proxy = proxied(s3, Latency(seconds=0.05, match=on("GET")))
    script = (
        "with pos3.mirror(cache, show_progress=False) as m:\n"
        "    path = pos3.download(url)\n"
        "    print(len(os.listdir(path)), m.report().downloaded_files, flush=True)\n"
    )
    outputs = [line.split() for line in at_once(script, tmp_path / "cache", s3.url("data"))]
    assert proxy.count("GET") == 30
    assert [seen for seen, _ in outputs] == ["30"] * PROCESSES
    assert sorted(int(moved) for _, moved in outputs) == [0, 0, 0, 30]


def test_processes_that_download_different_parts_do_not_wait_for_each_other(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put_all({f"data-{number}/a": b"1" for number in range(PROCESSES)})
    proxy = proxied(rclone_site, Latency(seconds=1, match=on("GET")))
    script = (
        "with pos3.mirror(cache, show_progress=False):\n"
        "    assert os.listdir(pos3.download(f'{url}-{number}')) == ['a']\n"
    )
    at_once(script, tmp_path / "cache", rclone_site.url("data"))
    assert proxy.count("GET") == PROCESSES
    assert proxy.peak >= 2


def test_processes_that_download_the_whole_and_a_part_of_it_end_with_the_same_files(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    files = {f"{part}/{number}": pseudo_random(2000, number) for part in "abc" for number in range(10)}
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    script = (
        "with pos3.mirror(cache, show_progress=False):\n"
        "    pos3.download([url, url + '/a', url + '/b', url + '/a/1'][number])\n"
    )
    at_once(script, tmp_path / "cache", rclone_site.url("data"))
    path = tmp_path / "cache" / "_" / rclone_site.bucket / "data"
    assert contents(path) == files
    with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
        pos3.download(rclone_site.url("data"))
    assert contents(path) == files
    assert mirror.report().downloaded_files == 0


def test_a_reader_never_sees_half_a_file_while_others_update_the_cache(rclone_site: S3Site, tmp_path: Path) -> None:
    versions = [bytes([number]) * 300_000 for number in range(1, 6)]
    rclone_site.put("data/a", versions[0])
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        path = pos3.download(rclone_site.url("data")) / "a"
    script = (
        "import sys\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "import time\n"
        "seen, end = set(), time.monotonic() + 2\n"
        "while time.monotonic() < end:\n"
        "    data = open(sys.argv[1], 'rb').read()\n"
        "    assert len(data) == 300000 and len(set(data)) == 1, (len(data), len(set(data)))\n"
        "    seen.add(data[0])\n"
        "print(len(seen))\n"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert reader.stdout.readline() == "ready\n"
        reader.stdin.write("\n")
        reader.stdin.flush()
        for version in versions[1:]:
            rclone_site.put("data/a", version)
            with pos3.mirror(tmp_path / "cache", show_progress=False):
                pos3.download(rclone_site.url("data"))
            time.sleep(0.1)
        output, _ = reader.communicate(timeout=30)
    finally:
        reader.kill()
        reader.wait()
    assert reader.returncode == 0
    assert int(output) >= 2


def test_processes_that_upload_from_one_directory_lose_nothing(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    tree = write_tree(tmp_path / "tree", {f"shared-{number}": b"1" for number in range(10)})
    proxy = proxied(s3)
    script = (
        "with pos3.mirror(cache, show_progress=False):\n"
        f"    path = pos3.upload(url, {str(tree)!r}, interval=0.1)\n"
        "    (path / f'from-{number}').write_bytes(b'2')\n"
        "    time.sleep(0.5)\n"
    )
    at_once(script, tmp_path / "cache", s3.url("data"))
    assert s3.objects("data/") == contents(tree)
    assert len(contents(tree)) == 10 + PROCESSES
    assert proxy.count("PUT") == 10 + PROCESSES


def test_processes_that_sync_one_prefix_keep_what_the_others_added(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/base", b"0")
    script = (
        "with pos3.mirror(f'{cache}-{number}', show_progress=False):\n"
        "    path = pos3.sync(url, interval=0.1)\n"
        "    time.sleep(0.2)\n"
        "    (path / f'from-{number}').write_bytes(b'2')\n"
        "    time.sleep(0.5)\n"
    )
    at_once(script, tmp_path / "cache", s3.url("data"))
    assert set(s3.objects("data/")) == {"base", *(f"from-{number}" for number in range(PROCESSES))}


def test_a_lock_of_a_killed_process_holds_nobody_up(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    rclone_site.put("data/a", b"1")
    proxy = proxied(rclone_site, Latency(seconds=30, match=on("GET"), times=1))
    child = run_python(TRANSFER, "download", tmp_path / "cache", rclone_site.url("data"), "")
    eventually(lambda: proxy.count("GET"))
    child.kill()
    child.communicate()
    began = time.monotonic()
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        assert contents(pos3.download(rclone_site.url("data"))) == {"a": b"1"}
    assert time.monotonic() - began < 5


def test_an_index_that_many_processes_make_at_once_is_whole(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({f"data/{number}": b"1" for number in range(3)})
    script = "for turn in range(5):\n    with pos3.mirror(cache, show_progress=False):\n        pos3.download(url)\n"
    at_once(script, tmp_path / "cache", rclone_site.url("data"), count=8)
    assert not list((tmp_path / "cache" / ".pos3").glob("*broken*"))
