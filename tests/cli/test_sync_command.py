"""`pos3 sync`: both sides up to date, once or until it is stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.support import Hang, Proxy, S3Site, Status, contents, on, write_tree
from tests.support.program import Ran, ended, run_program, start_program

FILES = {"a.txt": b"a", "b/c.txt": b"cc", "b/d/e.bin": b"eee"}
PutBefore = Callable[..., Proxy]


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({f"data/{name}": data for name, data in FILES.items()})
    return rclone_site


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here"


def sync(site: S3Site, here: Path, *options: str) -> Ran:
    return run_program("sync", site.url("data"), "--local", here, *options)


@pytest.fixture
def synced(site: S3Site, here: Path) -> Path:
    """A directory that a mirror has made equal to the bucket."""
    with pos3.mirror(show_progress=False):
        return pos3.sync(site.url("data"), here, interval=None)


def test_the_first_sync_fills_an_empty_directory_and_prints_it(site: S3Site, here: Path) -> None:
    ran = sync(site, here)
    assert (ran.status, ran.stdout) == (0, f"{here}\n")
    assert contents(here) == FILES
    assert site.objects("data/") == FILES


def test_the_first_sync_fills_a_prefix_that_does_not_exist(rclone_site: S3Site, here: Path) -> None:
    write_tree(here, FILES)
    assert sync(rclone_site, here).status == 0
    assert rclone_site.objects("data/") == FILES
    assert contents(here) == FILES


def test_the_first_sync_of_nothing_with_nothing_makes_an_empty_directory(rclone_site: S3Site, here: Path) -> None:
    ran = sync(rclone_site, here)
    assert (ran.status, ran.stdout) == (0, f"{here}\n")
    assert list(here.iterdir()) == []


def test_a_bucket_that_does_not_exist_is_an_error(site: S3Site, here: Path) -> None:
    ran = run_program("sync", "s3://no-such-bucket/data", "--local", here)
    assert (ran.status, ran.stdout) == (1, "")
    assert "no-such-bucket" in ran.stderr
    assert not here.exists()


@pytest.mark.parametrize("options", [[], ["--delete-local"], ["--delete-local", "--delete-remote"]], ids=" ".join)
def test_files_that_only_one_side_has_reach_the_other(site: S3Site, here: Path, options: list[str]) -> None:
    write_tree(here, {"mine": b"m", "b/mine": b"mm"})
    ran = sync(site, here, *options)
    assert ran.status == 0, ran.stderr
    assert contents(here) == site.objects("data/") == FILES | {"mine": b"m", "b/mine": b"mm"}


def test_changes_of_both_sides_survive(site: S3Site, synced: Path) -> None:
    (synced / "a.txt").write_bytes(b"A")
    (synced / "new-here").write_bytes(b"1")
    site.put("data/b/c.txt", b"CC")
    site.put("data/new-there", b"2")
    ran = sync(site, synced, "--json")
    assert ran.status == 0, ran.stderr
    expected = {"a.txt": b"A", "b/c.txt": b"CC", "b/d/e.bin": b"eee", "new-here": b"1", "new-there": b"2"}
    assert contents(synced) == site.objects("data/") == expected
    (found,) = ran.objects
    assert found["path"] == str(synced)
    assert {name: found["report"][name] for name in ("uploaded_files", "downloaded_files", "unchanged")} == {
        "uploaded_files": 2,
        "downloaded_files": 2,
        "unchanged": 1,
    }


@pytest.mark.parametrize(
    "options", [[], ["-n"], ["--interval", "9"], ["--watch"]], ids=["once", "dry run", "interval", "watch"]
)
def test_what_changed_on_both_sides_is_listed_and_nothing_is_changed(
    site: S3Site, synced: Path, options: list[str]
) -> None:
    (synced / "a.txt").write_bytes(b"mine")
    (synced / "new").write_bytes(b"new")
    site.put("data/a.txt", b"theirs")
    ran = sync(site, synced, *options)
    assert ran.status == (0 if options == ["-n"] else 1)
    assert "1 file(s) differ and were changed on both sides" in ran.stderr
    assert "  a.txt\n" in ran.stderr
    assert ran.lines == ([f"upload: {synced}/new to {site.url('data/new')}  (new)"] if options == ["-n"] else [])
    assert contents(synced) == FILES | {"a.txt": b"mine", "new": b"new"}
    assert site.objects("data/") == FILES | {"a.txt": b"theirs"}


def test_files_that_differ_and_were_never_synced_are_a_conflict(site: S3Site, here: Path) -> None:
    write_tree(here, {"a.txt": b"mine", "b/c.txt": b"cc"})
    ran = sync(site, here)
    assert (ran.status, ran.stdout) == (1, "")
    assert "1 file(s) differ" in ran.stderr
    assert contents(here) == {"a.txt": b"mine", "b/c.txt": b"cc"}
    assert site.objects("data/") == FILES


@pytest.mark.parametrize("side", ["download", "upload"])
def test_a_conflict_ends_when_one_side_is_taken(site: S3Site, synced: Path, side: str) -> None:
    (synced / "a.txt").write_bytes(b"mine")
    site.put("data/a.txt", b"theirs")
    assert sync(site, synced).status == 1
    assert run_program(side, site.url("data"), "--local", synced).status == 0
    assert sync(site, synced).status == 0
    expected = FILES | {"a.txt": b"theirs" if side == "download" else b"mine"}
    assert contents(synced) == site.objects("data/") == expected


@pytest.mark.parametrize(
    ("options", "left_here", "left_there"),
    [
        pytest.param([], True, True, id="off"),
        pytest.param(["--delete-local"], False, True, id="local"),
        pytest.param(["--delete-remote"], True, False, id="remote"),
        pytest.param(["--delete-local", "--delete-remote"], False, False, id="both"),
    ],
)
def test_what_was_deleted_on_one_side_is_deleted_on_the_other_only_if_asked_for(
    site: S3Site, synced: Path, options: list[str], left_here: bool, left_there: bool
) -> None:
    (synced / "b/d/e.bin").unlink()
    (synced / "b/d").rmdir()
    site.delete("data/a.txt")
    write_tree(synced, {"mine": b"m"})
    site.put("data/theirs", b"t")
    ran = sync(site, synced, *options)
    assert ran.status == 0, ran.stderr
    expected = {"b/c.txt": b"cc", "mine": b"m", "theirs": b"t"}
    expected |= {"a.txt": b"a"} if left_here else {}
    expected |= {"b/d/e.bin": b"eee"} if left_there else {}
    assert contents(synced) == site.objects("data/") == expected


@pytest.mark.parametrize("name", ["star*", "what?", "[a]", "[!a]", "b[", "a]", "back\\slash", "new\nline"])
def test_deletes_in_the_store_hit_exactly_the_file_that_is_gone(moto_site: S3Site, here: Path, name: str) -> None:
    others = {"a": b"1", "b": b"2", "star-": b"3", "whatX": b"4", "x/a": b"5", f"x/{name}": b"6"}
    write_tree(here, {**others, name: b"7"})
    assert sync(moto_site, here).status == 0
    (here / name).unlink()
    assert sync(moto_site, here, "--delete-remote").status == 0
    assert contents(here) == moto_site.objects("data/") == others


def test_a_file_that_changed_in_the_store_comes_back_though_it_was_deleted_here(site: S3Site, synced: Path) -> None:
    (synced / "a.txt").unlink()
    site.put("data/a.txt", b"newer")
    assert sync(site, synced, "--delete-remote").status == 0
    assert contents(synced) == site.objects("data/") == FILES | {"a.txt": b"newer"}


def test_a_file_that_changed_here_stays_though_it_was_deleted_in_the_store(site: S3Site, synced: Path) -> None:
    (synced / "a.txt").write_bytes(b"newer")
    site.delete("data/a.txt")
    assert sync(site, synced, "--delete-local").status == 0
    assert contents(synced) == site.objects("data/") == FILES | {"a.txt": b"newer"}


def test_an_emptied_directory_empties_no_bucket(site: S3Site, synced: Path) -> None:
    for path in sorted(synced.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    ran = sync(site, synced, "--delete-remote")
    assert ran.status == 0
    assert site.objects("data/") == FILES
    assert "the source is empty" in ran.stderr


@pytest.mark.parametrize("option", ["--delete-local", "--delete-remote"])
def test_max_delete_refuses_before_anything_is_changed(site: S3Site, synced: Path, option: str) -> None:
    for name in ("a.txt", "b/c.txt"):
        (synced / name).unlink() if option == "--delete-remote" else site.delete(f"data/{name}")
    (synced / "new").touch()
    before = contents(synced), site.objects("data/")
    ran = sync(site, synced, option, "--max-delete", "1")
    assert (ran.status, ran.stdout) == (1, "")
    assert "would delete 2 of" in ran.stderr
    assert (contents(synced), site.objects("data/")) == before


def test_a_single_object_is_synced_both_ways(site: S3Site, here: Path) -> None:
    arguments = ("sync", site.url("data/a.txt"), "--local", here)
    assert run_program(*arguments).status == 0
    assert here.read_bytes() == b"a"
    here.write_bytes(b"mine")
    assert run_program(*arguments).status == 0
    assert site.get("data/a.txt") == b"mine"
    site.put("data/a.txt", b"theirs")
    assert run_program(*arguments).status == 0
    assert here.read_bytes() == b"theirs"


def test_excluded_files_are_left_alone_on_both_sides(site: S3Site, here: Path) -> None:
    write_tree(here, {"a.txt": b"other", "mine.tmp": b"x"})
    assert sync(site, here, "--exclude", "a.txt", "--exclude", "*.tmp").status == 0
    assert contents(here) == FILES | {"a.txt": b"other", "mine.tmp": b"x"}
    assert site.objects("data/") == FILES


def test_an_unchanged_sync_moves_no_body(site: S3Site, synced: Path, proxied: PutBefore) -> None:
    proxy = proxied(site)
    assert sync(site, synced).status == 0
    assert proxy.kinds.keys() == {"LIST"}


def test_a_dry_run_plans_both_directions_and_changes_nothing(site: S3Site, synced: Path) -> None:
    (synced / "a.txt").write_bytes(b"changed")
    (synced / "b/d/e.bin").unlink()
    (synced / "mine").write_bytes(b"m")
    site.put("data/theirs", b"t")
    site.delete("data/b/c.txt")
    before = contents(synced), site.objects("data/")
    there = site.url("data")
    ran = sync(site, synced, "-n", "--delete-local", "--delete-remote")
    assert ran.status == 0
    assert ran.lines == [
        f"download: {there}/theirs to {synced}/theirs  (new)",
        f"upload: {synced}/a.txt to {there}/a.txt  (different size)",
        f"upload: {synced}/mine to {there}/mine  (new)",
        f"delete: {synced}/b/c.txt  (deleted in the store)",
        f"delete: {there}/b/d/e.bin  (deleted here)",
        f"create: {there}/b/d/  (empty directory)",
    ]
    assert (contents(synced), site.objects("data/")) == before


def test_a_dry_run_tells_what_was_deleted_on_one_side_from_what_is_new(site: S3Site, synced: Path) -> None:
    write_tree(synced, {"here": b"1", "there": b"2"})
    assert sync(site, synced).status == 0
    for path in ("a.txt", "here"):
        site.delete(f"data/{path}")
    for path in ("b/c.txt", "there"):
        (synced / path).unlink()
    (synced / "here").write_bytes(b"changed")
    site.put("data/there", b"changed")
    (synced / "new-here").touch()
    site.put("data/new-there")
    there = site.url("data")
    assert sync(site, synced, "-n").lines == [
        f"download: {there}/b/c.txt to {synced}/b/c.txt  (deleted here)",
        f"download: {there}/new-there to {synced}/new-there  (new)",
        f"download: {there}/there to {synced}/there  (deleted here, changed in the store)",
        f"upload: {synced}/a.txt to {there}/a.txt  (deleted in the store)",
        f"upload: {synced}/here to {there}/here  (deleted in the store, changed here)",
        f"upload: {synced}/new-here to {there}/new-here  (new)",
    ]


def test_a_failed_download_ends_the_sync_without_deletes(site: S3Site, synced: Path, proxied: PutBefore) -> None:
    (synced / "a.txt").unlink()
    site.put("data/theirs", b"t")
    proxied(site, Status(403, "AccessDenied", match=on("GET", key="theirs")))
    ran = sync(site, synced, "--delete-remote")
    assert (ran.status, ran.stdout) == (1, "")
    assert site.objects("data/") == FILES | {"theirs": b"t"}


# With an interval


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_with_an_interval_it_pushes_until_a_signal_and_once_more_then(
    site: S3Site, here: Path, number: signal.Signals
) -> None:
    program = start_program("sync", site.url("data"), "--local", here, "--interval", "0.3")
    assert program.stdout is not None
    assert program.stdout.readline() == f"{here}\n"
    assert contents(here) == FILES
    (here / "log").write_bytes(b"1")
    _until(lambda: "data/log" in site.keys())
    program.send_signal(number)
    ran = ended(program)
    assert (ran.status, ran.stdout) == (0, "")
    assert "Traceback" not in ran.stderr


def test_with_a_watch_it_pushes_what_is_written_until_a_signal(site: S3Site, here: Path) -> None:
    program = start_program("sync", site.url("data"), "--local", here, "--watch")
    assert program.stdout is not None
    assert program.stdout.readline() == f"{here}\n"
    (here / "log").write_bytes(b"1")
    _until(lambda: "data/log" in site.keys())
    program.send_signal(signal.SIGINT)
    ran = ended(program)
    assert (ran.status, ran.stdout, ran.stderr.count("one last push")) == (0, "", 1)


def test_the_last_push_takes_what_no_interval_has_seen(site: S3Site, here: Path) -> None:
    program = start_program("sync", site.url("data"), "--local", here, "--interval", "3600", "--delete-remote")
    assert program.stdout is not None
    program.stdout.readline()
    (here / "late").write_bytes(b"late")
    (here / "a.txt").unlink()
    site.put("data/theirs", b"t")
    program.send_signal(signal.SIGINT)
    ran = ended(program)
    assert (ran.status, ran.stdout) == (0, "")
    expected = FILES | {"late": b"late", "theirs": b"t"}
    del expected["a.txt"]
    assert site.objects("data/") == expected


def test_a_push_that_fails_is_told_and_tried_again(site: S3Site, here: Path, proxied: PutBefore) -> None:
    refusal = Status(403, "AccessDenied", match=on("PUT"), times=2)
    proxied(site, refusal)
    program = start_program("sync", site.url("data"), "--local", here, "--interval", "0.3")
    assert program.stdout is not None
    program.stdout.readline()
    (here / "log").write_bytes(b"1")
    _until(lambda: "data/log" in site.keys())
    program.send_signal(signal.SIGINT)
    ran = ended(program)
    assert ran.status == 0
    assert ran.stderr.count("a push failed, the next one is in 0.3 s") == 2


def test_a_last_push_that_fails_is_a_failure(site: S3Site, here: Path, proxied: PutBefore) -> None:
    proxied(site, Status(403, "AccessDenied", match=on("PUT")))
    program = start_program("sync", site.url("data"), "--local", here, "--interval", "3600")
    assert program.stdout is not None
    program.stdout.readline()
    (here / "log").write_bytes(b"1")
    program.send_signal(signal.SIGINT)
    ran = ended(program)
    assert ran.status == 1
    assert "access denied" in ran.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_second_signal_ends_the_last_push(
    site: S3Site, here: Path, proxied: PutBefore, number: signal.Signals, status: int
) -> None:
    hang = Hang(match=on("PUT"), times=None)
    proxied(site, hang)
    program = start_program("sync", site.url("data"), "--local", here, "--interval", "3600")
    assert program.stdout is not None
    assert program.stdout.readline() == f"{here}\n"
    (here / "log").write_bytes(b"1")
    program.send_signal(number)
    _until(lambda: hang.struck > 0)
    program.send_signal(number)
    ran = ended(program, timeout=15)
    assert (ran.status, ran.stdout) == (status, "")
    assert "Traceback" not in ran.stderr
    assert site.objects("data/") == FILES


def _until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
