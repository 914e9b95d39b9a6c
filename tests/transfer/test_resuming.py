"""A download of a huge object that did not come to its end goes on, as long as the object is the same."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import pos3
from pos3.local import part_at, part_of
from pos3.store.s3.checksums import algorithms
from tests.faults.base import MIB, TRANSFER, PutBefore, eventually, leftovers, run_python
from tests.support import Fault, Flip, Hang, Latency, Proxy, Request, S3Site, Status, Trickle, contents, write_tree
from tests.support.nolocks import supported
from tests.support.program import ROOT, run_program
from tests.support.trees import pseudo_random

# An eighth of what they are in earnest: most tests are about which ranges arrive, and not about how long they are.
RANGE = MIB
SMALL_RANGES = """
from pos3.store.s3 import downloads, ranged_download, store
downloads.LARGE_BYTES, ranged_download._RANGE_BYTES, store.S3Store.resumable_from_bytes = 2 << 20, 1 << 20, 8 << 20
"""
SIZE = 10 * RANGE - 12345
BODY = pseudo_random(SIZE)
ALL = list(range(0, SIZE, RANGE))
# What arrives before the rest comes slowly.
FIRST = ALL[:6]
REST = ALL[6:]


def beginning_of(request: Request) -> int:
    """Where the range begins that is asked for; -1 where it is none."""
    match = re.match(r"bytes=(\d+)-", request.headers.get("range", ""))
    return int(match[1]) if match else -1


def asked(proxy: Proxy) -> list[int]:
    """The beginnings of the ranges that were asked for, -1 for whole objects."""
    return sorted(beginning_of(request) for request in proxy.requests if request.kind == "GET")


def slow_from(begin: int, bytes_per_second: float = 15_000) -> Trickle:
    """Ranges that begin there or later come slowly."""
    return Trickle(match=lambda request: beginning_of(request) >= begin, bytes_per_second=bytes_per_second)


SLOW = slow_from(REST[0])


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pos3.store.s3.downloads.LARGE_BYTES", 2 * RANGE)
    monkeypatch.setattr("pos3.store.s3.ranged_download._RANGE_BYTES", RANGE)
    monkeypatch.setattr("pos3.store.s3.store.S3Store.resumable_from_bytes", 8 * RANGE)


def run_download(*arguments: object, before: str = SMALL_RANGES) -> subprocess.Popen[str]:
    """A process that downloads: its cache, the URL and the target."""
    return run_python(before + TRANSFER, "download", *arguments)


def noted_in(notes: Path) -> int:
    """How many ranges are noted."""
    return len(re.findall(rb"^\d+ \d+ \w+$", notes.read_bytes(), re.MULTILINE)) if notes.exists() else 0


@dataclass
class Download:
    """One object on a server behind a proxy, and where it is downloaded to."""

    site: S3Site
    proxy: Proxy
    cache: Path
    url: str
    target: Path

    @property
    def file(self) -> Path:
        return self.target / "huge" if self.url.endswith("data") else self.target

    @property
    def part(self) -> Path:
        return Path(part_of(str(self.file)))

    @property
    def notes(self) -> Path:
        return self.part.with_suffix(".ranges")

    @property
    def noted(self) -> int:
        return noted_in(self.notes)

    @contextmanager
    def under_way(self, rest: Fault = SLOW) -> Iterator[subprocess.Popen[str]]:
        """A process that has six ranges, and is in the middle of the others; ``rest`` is what becomes of them."""
        self.proxy.inject(rest)
        program = run_download(self.cache, self.url, self.target)
        try:
            eventually(lambda: self.noted == len(FIRST), 60)
            eventually(lambda: set(REST) <= set(asked(self.proxy)))
            yield program
        finally:
            program.kill()
            program.communicate()
            self.proxy.inject()
            self.proxy.clear()

    def ended_by(self, number: signal.Signals) -> str:
        """What a process said that got a signal in the middle."""
        with self.under_way() as program:
            program.send_signal(number)
            output, _ = program.communicate(timeout=60)
        assert program.returncode
        assert not self.file.exists()
        return output

    def again(self, **options: object) -> list[int]:
        """Downloads it, and returns what was asked for."""
        with pos3.mirror(self.cache, show_progress=False):
            pos3.download(self.url, self.target, **options)  # type: ignore[arg-type]
        return asked(self.proxy)

    def nothing_is_left(self) -> bool:
        notes = self.cache / ".pos3" / "unfinished"
        return leftovers(self.file.parent) == [] and (not notes.exists() or os.listdir(notes) == [])


Prepare = Callable[..., Download]


@pytest.fixture
def prepare(tmp_path: Path, proxied: PutBefore) -> Prepare:
    def prepared(site: S3Site, key: str = "data/huge", **checksum: object) -> Download:
        site.server.s3.put_object(Bucket=site.bucket, Key="data/huge", Body=BODY, **checksum)
        home = write_tree(tmp_path / "home", {"thesis.tex": b"years of work"})
        target = home / "huge" if key == "data/huge" else home / "set"
        return Download(site, proxied(site), tmp_path / "cache", site.url(key), target)

    return prepared


JOINED = next((algorithm.name for algorithm in algorithms().values() if algorithm.join is not None), "CRC32")
PROOFS = {"checksum-of-ranges": JOINED, "checksum-of-all": "SHA256", "md5": ""}


@pytest.mark.parametrize("key", ["data/huge", "data"], ids=["one-object", "prefix"])
@pytest.mark.parametrize("algorithm", PROOFS.values(), ids=PROOFS)
def test_a_killed_download_asks_only_for_what_had_not_arrived(
    moto_site: S3Site, prepare: Prepare, algorithm: str, key: str
) -> None:
    download = prepare(moto_site, key, **{"ChecksumAlgorithm": algorithm} if algorithm else {})
    download.ended_by(signal.SIGKILL)
    assert download.again() == REST
    assert sum(request.received for request in download.proxy.requests if request.kind == "GET") == SIZE - REST[0]
    assert download.file.read_bytes() == BODY
    assert download.nothing_is_left()
    assert download.again() == REST


def test_it_does_so_where_the_store_tells_no_checksums(rclone_site: S3Site, prepare: Prepare) -> None:
    download = prepare(rclone_site)
    download.ended_by(signal.SIGKILL)
    assert download.again() == REST
    assert download.file.read_bytes() == BODY
    assert download.nothing_is_left()


def test_ranges_of_the_usual_length_of_what_was_uploaded_in_parts_go_on(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    body, piece = pseudo_random(72 * MIB), 8 * MIB
    source = write_tree(tmp_path / "source", {"huge": body})
    s3.server.s3.upload_file(str(source / "huge"), s3.bucket, "huge")
    proxy = proxied(s3, slow_from(4 * piece, 100_000))
    target = tmp_path / "huge"
    program = run_download(tmp_path / "cache", s3.url("huge"), target, before="")
    eventually(lambda: noted_in(Path(part_of(str(target))).with_suffix(".ranges")) == 4, 60)
    program.kill()
    program.communicate()
    proxy.inject()
    proxy.clear()
    program = run_download(tmp_path / "cache", s3.url("huge"), target, before="")
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert asked(proxy) == list(range(4 * piece, 9 * piece, piece))
    assert target.read_bytes() == body
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("algorithm", PROOFS.values(), ids=PROOFS)
def test_ranges_that_had_arrived_in_part_go_on_where_they_were(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, algorithm: str
) -> None:
    """On a slow network, many ranges are under way before the first one is whole."""
    body, piece = pseudo_random(64 * MIB), 8 * MIB
    checksum = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    moto_site.server.s3.put_object(Bucket=moto_site.bucket, Key="huge", Body=body, **checksum)
    proxy = proxied(moto_site, slow_from(0, 1_500_000))
    target = tmp_path / "huge"
    notes = Path(part_of(str(target))).with_suffix(".ranges")
    program = run_download(tmp_path / "cache", moto_site.url("huge"), target, before="")
    eventually(lambda: noted_in(notes) >= 16, 60)
    program.kill()
    program.communicate()
    proxy.inject()
    proxy.clear()
    spoil(Path(part_of(str(target))), 3 * piece + 17)
    program = run_download(tmp_path / "cache", moto_site.url("huge"), target, before="")
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert target.read_bytes() == body
    beginnings = asked(proxy)
    assert [begin // piece for begin in beginnings] == list(range(8))
    assert beginnings.pop(3) == 3 * piece
    assert all(begin % piece >= MIB for begin in beginnings)
    assert sum(request.received for request in proxy.requests if request.kind == "GET") <= len(body) - 7 * MIB
    assert leftovers(tmp_path) == []


def test_over_tls_and_without_any_checksum_it_does_so_as_well(
    moto_site: S3Site, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS proves what is sent. What is here already is proven by what was noted of it."""
    monkeypatch.setenv("PYTHONPATH", "")
    download = prepare(moto_site)
    unproven = SMALL_RANGES + "from pos3.store.s3.client import Connection\nConnection.signs_bodies = False\n"
    download.proxy.inject(SLOW)
    program = run_download(download.cache, download.url, download.target, before=unproven)
    eventually(lambda: download.noted == len(FIRST), 60)
    program.kill()
    program.communicate()
    download.proxy.inject()
    download.proxy.clear()
    spoil(download.part, RANGE + 17)
    program = run_download(download.cache, download.url, download.target, before=unproven)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert asked(download.proxy) == [RANGE, *REST]
    assert download.file.read_bytes() == BODY


