"""Impatient users: Ctrl-C in the middle of whatever a transfer does."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

import pos3
from pos3.mirrors import verbs
from pos3.state.index import Index
from pos3.state.root_index import Place, RootIndex
from pos3.store import endpoint_of
from tests.faults.base import (
    MIB,
    TRANSFER,
    PutBefore,
    eventually,
    leftovers,
    opened,
    run_python,
    running,
    seconds_to_end,
    small_files,
    until_printed,
)
from tests.support import (
    Fault,
    Hang,
    Latency,
    S3Site,
    Status,
    Trickle,
    contents,
    on,
    write_tree,
)
from tests.support.interrupts import interrupted_at_line
from tests.support.trees import pseudo_random

HANGS = Hang(times=None, match=lambda request: request.headers.get("range", "bytes=0-") > "bytes=1")


@pytest.mark.parametrize(
    ("action", "files", "fault", "begun"),
    [
        pytest.param("download", small_files(80), Latency(seconds=1, match=on("GET")), "GET", id="slow-download"),
        pytest.param("download", small_files(30), Hang(times=None, match=on("GET")), "GET", id="hung-download"),
        pytest.param("download", {"large": 24 * MIB}, HANGS, "GET", id="hung-ranges"),
        pytest.param("download", small_files(3), Hang(times=None, match=on("LIST")), "LIST", id="hung-listing"),
        pytest.param("upload", small_files(80), Latency(seconds=1, match=on("PUT")), "PUT", id="slow-upload"),
        pytest.param(
            "upload",
            {"large": 48 * MIB, "more": 48 * MIB},
            Latency(seconds=1.5, match=on("PUT ?partNumber")),
            "PUT ?partNumber",
            id="slow-parts",
        ),
        pytest.param(
            "upload",
            {"large": 9 * MIB, "more": 9 * MIB},
            Trickle(match=on("POST ?uploads"), bytes_per_second=30),
            "POST ?uploads",
            id="slow-beginning-of-parts",
        ),
        pytest.param("upload", small_files(30), Hang(times=None, match=on("PUT")), "PUT", id="hung-upload"),
        pytest.param(
            "upload",
            {"large": 40 * MIB},
            Hang(times=None, match=lambda request: request.query.get("partNumber", "1") > "1"),
            "PUT ?partNumber",
            id="hung-parts",
        ),
    ],
)
def test_ctrl_c_ends_a_transfer_within_10_seconds_and_leaves_nothing_unfinished(
    moto_site: S3Site,
    tmp_path: Path,
    proxied: PutBefore,
    action: str,
    files: dict[str, bytes | int],
    fault: Fault,
    begun: str,
) -> None:
    whole = {name: pseudo_random(data) if isinstance(data, int) else data for name, data in files.items()}
    tree = write_tree(tmp_path / "tree", whole if action == "upload" else {})
    if action == "download":
        moto_site.put_all({f"data/{name}": data for name, data in whole.items()})
    else:
        moto_site.put("data/old", b"1")
    fault.struck = 0
    proxy = proxied(moto_site, fault)
    program = run_python(
        TRANSFER, action, tmp_path / "cache", moto_site.url("data"), tree if action == "upload" else ""
    )
    eventually(lambda: proxy.count(begun) >= 2 or (begun == "LIST" and proxy.count("LIST")), 40)
    time.sleep(0.7)
    began = time.monotonic()
    program.send_signal(signal.SIGINT)
    try:
        output, _ = program.communicate(timeout=25)
    finally:
        program.kill()
    took = time.monotonic() - began
    assert took < 10
    assert program.returncode in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt" in output
    assert not leftovers(tmp_path / "cache" / "_")
    assert moto_site.server.uploads(moto_site.bucket) == []
    if action == "download":
        kept = contents(tmp_path / "cache" / "_")
    else:
        kept = moto_site.objects("data/")
        assert kept.pop("old") == b"1"
    assert all(data in whole.values() for data in kept.values())
    assert len(kept) < len(whole)


AT_A_RATE = """
import pos3, sys
with pos3.mirror(sys.argv[1], show_progress=False, max_upload_bytes_per_second=1000):
    pos3.upload(sys.argv[2], sys.argv[3], interval=None)
    print("ready", flush=True)
"""


def test_ctrl_c_ends_a_push_that_waits_for_its_rate(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/old", b"1")
    tree = write_tree(tmp_path / "tree", {"a": pseudo_random(4 * MIB)})
    with running(AT_A_RATE, tmp_path / "cache", rclone_site.url("data"), tree) as child:
        until_printed(child, "ready")
        time.sleep(1)
        assert seconds_to_end(child, signal.SIGINT, 12) < 10
        assert child.returncode == -signal.SIGINT
    assert rclone_site.objects("data/") == {"old": b"1"}


DOWNLOAD_AT_A_RATE = """
import pos3, sys
with pos3.mirror(sys.argv[1], show_progress=False, max_download_bytes_per_second=1000):
    print("ready", flush=True)
    pos3.download(sys.argv[2])
"""


def test_ctrl_c_ends_a_download_that_waits_for_its_rate(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({"data/small": pseudo_random(50_000), "data/large": pseudo_random(4 * MIB)})
    with running(DOWNLOAD_AT_A_RATE, tmp_path / "cache", rclone_site.url("data")) as child:
        until_printed(child, "ready")
        time.sleep(1)
        assert seconds_to_end(child, signal.SIGINT, 12) < 10
        assert child.returncode == -signal.SIGINT
    assert not leftovers(tmp_path / "cache" / "_")
    assert contents(tmp_path / "cache" / "_") == {}


BACKGROUND = """
import pos3, pathlib, sys, time
with pos3.mirror(sys.argv[1], show_progress=False):
    pos3.upload(sys.argv[2], sys.argv[3], interval=0.05)
    while not pathlib.Path(sys.argv[4]).exists():
        time.sleep(0.02)
