"""What pos3 makes of servers, networks and disks that fail, and of users who do not want to wait."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest
from boto3.s3.transfer import TransferConfig

import pos3
from tests.support import (
    FailPage,
    Fault,
    Flip,
    Hang,
    Latency,
    Proxy,
    RcloneServer,
    Request,
    ResetAfter,
    ResetBefore,
    S3Site,
    Slowdown,
    Status,
    Truncate,
    assert_same,
    contents,
    on,
    write_tree,
)
from tests.support.program import ROOT
from tests.support.trees import pseudo_random

PutBefore = Callable[..., Proxy]
MIB = 1 << 20


def opened(tmp_path: Path, **options: object) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)  # type: ignore[arg-type]


def fetched(site: S3Site, tmp_path: Path, key: str = "data") -> Path:
    with opened(tmp_path):
        return pos3.download(site.url(key))


def leftovers(root: Path) -> list[Path]:
    """Temporary files below `root`, the state of the cache left out."""
    return [path for path in root.rglob(".pos3-*") if path.is_file()]


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def small_files(count: int, size: int = 2000) -> dict[str, bytes]:
    return {f"{number % 7}/{number:03}": pseudo_random(size, seed=number) for number in range(count)}


# Busy servers and bad lines

STORMS = [
    pytest.param(Slowdown(0.1), id="a-tenth-refused"),
    pytest.param(Slowdown(0.3), id="a-third-refused"),
    pytest.param(Status(429, "TooManyRequests", rate=0.1), id="a-tenth-too-many"),
    pytest.param(ResetBefore(0.1), id="a-tenth-reset-before-arrival"),
    pytest.param(ResetAfter(0.1), id="a-tenth-reset-after-arrival"),
    pytest.param(Truncate(0.1, match=on("GET", "LIST")), id="a-tenth-truncated"),
]


@pytest.mark.parametrize("storm", STORMS)
def test_a_download_comes_through_a_storm(s3: S3Site, tmp_path: Path, proxied: PutBefore, storm: Fault) -> None:
    files = small_files(40) | {"large": pseudo_random(17 * MIB)}
    s3.put_all({f"data/{name}": data for name, data in files.items()})
    proxy = proxied(s3, storm, seed=7)
    assert contents(fetched(s3, tmp_path)) == files
    assert any(request.faults for request in proxy.requests)


@pytest.mark.parametrize("storm", STORMS[:-1])
def test_an_upload_comes_through_a_storm(s3: S3Site, tmp_path: Path, proxied: PutBefore, storm: Fault) -> None:
    tree = write_tree(tmp_path / "tree", small_files(40) | {"large": pseudo_random(17 * MIB)})
    s3.put("data/stale", b"")
    proxy = proxied(s3, storm, seed=7)
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, interval=None)
    assert_same(tree, s3.server, s3.bucket, "data")
    assert s3.server.uploads(s3.bucket) == []
    assert any(request.faults for request in proxy.requests)


@pytest.mark.parametrize("kind", ["POST ?uploads", "PUT ?partNumber", "POST ?uploadId", "HEAD", "PUT", "POST ?delete"])
def test_an_answer_that_is_lost_after_the_work_was_done_does_no_harm(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, kind: str
) -> None:
    tree = write_tree(tmp_path / "tree", {"large": pseudo_random(9 * MIB), "small": b"1"})
    moto_site.put("data/stale", b"")
    proxy = proxied(moto_site, ResetAfter(times=1, match=on(kind)))
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree, interval=None)
    assert_same(tree, moto_site.server, moto_site.bucket, "data")
    assert sum("ResetAfter" in request.faults for request in proxy.requests) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Status(200, "InternalError", match=on("POST ?uploadId"), times=1), id="error-in-a-200"),
        pytest.param(Status(404, "NoSuchUpload", match=on("PUT ?partNumber"), times=1), id="part-of-no-upload"),
        pytest.param(Status(404, "NoSuchUpload", match=on("POST ?uploadId"), times=1), id="end-of-no-upload"),
        pytest.param(Status(400, "InvalidPart", match=on("POST ?uploadId"), times=1), id="invalid-part"),
    ],
)
def test_a_multipart_upload_that_came_to_nothing_is_begun_again(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, trouble: Fault
) -> None:
    tree = write_tree(tmp_path / "tree", {"large": pseudo_random(17 * MIB)})
    trouble.struck = 0
    proxied(moto_site, trouble)
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree, interval=None)
    assert_same(tree, moto_site.server, moto_site.bucket, "data")
    assert trouble.struck == 1


@pytest.mark.parametrize(
    ("status", "code"), [(403, "InvalidObjectState"), (400, "KMS.DisabledException"), (405, "MethodNotAllowed")]
)
def test_an_object_that_cannot_be_read_is_named_with_the_servers_own_code(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, status: int, code: str
) -> None:
    """Archived objects, for one, answer 403, and no other credentials would help."""
    s3.put_all({"data/archived": b"1", "data/other": b"2"})
    proxied(s3, Status(status, code, match=on("GET", key="archived")))
    with opened(tmp_path), pytest.raises(pos3.TransferError, match=f"data/archived.*{code}"):
        pos3.download(s3.url("data"))


# Bodies that are not what was stored

FLAWS = [
    pytest.param(Truncate(times=2, match=on("GET")), id="half"),
    pytest.param(Truncate(times=2, keep=0.0, match=on("GET")), id="nothing"),
    pytest.param(Flip(times=2), id="flipped"),
]


@pytest.mark.parametrize("size", [1, 3 * MIB, 17 * MIB], ids=["byte", "stream", "large"])
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_spoiled_body_is_fetched_again(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, flaw: Fault, size: int
) -> None:
    data = pseudo_random(size)
    s3.put("data/x", data)
    flaw.struck = 0
    proxy = proxied(s3, flaw)
    with opened(tmp_path):
        path = pos3.download(s3.url("data"))
        moved = pos3.report().downloaded_bytes
    assert (path / "x").read_bytes() == data
    assert moved == size
    assert sum(bool(request.faults) for request in proxy.requests) == 2


def put_in_parts(site: S3Site, key: str, data: bytes, part_mib: int, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(data)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=part_mib * MIB)
    site.server.s3.upload_file(str(tmp_path / "source"), site.bucket, key, Config=config)
    assert "-" in site.keys()[key].etag


@pytest.mark.parametrize("part_mib", [5, 8, 7], ids=["boto-parts", "our-parts", "odd-parts"])
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_spoiled_body_of_a_multipart_object_is_fetched_again(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, flaw: Fault, part_mib: int
) -> None:
    data = pseudo_random(20 * MIB)
    put_in_parts(moto_site, "data/x", data, part_mib, tmp_path)
    flaw.struck = 0
    proxy = proxied(moto_site, flaw)
    assert (fetched(moto_site, tmp_path) / "x").read_bytes() == data
    assert sum(bool(request.faults) for request in proxy.requests) == 2


def test_a_body_that_is_always_spoiled_is_an_error_and_the_old_file_stays(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    s3.put("data/x", b"old")
    path = fetched(s3, tmp_path)
    s3.put("data/x", pseudo_random(1000))
    proxied(s3, Flip())
    with opened(tmp_path), pytest.raises(pos3.TransferError, match="data/x") as caught:
        pos3.download(s3.url("data"))
    assert isinstance(caught.value.failures[0], pos3.IntegrityError)
    assert contents(path) == {"x": b"old"}
    assert not leftovers(path)


Change = Callable[[bytes], bytes]


class Relay:
    """Carries bytes between clients and a server, through `up` and `down`, which may change them or take their time."""

    def __init__(self, endpoint_url: str, *, up: Change = lambda data: data, down: Change = lambda data: data):
        host, port = endpoint_url.removeprefix("http://").split(":")

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection((host, int(port))) as upstream:
                    back = threading.Thread(target=carry, args=(upstream, self.request, down), daemon=True)
                    back.start()
                    carry(self.request, upstream, up)
                    back.join()

        def carry(source: socket.socket, target: socket.socket, change: Change) -> None:
            try:
                while data := source.recv(1 << 18):
                    target.sendall(change(data))
                target.shutdown(socket.SHUT_WR)
            except OSError:
                target.close()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection)
        self._server.daemon_threads = True
        self._server.block_on_close = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


MARK, SPOILED = b"these-bytes-are-spoiled-on-their-way", b"these-bytes-were-spoiled-on-the-way!"


@pytest.mark.parametrize("size", [1 * MIB, 9 * MIB], ids=["whole", "parts"])
def test_an_upload_that_was_spoiled_on_its_way_is_sent_again(
    s3: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    tree = write_tree(tmp_path / "tree", {"x": MARK * (size // len(MARK))})
    spoiled = threading.Event()

    def spoil(data: bytes) -> bytes:
        if spoiled.is_set() or MARK not in data:
            return data
        spoiled.set()
        return data.replace(MARK, SPOILED, 1)

    with Relay(s3.server.endpoint_url, up=spoil) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint_url)
        with opened(tmp_path):
            pos3.upload(s3.url("data"), tree, interval=None)
    assert spoiled.is_set()
    assert_same(tree, s3.server, s3.bucket, "data")


@pytest.mark.parametrize("newer", [30 * MIB, 18 * MIB, 5], ids=["longer", "shorter", "small"])
def test_an_object_replaced_while_its_ranges_are_read_arrives_as_the_newer_version(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, newer: int
) -> None:
    replacement = pseudo_random(newer, seed=2)
    moto_site.put("data/x", pseudo_random(24 * MIB, seed=1))
    seen: list[Request] = []

    def third_get(request: Request) -> bool:
        if request.kind == "GET":
            seen.append(request)
            if len(seen) == 3:
                moto_site.put("data/x", replacement)
        return False

    proxied(moto_site, Fault(match=third_get))
    assert (fetched(moto_site, tmp_path) / "x").read_bytes() == replacement


# Servers that do not answer


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
    )
    stalled = threading.Event()

    def stall(data: bytes) -> bytes:
        if len(data) > 20_000 and not stalled.is_set():
            stalled.set()
            time.sleep(60)
        return data

    def trickle(data: bytes) -> bytes:
        time.sleep(2 if len(data) > 20_000 else 0)
        return data

    def download(key: str, endpoint: str) -> None:
        with pos3.mirror(tmp_path / key, show_progress=False, default_profile=pos3.Profile(key, endpoint)):
            assert contents(pos3.download(rclone_site.url(key))) == files

    def upload(key: str, endpoint: str) -> None:
        tree = write_tree(tmp_path / f"tree-{key}", {"new": b"2"})
        with pos3.mirror(tmp_path / key, show_progress=False, default_profile=pos3.Profile(key, endpoint)):
            pos3.upload(rclone_site.url(key), tree, interval=None)
        assert rclone_site.objects(f"{key}/") == {"new": b"2"}

    def seconds(work: Callable[[str, str], None], key: str, endpoint: str) -> float:
        began = time.monotonic()
        work(key, endpoint)
        return time.monotonic() - began

    here = proxy.endpoint_url
    with Relay(here, down=stall) as stalling, Relay(here, down=trickle) as trickling, ThreadPoolExecutor(6) as pool:
        works = {
            "list": (download, here),
            "get": (download, here),
            "put": (upload, here),
            "delete": (upload, here),
            "stall": (download, stalling.endpoint_url),
            "slow": (download, trickling.endpoint_url),
        }
        running = {key: pool.submit(seconds, work, key, endpoint) for key, (work, endpoint) in works.items()}
        took = {key: run.result() for key, run in running.items()}
    took.pop("slow")
    assert all(15 < duration < 30 for duration in took.values()), took
    assert sum(request.key == "slow/body" for request in proxy.requests) == 1


def test_a_server_that_dies_in_a_download_and_comes_back_costs_nothing_but_time(
    private_rclone: tuple[RcloneServer, S3Site], tmp_path: Path, proxied: PutBefore
) -> None:
    server, site = private_rclone
    files = small_files(80, 20_000) | {"large": pseudo_random(17 * MIB)}
    site.put_all({f"data/{name}": data for name, data in files.items()})
    proxy = proxied(site, Latency(seconds=0.05, match=on("GET")))
    with ThreadPoolExecutor(1) as pool:
        downloaded = pool.submit(fetched, site, tmp_path)
        eventually(lambda: proxy.count("GET") >= 20)
        server.kill()
        time.sleep(0.5)
        server.restart()
        assert contents(downloaded.result(60)) == files


def test_a_server_that_dies_in_an_upload_and_comes_back_costs_nothing_but_time(
    private_rclone: tuple[RcloneServer, S3Site], tmp_path: Path, proxied: PutBefore
) -> None:
    server, site = private_rclone
    tree = write_tree(tmp_path / "tree", small_files(80, 20_000))
    proxy = proxied(site, Latency(seconds=0.05, match=on("PUT")))

    def push() -> None:
        with opened(tmp_path):
            pos3.upload(site.url("data"), tree, interval=None)

    with ThreadPoolExecutor(1) as pool:
        pushed = pool.submit(push)
        eventually(lambda: proxy.count("PUT") >= 20)
        server.kill()
        time.sleep(0.5)
        server.restart()
        pushed.result(60)
    assert_same(tree, site.server, site.bucket, "data")


# Listings that fail half-way


@pytest.fixture
def three_pages(rclone: RcloneServer, rclone_site: S3Site) -> S3Site:
    """A bucket with 3,000 objects below `data/`, put into the server's directory at once."""
    folder = rclone.data / rclone_site.bucket / "data"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:04}").write_bytes(b"remote")
    return rclone_site