def test_killed_again_and_again_it_comes_to_its_end(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    for already in (2, 5, 8):
        download.proxy.inject(slow_from(ALL[already]))
        program = run_download(download.cache, download.url, download.target)
        eventually(lambda already=already: download.noted >= already, 60)
        program.kill()
        program.communicate()
        download.proxy.clear()
    download.proxy.inject()
    assert download.again() == ALL[8:]
    assert download.file.read_bytes() == BODY
    assert download.nothing_is_left()


def test_one_that_had_everything_asks_for_nothing(moto_site: S3Site, prepare: Prepare) -> None:
    """As one that was killed right before its file got its name."""
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    with download.notes.open("ab") as notes, download.part.open("r+b") as part:
        part.seek(REST[0])
        part.write(BODY[REST[0] :])
        name = download.notes.read_bytes().split(b"\n")[0].rpartition(b" ")[2].decode()
        algorithm = next((known for known in algorithms().values() if known.name == name), None)
        for start in REST:
            notes.write(b"%d %d %s\n" % (start, min(start + RANGE, SIZE), digest(algorithm, start).encode()))
    assert download.again() == []
    assert download.file.read_bytes() == BODY
    assert int(download.file.stat().st_mtime) == int(moto_site.keys()["data/huge"].modified)
    assert download.nothing_is_left()


def digest(algorithm: object, start: int) -> str:
    import hashlib

    block = BODY[start : start + RANGE]
    if algorithm is None:
        return hashlib.md5(block).hexdigest()
    running = algorithm.begin()  # type: ignore[attr-defined]
    running.update(block)
    return str(running.digest().hex())


# -- what is not as it was noted


def spoil(path: Path, offset: int, block: bytes = b"\x00" * 4096) -> None:
    """As a power cut does: what was noted never reached the disk."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(block)


def test_a_noted_range_that_is_not_on_the_disk_is_asked_for_again(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    spoil(download.part, 2 * RANGE + 5)
    spoil(download.part, 4 * RANGE)
    assert download.again() == [2 * RANGE, 4 * RANGE, *REST]
    assert download.file.read_bytes() == BODY


@pytest.mark.parametrize("size", [3 * RANGE - 1, 0], ids=["shorter", "empty"])
def test_what_a_part_file_has_lost_is_asked_for_again(moto_site: S3Site, prepare: Prepare, size: int) -> None:
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    os.truncate(download.part, size)
    assert download.again() == [start for start in ALL if start >= size - size % RANGE]
    assert download.file.read_bytes() == BODY
    assert download.nothing_is_left()


@pytest.mark.parametrize(
    ("spoiled", "left"),
    [
        pytest.param(lambda notes: notes[:-20], 5, id="half-a-line"),
        pytest.param(lambda notes: notes + b"\x00" * 500, 6, id="zeros-behind"),
        pytest.param(lambda notes: notes + b"\n0 zz 12\n-1 5 aa\n8 3 ab\n99999999 9 abc\n", 6, id="nonsense"),
        pytest.param(lambda notes: notes.replace(b" 1048576 ", b" 1048577 "), 5, id="another-range"),
        pytest.param(lambda notes: b"\x00" * len(notes), 0, id="zeros"),
        pytest.param(lambda notes: b"", 0, id="nothing"),
        pytest.param(lambda notes: b"{}\n" + notes, 0, id="another-head"),
    ],
)
def test_notes_that_are_spoiled_cost_requests_and_no_byte(
    moto_site: S3Site, prepare: Prepare, spoiled: Callable[[bytes], bytes], left: int
) -> None:
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    download.notes.write_bytes(spoiled(download.notes.read_bytes()))
    assert len(download.again()) == len(ALL) - left
    assert download.file.read_bytes() == BODY
    assert download.nothing_is_left()


@pytest.mark.parametrize("gone", ["part", "notes"])
def test_without_its_other_half_nothing_is_taken_over(moto_site: S3Site, prepare: Prepare, gone: str) -> None:
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    (download.part if gone == "part" else download.notes).unlink()
    assert download.again() == ALL
    assert download.file.read_bytes() == BODY
    assert download.nothing_is_left()


@pytest.mark.parametrize("algorithm", ["CRC32", ""], ids=["checksum", "md5"])
def test_what_is_wrong_and_noted_as_right_begins_anew_without_an_error(
    moto_site: S3Site, prepare: Prepare, algorithm: str
) -> None:
    download = prepare(moto_site, **{"ChecksumAlgorithm": algorithm} if algorithm else {})
    download.ended_by(signal.SIGKILL)
    lines = download.notes.read_bytes().split(b"\n")
    [number] = [number for number, line in enumerate(lines) if line.startswith(b"%d " % RANGE)]
    wrong = b"wrong" * 100
    spoil(download.part, RANGE, wrong)
    block = wrong + BODY[RANGE + len(wrong) : 2 * RANGE]
    of_ranges = lines[0].rpartition(b" ")[2].decode()
    found = next((known for known in algorithms().values() if known.name == of_ranges), None)
    if found is None:
        import hashlib

        noted = hashlib.md5(block).hexdigest()
    else:
        running = found.begin()
        running.update(block)
        noted = running.digest().hex()
    lines[number] = b"%d %d %s" % (RANGE, 2 * RANGE, noted.encode())
    download.notes.write_bytes(b"\n".join(lines))
    assert download.again() == sorted([*ALL, *REST])
    assert download.file.read_bytes() == BODY
    assert download.nothing_is_left()


# -- another object, or none


@pytest.mark.parametrize("key", ["data/huge", "data"], ids=["one-object", "prefix"])
@pytest.mark.parametrize("size", [SIZE, SIZE + RANGE, 1000], ids=["as-long", "longer", "small"])
def test_an_object_that_was_replaced_meanwhile_begins_anew(
    moto_site: S3Site, prepare: Prepare, size: int, key: str
) -> None:
    download = prepare(moto_site, key)
    download.ended_by(signal.SIGKILL)
    other = pseudo_random(size, seed=5)
    moto_site.put("data/huge", other)
    assert download.again() == (list(range(0, size, RANGE)) if size > 1000 else [-1])
    assert download.file.read_bytes() == other
    assert download.nothing_is_left()


def test_an_object_that_is_replaced_while_it_goes_on_begins_anew(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    other = pseudo_random(SIZE, seed=6)
    download.proxy.inject(Latency(seconds=3, match=lambda request: beginning_of(request) >= 0, times=len(REST)))
    program = run_download(download.cache, download.url, download.target)
    eventually(lambda: asked(download.proxy) == REST)
    moto_site.put("data/huge", other)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert download.file.read_bytes() == other
    assert download.nothing_is_left()


def test_the_same_bytes_of_another_object_are_not_taken_over(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    moto_site.put("data/twin", BODY)
    with pos3.mirror(download.cache, show_progress=False):
        pos3.download(moto_site.url("data/twin"), download.target)
    assert asked(download.proxy) == ALL
    assert download.nothing_is_left()


def test_a_part_file_that_no_download_needs_any_more_is_removed(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site, "data")
    moto_site.put("data/small", b"1")
    download.ended_by(signal.SIGKILL)
    assert download.again(exclude="huge") == []
    assert contents(download.target) == {"small": b"1"}
    assert download.nothing_is_left()


def test_a_part_file_of_another_cache_is_found_all_the_same(
    moto_site: S3Site, prepare: Prepare, tmp_path: Path
) -> None:
    """As where the target lies on a volume that outlives the container with the cache."""
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    download.cache = tmp_path / "another"
    assert download.again() == REST
    assert leftovers(download.file.parent) == []


# -- whose file it is


@pytest.mark.parametrize("cache", ["cache", "another"], ids=["one-cache", "two-caches"])
def test_the_part_file_of_a_living_process_is_never_taken(
    moto_site: S3Site, prepare: Prepare, tmp_path: Path, cache: str
) -> None:
    download = prepare(moto_site)
    with download.under_way(Hang(match=lambda request: beginning_of(request) >= REST[0], times=None)) as program:
        inode = download.part.stat().st_ino
        download.proxy.clear()
        download.proxy.inject()
        second = run_download(tmp_path / cache, download.url, download.target)
        if cache == "another":
            output, _ = second.communicate(timeout=60)
            assert second.returncode == 0, output
            assert asked(download.proxy) == ALL
            assert download.part.stat().st_ino == inode
            assert download.file.read_bytes() == BODY
        download.proxy.end_hangs()
        for each in (program, second):
            output, _ = each.communicate(timeout=90)
            assert each.returncode == 0, output
    assert download.file.read_bytes() == BODY
    assert leftovers(download.file.parent) == []


@pytest.mark.parametrize("gone", ["directory", "notes", "part"])
def test_who_has_lost_its_files_takes_nothing_of_who_came_after(
    moto_site: S3Site, prepare: Prepare, tmp_path: Path, gone: str
) -> None:
    download = prepare(moto_site)
    held = Hang(match=lambda request: beginning_of(request) >= REST[0], times=None)
    with download.under_way(held) as program:
        if gone == "directory":
            shutil.rmtree(download.target.parent)
        else:
            (download.part if gone == "part" else download.notes).unlink()
        second = replace(download, cache=tmp_path / "another")
        if gone != "part":
            second.ended_by(signal.SIGKILL)
        before = {path: path.read_bytes() for path in leftovers(download.target.parent)}
        download.proxy.inject()
        download.proxy.end_hangs()
        output, _ = program.communicate(timeout=60)
        assert program.returncode == 1
        assert f"No such file or directory: '{download.target}'" in output.splitlines()[-1]
    assert not download.file.exists()
    if gone == "part":
        assert leftovers(download.target.parent) == []
    else:
        assert {path: path.read_bytes() for path in leftovers(download.target.parent)} == before
    assert second.again() == (ALL if gone == "part" else REST)
    assert download.file.read_bytes() == BODY


def test_cache_prune_leaves_the_part_file_of_a_living_process(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    with download.under_way():
        assert run_program("cache", "prune", "--limit", "0", "--cache-root", download.cache).status == 0
        assert download.part.exists()
        assert download.noted == len(FIRST)
    assert download.again() == REST


def test_two_names_of_one_file_are_never_written_through(moto_site: S3Site, prepare: Prepare, tmp_path: Path) -> None:
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    mine = tmp_path / "home" / "mine"
    mine.write_bytes(b"\x00" * SIZE)
    download.part.unlink()
    download.part.hardlink_to(mine)
    assert download.again() == ALL
    assert mine.read_bytes() == b"\x00" * SIZE
    assert download.file.read_bytes() == BODY


@pytest.mark.parametrize("kind", ["link", "directory"])
@pytest.mark.parametrize("which", ["part", "notes"])
def test_something_else_in_the_place_of_a_part_file_stays_as_it_is(
    moto_site: S3Site, prepare: Prepare, which: str, kind: str
) -> None:
    download = prepare(moto_site)
    there = download.part if which == "part" else download.notes
    if kind == "link":
        there.symlink_to("thesis.tex")
    else:
        (there / "inside").mkdir(parents=True)
    assert download.again() == ALL
    assert download.file.read_bytes() == BODY
    assert (download.target.parent / "thesis.tex").read_bytes() == b"years of work"
    assert there.is_symlink() if kind == "link" else (there / "inside").is_dir()


# -- what ends a part file


def test_cache_prune_removes_it(moto_site: S3Site, prepare: Prepare) -> None:
    for key in ("data/huge", "data"):
        download = prepare(moto_site, key)
        download.ended_by(signal.SIGKILL)
        prune = ("cache", "prune", "--limit", "1GB", "--cache-root", download.cache)
        assert run_program(*prune, "--dry-run").status == 0
        assert download.part.exists()
        assert run_program(*prune).status == 0
        assert download.nothing_is_left()


def test_a_sync_with_fresh_begins_anew(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    download.target = download.cache / "_" / moto_site.bucket / "data" / "huge"
    download.ended_by(signal.SIGKILL)
    assert download.part.exists()
    with opened_at(download):
        pos3.sync(download.url, download.target, fresh=True, interval=None)
    assert asked(download.proxy) == ALL
    assert download.nothing_is_left()


@pytest.mark.parametrize(("limit", "stays"), [("1GB", True), ("1MB", False)], ids=["room", "no-room"])
def test_a_bounded_cache_gives_it_up_when_it_is_full(
    moto_site: S3Site, prepare: Prepare, limit: str, stays: bool
) -> None:
    download = prepare(moto_site)
    download.target = download.cache / "_" / moto_site.bucket / "data" / "huge"
    download.ended_by(signal.SIGKILL)
    moto_site.put("other/a", b"1")
    with pos3.mirror(download.cache, show_progress=False, cache_limit=limit):
        pos3.download(moto_site.url("other"))
    assert download.part.exists() == stays
    assert download.again()[-len(REST) :] == REST
    assert download.nothing_is_left()


def test_what_is_here_already_needs_no_room(
    moto_site: S3Site, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    free = [SIZE - len(FIRST) * RANGE - RANGE // 2]
    monkeypatch.setattr("pos3.jobs.disk_space._free_bytes", lambda _directory: free[0])
    with pytest.raises(pos3.NoSpaceError):
        download.again()
    assert download.noted == len(FIRST)
    free[0] += RANGE
    assert download.again() == REST
    assert download.file.read_bytes() == BODY


LIMITED = """
import resource, signal, sys, pos3
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with pos3.mirror(sys.argv[1], show_progress=False):
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, resource.RLIM_INFINITY))
    pos3.download(sys.argv[2], sys.argv[3])