"""


def test_ctrl_c_while_the_end_waits_for_a_background_push_leaves_nothing_unfinished_and_forgets_nothing(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"large": pseudo_random(40 * MIB)})
    proxy = proxied(moto_site, Latency(seconds=1.5, match=on("PUT ?partNumber")))
    program = run_python(BACKGROUND, tmp_path / "cache", moto_site.url("data"), tree, tmp_path / "end")
    eventually(lambda: proxy.count("PUT ?partNumber") >= 1, 40)
    (tmp_path / "end").touch()
    time.sleep(0.3)
    program.send_signal(signal.SIGINT)
    began = time.monotonic()
    try:
        output, _ = program.communicate(timeout=25)
    finally:
        program.kill()
    assert time.monotonic() - began < 10
    assert "KeyboardInterrupt" in output
    assert moto_site.server.uploads(moto_site.bucket) == []
    assert moto_site.keys() == {}
    proxy.inject()
    [recovered] = pos3.recover(tmp_path / "cache", show_progress=False)
    assert recovered.outcome == "pushed"
    assert moto_site.objects("data/") == contents(tree)


DELETING = """
import pos3, sys
with pos3.mirror(sys.argv[1], show_progress=False, max_workers=1):
    pos3.upload(sys.argv[2], sys.argv[3], interval=None)
"""
NO_BATCHES = Status(code=501, error_code="NotImplemented", match=on("POST ?delete"))


def recorded(tmp_path: Path, url: str, local: Path) -> list[str]:
    root = RootIndex(str(tmp_path / "cache"), str(local))
    return [record.path for record in Index(root, Place(endpoint_of("s3", None), url)).records()]


def test_ctrl_c_amid_thousands_of_deletes_ends_them_within_a_request_and_the_next_run_goes_on(
    three_pages: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    url, tree = three_pages.url("data"), tmp_path / "tree"
    with opened(tmp_path):
        pos3.download(url, tree)
    for path in tree.iterdir():
        if path.name != "1500":
            path.unlink()
    proxy = proxied(three_pages, Latency(seconds=1, match=on("POST ?delete")))
    program = run_python(DELETING, tmp_path / "cache", url, tree)
    eventually(lambda: proxy.count("POST ?delete") == 2, 40)
    program.send_signal(signal.SIGINT)
    began = time.monotonic()
    try:
        output, _ = program.communicate(timeout=25)
    finally:
        program.kill()
    assert time.monotonic() - began < 3
    assert program.returncode in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt" in output
    assert proxy.count("POST ?delete") == 2
    left = [key.removeprefix("data/") for key in three_pages.keys("data/")]
    assert len(left) == 1000
    assert recorded(tmp_path, url, tree) == left
    proxy.inject()
    with opened(tmp_path):
        pos3.upload(url, tree, interval=None)
    assert three_pages.objects("data/") == {"1500": b"remote"}
    assert recorded(tmp_path, url, tree) == ["1500"]


def test_a_background_push_amid_its_deletes_stops_when_the_mirror_ends_with_an_error(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put_all({f"data/{name}": data for name, data in small_files(60).items()})
    proxy = proxied(rclone_site, NO_BATCHES, Latency(seconds=0.5, match=on("DELETE")))
    url = rclone_site.url("data")
    mirror = pos3.Mirror(pos3.MirrorOptions(cache_root=tmp_path / "cache", show_progress=False, max_workers=2)).open()
    tree = mirror.sync(url, interval=0.1)
    for path in [path for path in tree.rglob("*") if path.is_file()][1:]:
        path.unlink()
    eventually(lambda: proxy.count("DELETE") >= 3)
    began, error = time.monotonic(), ZeroDivisionError()
    mirror.close(error)
    assert time.monotonic() - began < 2
    assert not hasattr(error, "__notes__")
    asked = proxy.count("DELETE")
    assert asked < 20
    left = [key.removeprefix("data/") for key in rclone_site.keys("data/")]
    assert len(left) == 60 - asked
    assert recorded(tmp_path, url, tree) == left
    proxy.inject()
    with opened(tmp_path):
        pos3.upload(url, tree, interval=None)
    assert rclone_site.objects("data/") == contents(tree)
    assert len(contents(tree)) == 1


def test_ctrl_c_at_any_line_of_the_end_loses_nothing_and_lets_nobody_wait(rclone_site: S3Site, tmp_path: Path) -> None:
    for number in range(1, 500):
        name = f"out{number}"
        tree = write_tree(tmp_path / "trees" / name, {"file": b"mine"})
        mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False)).open()
        mirror.upload(rclone_site.url(name), tree, interval=None)
        error: BaseException | None = None
        with interrupted_at_line(number, verbs.__file__) as hit:
            try:
                mirror.close()
            except KeyboardInterrupt as interrupt:
                error = interrupt
        if not hit:
            break
        began = time.monotonic()
        if mirror.is_open:
            mirror.close()
        else:
            mirror.close_at_exit(error)
        assert time.monotonic() - began < 5, hit
        assert "closed" in repr(mirror), hit
        pos3.recover(tmp_path / "cache", show_progress=False)
        assert rclone_site.get(f"{name}/file") == b"mine", hit
        write_tree(tree, {"file": b"again"})
        with opened(tmp_path):
            pos3.upload(rclone_site.url(name), tree, interval=None)
        assert rclone_site.get(f"{name}/file") == b"again", hit
    else:
        pytest.fail("the mirror reaches more lines than this test expects")
    assert number > 30