def test_a_page_that_fails_for_the_moment_is_fetched_again(
    three_pages: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxied(three_pages, FailPage(page=2, status=503, error_code="SlowDown", times=2))
    with opened(tmp_path):
        plan = pos3.plan_download(three_pages.url("data"), tmp_path / "local")
    assert len(plan.to_copy) == 3000


def test_a_page_that_stays_forbidden_means_that_nothing_is_moved_or_deleted(
    three_pages: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    stale = {"stale": b"1", "0000": b"local"}
    local, tree = write_tree(tmp_path / "local", stale), write_tree(tmp_path / "tree", stale)
    proxy = proxied(three_pages, FailPage(page=2, status=403, error_code="AccessDenied"))
    with opened(tmp_path), pytest.raises(pos3.AccessDeniedError, match="data"):
        pos3.download(three_pages.url("data"), local, adopt=True)
    with pytest.raises(pos3.AccessDeniedError, match="data"), opened(tmp_path):
        pos3.upload(three_pages.url("data"), tree, interval=None)
    assert contents(local) == contents(tree) == stale
    assert set(proxy.kinds) == {"LIST"}
    assert len(three_pages.keys("data/")) == 3000


# Failures that stay


def test_an_expired_token_is_named_with_the_key_and_ends_the_transfer_soon(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    s3.put_all({f"data/{name}": data for name, data in small_files(100, 10).items()})
    proxy = proxied(s3, Status(400, "ExpiredToken", match=on("GET")))
    began = time.monotonic()
    with opened(tmp_path), pytest.raises(pos3.TransferError, match=r"data/\d/\d+: ExpiredToken: .*expired") as caught:
        pos3.download(s3.url("data"))
    assert isinstance(caught.value.failures[0], pos3.CredentialsError)
    assert proxy.count("GET") <= 20
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("direction", ["download", "upload"])
def test_one_file_that_is_forbidden_does_not_keep_the_others(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, direction: str
) -> None:
    files = small_files(40, 10)
    proxied(s3, Status(403, "AccessDenied", match=on("GET", "PUT", key="/3/003$")))
    if direction == "download":
        s3.put_all({f"data/{name}": data for name, data in files.items()})
        with opened(tmp_path), pytest.raises(pos3.TransferError) as caught:
            pos3.download(s3.url("data"))
        arrived = contents(tmp_path / "cache" / "_" / s3.bucket / "data")
    else:
        s3.put("data/stale", b"")
        tree = write_tree(tmp_path / "tree", files)
        with pytest.raises(pos3.TransferError) as caught, opened(tmp_path):
            pos3.upload(s3.url("data"), tree, interval=None)
        arrived = s3.objects("data/")
        assert arrived.pop("stale") == b""
    assert "data/3/003" in str(caught.value)
    assert len(caught.value.failures) == 1
    assert isinstance(caught.value.failures[0], pos3.AccessDeniedError)
    del files["3/003"]
    assert arrived == files


def test_one_object_that_the_server_cannot_read_does_not_keep_the_others(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    files = small_files(20, 10)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    proxied(rclone_site, Status(500, "InternalError", match=on("GET", key="/0/000$")))
    with opened(tmp_path, max_workers=1), pytest.raises(pos3.TransferError, match="data/0/000") as caught:
        pos3.download(rclone_site.url("data"))
    assert len(caught.value.failures) == 1
    del files["0/000"]
    assert contents(tmp_path / "cache" / "_" / rclone_site.bucket / "data") == files


def test_thousands_of_failures_are_a_short_message(three_pages: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxy = proxied(three_pages, Status(403, "AccessDenied", match=on("GET")))
    with opened(tmp_path), pytest.raises(pos3.TransferError) as caught:
        pos3.download(three_pages.url("data"))
    assert len(str(caught.value)) < 2000
    assert 100 <= len(caught.value.failures) <= 200
    assert proxy.count("GET") <= 200


# Disks


@pytest.mark.parametrize("whole_cache", [False, True], ids=["target", "target-and-index"])
def test_a_full_disk_is_named_and_nothing_half_written_stays(
    s3: S3Site, tmp_path: Path, disk: Path, whole_cache: bool
) -> None:
    def fetch() -> Path:
        with pos3.mirror(disk / "cache" if whole_cache else tmp_path / "cache", show_progress=False):
            return pos3.download(s3.url("data"), disk / "local")

    s3.put("data/old", b"old")
    fetch()
    s3.put_all({f"data/{number}": pseudo_random(MIB, seed=number) for number in range(6)})
    s3.put("data/old", pseudo_random(5 * MIB))
    with pytest.raises((pos3.TransferError, OSError), match="No space left on device") as caught:
        fetch()
    assert f"{disk}/local" in str(caught.value) or "data/" in str(caught.value)
    assert (disk / "local" / "old").read_bytes() == b"old"
    assert not leftovers(disk / "local")
    assert all(path.stat().st_size == MIB for path in (disk / "local").iterdir() if path.name != "old")

    for number in range(6):
        s3.delete(f"data/{number}")
    s3.put("data/old", b"new")
    assert contents(fetch()) == {"old": b"new"}


def run_python(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python program of its own, with the environment that the test has set."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


LIMITED = """
import resource, signal, sys, pos3
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with pos3.mirror(sys.argv[1], show_progress=False):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    pos3.download(sys.argv[2])
"""


@pytest.mark.parametrize("size", [3 * MIB, 20 * MIB], ids=["stream", "ranges"])
def test_a_file_that_may_not_grow_any_further_is_an_error_and_the_others_arrive(
    moto_site: S3Site, tmp_path: Path, size: int
) -> None:
    moto_site.put_all({"data/large": pseudo_random(size), "data/a": b"1", "data/z": b"2"})
    output, _ = (program := run_python(LIMITED, tmp_path / "cache", moto_site.url("data"))).communicate(timeout=60)
    assert program.returncode == 1
    assert "File too large" in output.splitlines()[-1]
    assert "large" in output.splitlines()[-1].replace("too large", "")
    path = tmp_path / "cache" / "_" / moto_site.bucket / "data"
    assert contents(path) == {"a": b"1", "z": b"2"}


@pytest.mark.parametrize("filled", [True, False], ids=["filled", "empty"])
def test_a_read_only_target_is_an_error_that_names_it(s3: S3Site, tmp_path: Path, disk: Path, filled: bool) -> None:
    s3.put_all({"data/a": b"1", "data/b/c": b"2"})
    if filled:
        with opened(tmp_path):
            pos3.download(s3.url("data"), disk / "local")
        s3.put("data/a", b"new")
    before = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with opened(tmp_path), pytest.raises((pos3.TransferError, OSError), match="Read-only file system") as caught:
        pos3.download(s3.url("data"), disk / "local")
    assert f"{disk}/local" in str(caught.value)
    assert contents(disk) == before


# Impatient users

TRANSFER = """
import sys, pos3
action, cache, url, tree = sys.argv[1:]
with pos3.mirror(cache, show_progress=False):
    if action == "download":
        pos3.download(url)
    else:
        pos3.upload(url, tree, interval=None)
"""

HANGS = Hang(times=None, match=lambda request: request.headers.get("range", "bytes=0-") > "bytes=1")


@pytest.mark.parametrize(
    ("action", "files", "fault", "begun"),
    [
        pytest.param("download", small_files(300), Latency(seconds=1, match=on("GET")), "GET", id="slow-download"),
        pytest.param("download", small_files(30), Hang(times=None, match=on("GET")), "GET", id="hung-download"),
        pytest.param("download", {"large": 40 * MIB}, HANGS, "GET", id="hung-ranges"),
        pytest.param("download", small_files(3), Hang(times=None, match=on("LIST")), "LIST", id="hung-listing"),
        pytest.param("upload", small_files(300), Latency(seconds=1, match=on("PUT")), "PUT", id="slow-upload"),
        pytest.param(
            "upload",
            {"large": 100 * MIB, "more": 100 * MIB},
            Latency(seconds=1.5, match=on("PUT ?partNumber")),
            "PUT ?partNumber",
            id="slow-parts",
        ),
        pytest.param("upload", small_files(30), Hang(times=None, match=on("PUT")), "PUT", id="hung-upload"),
        pytest.param(
            "upload",
            {"large": 100 * MIB},
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
    fault.struck = 0
    proxy = proxied(moto_site, fault)
    program = run_python(TRANSFER, action, tmp_path / "cache", moto_site.url("data"), tree)
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
    kept = contents(tmp_path / "cache" / "_") if action == "download" else moto_site.objects("data/")
    assert all(data in whole.values() for data in kept.values())
    assert len(kept) < len(whole)


# A memory that is lost


def spoil_with_garbage(index: Path) -> None:
    index.write_bytes(pseudo_random(8192))


def cut_in_half(index: Path) -> None:
    os.truncate(index, index.stat().st_size // 2)


def make_empty(index: Path) -> None:
    index.write_bytes(b"")


def make_newer(index: Path) -> None:
    connection = sqlite3.connect(index)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()


def spoil_a_page(index: Path) -> None:
    with index.open("r+b") as file:
        file.seek(4096)
        file.write(pseudo_random(index.stat().st_size - 4096))


@pytest.mark.parametrize("harm", [spoil_with_garbage, cut_in_half, make_empty, make_newer, spoil_a_page])
def test_a_spoiled_index_costs_a_comparison_and_no_file(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, harm: Callable[[Path], None]
) -> None:
    files = small_files(40, 10)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    path = fetched(rclone_site, tmp_path)
    (path / "1/001").write_bytes(b"0123456789")
    [index] = (tmp_path / "cache" / ".pos3").glob("*.sqlite")
    harm(index)
    proxy = proxied(rclone_site)
    assert contents(fetched(rclone_site, tmp_path)) == files
    assert proxy.count("GET") == 1
    proxy.clear()
    fetched(rclone_site, tmp_path)
    assert proxy.kinds == {"LIST": 1}