"""


def test_nothing_stays_where_the_disk_has_refused_it(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    program = run_python(SMALL_RANGES + LIMITED, download.cache, download.url, download.target)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 1
    assert "File too large" in output.splitlines()[-1]
    assert f"{download.target}" in output.splitlines()[-1]
    assert ".pos3-" not in output
    assert download.nothing_is_left()


# -- other ends than SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_goes_on_as_well(moto_site: S3Site, prepare: Prepare, number: signal.Signals) -> None:
    download = prepare(moto_site)
    output = download.ended_by(number)
    assert f"6.0 MiB of 10.0 MiB stay in {download.part} for the next download" in output
    assert sorted(os.listdir(download.target.parent)) == sorted([download.part.name, download.notes.name, "thesis.tex"])
    assert download.again() == REST
    assert download.file.read_bytes() == BODY
    assert download.nothing_is_left()


def test_a_download_that_fails_goes_on_in_the_same_mirror(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site, "data")
    refused = Status(403, "AccessDenied", match=lambda request: beginning_of(request) == REST[-1])
    late = Latency(seconds=3, match=lambda request: beginning_of(request) == REST[-1])
    download.proxy.inject(refused, late)
    with pos3.mirror(download.cache, show_progress=False):
        with pytest.raises(pos3.TransferError):
            pos3.download(download.url, download.target)
        assert download.noted == len(ALL) - 1
        download.proxy.inject()
        download.proxy.clear()
        pos3.download(download.url, download.target)
    assert asked(download.proxy) == REST[-1:]
    assert download.file.read_bytes() == BODY
    assert download.nothing_is_left()


def test_nothing_stays_of_an_object_that_is_gone(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    gone = Status(404, "NoSuchKey", match=lambda request: beginning_of(request) == REST[-1])
    download.proxy.inject(gone, Latency(seconds=2, match=lambda request: beginning_of(request) == REST[-1]))
    with opened_at(download), pytest.raises(pos3.TransferError):
        pos3.download(download.url, download.target)
    assert download.nothing_is_left()


def opened_at(download: Download) -> pos3.mirror:
    return pos3.mirror(download.cache, show_progress=False)


# -- what others see of it


def test_it_is_no_content(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site, "data")
    download.ended_by(signal.SIGKILL)
    with opened_at(download):
        pos3.upload(moto_site.url("mine"), download.target.parent, interval=None)
    assert moto_site.objects("mine/") == {"thesis.tex": b"years of work"} | (
        {"set/": b""} if "mine/set/" in moto_site.keys() else {}
    )
    moto_site.put(f"data/{download.part.name}", b"theirs")
    assert download.again()[-len(REST) :] == REST
    assert contents(download.target) == {"huge": BODY}


def test_notes_that_others_may_write_are_not_believed(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    download.notes.chmod(0o666)
    assert download.again() == ALL
    assert download.nothing_is_left()


def test_progress_counts_what_is_here_and_comes_to_the_end(
    moto_site: S3Site, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pos3.transfer.progress import SilentProgress

    told: list[int] = []

    class Listening(SilentProgress):
        def moved(self, size_bytes: int) -> None:
            told.append(size_bytes)

    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    spoil(download.part, 0)
    monkeypatch.setattr("pos3.transfer.progress.SilentProgress", Listening)
    with opened_at(download) as mirror:
        pos3.download(download.url, download.target)
    assert sum(told) == SIZE
    assert told.count(RANGE) == len(FIRST) - 1
    assert mirror.report().downloaded_bytes == SIZE


def test_small_objects_have_none(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    moto_site.put("data/huge", pseudo_random(8 * RANGE - 1))
    slow = Trickle(bytes_per_second=15_000)
    download.proxy.inject(slow)
    program = run_download(download.cache, download.url, download.target)
    eventually(lambda: download.proxy.count("GET") == 8)
    assert not any(part_at(str(path)) for path in leftovers(download.file.parent))
    program.kill()
    program.communicate()


@pytest.mark.skipif(not supported(), reason="only there can the kernel be told to refuse locks")
def test_without_locks_a_download_begins_anew(moto_site: S3Site, prepare: Prepare) -> None:
    import errno
    import sys

    download = prepare(moto_site)
    download.ended_by(signal.SIGKILL)
    arguments = [str(errno.ENOLCK), SMALL_RANGES + TRANSFER, "download", download.cache, download.url, download.target]
    command = [sys.executable, str(ROOT / "tests" / "support" / "nolocks.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert asked(download.proxy) == ALL
    assert download.file.read_bytes() == BODY


def test_a_flipped_bit_on_the_way_is_never_taken_over(moto_site: S3Site, prepare: Prepare) -> None:
    download = prepare(moto_site)
    download.proxy.inject(Flip(match=lambda request: beginning_of(request) == RANGE, times=1), SLOW)
    program = run_download(download.cache, download.url, download.target)
    eventually(lambda: download.noted == len(FIRST), 60)
    program.kill()
    program.communicate()
    download.proxy.inject()
    download.again()
    assert download.file.read_bytes() == BODY
    assert zlib.crc32(download.file.read_bytes()) == zlib.crc32(BODY)
