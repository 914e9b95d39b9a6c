"""Parts of a URL: together they are the whole, each concerns its range alone, and they get on side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pos3
from pos3 import Part
from pos3.local import part_of
from tests.support import OtherQuery, Proxy, S3Site, contents, write_tree
from tests.support.program import ROOT, run_program

PutBefore = Callable[..., Proxy]
FILES = {
    **{f"{number // 8}/deep/{number:02}.bin": b"x" * (number * 7 % 100) for number in range(24)},
    "2/deeper": b"1",
    "a.txt": b"22",
    "日本/é": b"333",
}
"""In the order of listings."""


NAMELESS = pos3.Profile("mine", "http://127.0.0.1:1")


def opened(tmp_path: Path, **options: Any) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)


def filled(site: S3Site, files: dict[str, bytes] | None = None) -> S3Site:
    site.put_all({f"data/{name}": data for name, data in (FILES if files is None else files).items()})
    site.put_all({"data-2/x": b"other", "data0": b"other"})
    return site


def inside(part: Part, files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name in part.within}


def partitioned(site: S3Site, tmp_path: Path, **arguments: Any) -> list[Part]:
    with opened(tmp_path):
        return pos3.partition(site.url("data"), **arguments)


# What the parts are


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_the_parts_together_are_the_whole_in_order(s3: S3Site, tmp_path: Path, count: int) -> None:
    parts = partitioned(filled(s3), tmp_path, parts=count)
    assert [(part.index, part.count, part.url) for part in parts] == [
        (index, count, s3.url("data/")) for index in range(count)
    ]
    held = [inside(part, FILES) for part in parts]
    assert [name for files in held for name in files] == list(FILES)
    assert [(part.files, part.size_bytes) for part in parts] == [
        (len(files), sum(map(len, files.values()))) for files in held
    ]


def test_a_part_has_at_most_the_bytes_that_are_asked_for_unless_one_object_has_more(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    sizes = {"a": 10, "b": 5000, "c": 999, "d": 1, "e": 1}
    filled(rclone_site, {name: b"x" * size for name, size in sizes.items()})
    parts = partitioned(rclone_site, tmp_path, max_bytes="1k")
    assert [(part.files, part.size_bytes) for part in parts] == [(1, 10), (1, 5000), (2, 1000), (1, 1)]


def test_only_what_is_chosen_counts_and_the_parts_keep_the_choice(rclone_site: S3Site, tmp_path: Path) -> None:
    filled(rclone_site)
    parts = partitioned(rclone_site, tmp_path, parts=3, include="*.bin", exclude=["/1"])
    chosen = {name: data for name, data in FILES.items() if name.endswith(".bin") and not name.startswith("1/")}
    assert sum(part.files for part in parts) == len(chosen)
    with opened(tmp_path):
        paths = {pos3.download(str(part)) for part in parts}
    assert contents(paths.pop()) == chosen
    assert paths == set()


def test_one_object_is_all_of_the_first_part(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data": b"whole", "data-2": b"not meant"})
    parts = partitioned(s3, tmp_path, parts=3)
    assert [(part.url, part.files) for part in parts] == [(s3.url("data"), 1), (s3.url("data"), 0), (s3.url("data"), 0)]
    with opened(tmp_path):
        assert [pos3.ls(part) for part in parts] == [[s3.url("data")], [], []]
        for part in reversed(parts):
            path = pos3.download(part)
    assert path.read_bytes() == b"whole"


@pytest.mark.parametrize("include", [None, "*.none"], ids=["nothing-there", "nothing-chosen"])
def test_what_is_not_there_is_an_error_and_what_is_not_chosen_gives_empty_parts(
    rclone_site: S3Site, tmp_path: Path, include: str | None
) -> None:
    if include is None:
        with pytest.raises(pos3.RemoteNotFoundError, match="there is no object at this URL"):
            partitioned(rclone_site, tmp_path, parts=3)
        return
    parts = partitioned(filled(rclone_site), tmp_path, parts=3, include=include)
    with opened(tmp_path):
        paths = {pos3.download(part) for part in parts}
        assert [contents(path) for path in paths] == [{}]
        assert [pos3.fingerprint(part) for part in parts] == [None] * 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param({}, "either parts=", id="neither"),
        pytest.param({"parts": 2, "max_bytes": 5}, "either parts=", id="both"),
        pytest.param({"parts": 0}, "parts=0", id="no-parts"),
        pytest.param({"parts": True}, "parts=True", id="bool"),
        pytest.param({"parts": 2.0}, "parts=2.0", id="float"),
        pytest.param({"parts": "2"}, "parts='2'", id="text"),
        pytest.param({"max_bytes": 0}, "max_bytes=0", id="no-bytes"),
        pytest.param({"max_bytes": "much"}, "max_bytes='much'", id="no-size"),
        pytest.param({"max_bytes": -5}, "max_bytes=-5", id="negative"),
        pytest.param({"parts": 2, "include": ""}, "include=''", id="empty-glob"),
        pytest.param({"parts": 2, "profile": "nobody"}, "nobody", id="unknown-profile"),
        pytest.param(
            {"parts": 2, "profile": pos3.Profile("mine", "http://127.0.0.1:1")}, "register_profile", id="nameless"
        ),
    ],
)
def test_a_division_that_cannot_be_is_refused_without_a_request(
    tmp_path: Path, isolated_home: Path, arguments: dict[str, Any], told: str
) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError) as failure:
        pos3.partition("s3://pos3-test-nobody/data", **arguments)
    assert told in str(failure.value)
    with opened(tmp_path), pytest.raises(pos3.InvalidURLError, match="needs a remote URL"):
        pos3.partition("./data", parts=2)


# One part


def test_a_download_of_a_part_brings_deletes_and_plans_its_range_alone(s3: S3Site, tmp_path: Path) -> None:
    parts = partitioned(filled(s3), tmp_path, parts=4)
    stale = {f"{name}.stale": b"old" for name in FILES}
    with opened(tmp_path):
        root = pos3.download(s3.url("data"))
    write_tree(root, stale)
    chosen = parts[1]
    for name, data in FILES.items():
        s3.put(f"data/{name}", data + b"!")
    newer = {name: data + b"!" for name, data in inside(chosen, FILES).items()}
    with opened(tmp_path):
        plan = pos3.plan_download(chosen)
        assert {Path(target).relative_to(root).as_posix() for _, target in plan.to_copy} == set(newer)
        assert {Path(target).relative_to(root).as_posix() for target in plan.to_delete} == set(inside(chosen, stale))
        assert pos3.download(chosen) == root
        report = pos3.report()
    assert report.downloaded_files == len(newer)
    assert report.deleted_local == len(inside(chosen, stale)) > 0
    rest = {name: data for name, data in (FILES | stale).items() if name not in chosen.within}
    assert contents(root) == newer | rest
    with opened(tmp_path):
        pos3.download(s3.url("data"))
        assert pos3.report().downloaded_files == len(FILES) - len(newer)
    assert contents(root) == {name: data + b"!" for name, data in FILES.items()}


@pytest.mark.parametrize("recursive", [False, True])
def test_ls_shows_what_lies_in_the_part(s3: S3Site, tmp_path: Path, recursive: bool) -> None:
    parts = partitioned(filled(s3), tmp_path, parts=4)
    with opened(tmp_path):
        whole = pos3.ls(s3.url("data/"), recursive)
        listed = [pos3.ls(part, recursive) for part in parts]
        assert listed == [pos3.ls(str(part), recursive) for part in parts]
    assert sorted({url for urls in listed for url in urls}) == whole
    for part, urls in zip(parts, listed, strict=True):
        names = [url.removeprefix(s3.url("data/")) for url in urls]
        held = inside(part, FILES)
        expected = {name.partition("/")[0] for name in held} if not recursive else set(held)
        assert {name for name in names if not recursive or name in FILES} == expected


def test_the_fingerprint_of_a_part_changes_with_its_objects_alone(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    parts = partitioned(filled(s3), tmp_path, parts=3)
    with opened(tmp_path):
        before = [pos3.fingerprint(part) for part in parts]
    assert len(set(before)) == 3
    changed = next(iter(inside(parts[1], FILES)))
    s3.put(f"data/{changed}", b"changed")
    proxy = proxied(s3)
    with opened(tmp_path):
        after = [pos3.fingerprint(part) for part in parts]
        assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
        pos3.download(parts[1])
        whole = pos3.fingerprint(s3.url("data"))
        proxy.clear()
        assert pos3.fingerprint(parts[1]) == after[1]
        assert proxy.count() == 0, "what was downloaded is known"
    with opened(tmp_path):
        assert pos3.fingerprint(s3.url("data")) == whole


def test_a_part_is_listed_from_its_beginning_to_its_end_and_no_further(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    filled(moto_site, {f"{number:03}": b"x" for number in range(80)})
    proxy = proxied(moto_site, OtherQuery(query={"max-keys": "10"}))
    parts = partitioned(moto_site, tmp_path, parts=4)
    for part in parts:
        proxy.clear()
        with opened(tmp_path):
            assert len(pos3.ls(part)) == part.files == 20
        # One page may be half a page of its neighbour's.
        assert proxy.count() <= 3


def test_patterns_of_the_call_are_for_parts_without_patterns(rclone_site: S3Site, tmp_path: Path) -> None:
    parts = partitioned(filled(rclone_site), tmp_path, parts=2)
    own = partitioned(rclone_site, tmp_path, parts=2, exclude="*.txt")
    with opened(tmp_path):
        path = pos3.download(parts[0], include="*.bin")
        assert set(contents(path)) == {name for name in inside(parts[0], FILES) if name.endswith(".bin")}
        for call in (pos3.download, pos3.plan_download, pos3.fingerprint):
            with pytest.raises(pos3.InvalidArgumentError, match="patterns of its own"):
                call(own[0], include="*.bin")


@pytest.mark.parametrize(
    "call", [pos3.upload, pos3.sync, pos3.bisync, pos3.plan_upload, pos3.plan_bisync], ids=lambda call: call.__name__
)
@pytest.mark.parametrize("is_text", [True, False], ids=["text", "part"])
def test_what_takes_no_parts_says_so(tmp_path: Path, call: Callable[[Any], object], is_text: bool) -> None:
    part = Part("s3://pos3-test-nobody/data", after="a")
    with opened(tmp_path), pytest.raises(pos3.InvalidURLError, match="is a part of a URL"):
        call(str(part) if is_text else part)
    with opened(tmp_path), pytest.raises(pos3.InvalidURLError, match="is a part of a URL"):
        pos3.publish(part, tmp_path)  # type: ignore[arg-type]
    with opened(tmp_path), pytest.raises(pos3.InvalidURLError, match="is a part of a URL"):
        pos3.partition(str(part) if is_text else part, parts=2)  # type: ignore[arg-type]
    assert not (tmp_path / "cache").exists()


def test_a_complete_set_has_no_parts(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError, match="whole sets"):
        pos3.download(Part("s3://pos3-test-nobody/data", after="a"), require_marker="_SUCCESS")


def test_an_empty_range_deletes_nothing(rclone_site: S3Site, tmp_path: Path) -> None:
    parts = partitioned(filled(rclone_site), tmp_path, parts=3)
    with opened(tmp_path):
        root = pos3.download(rclone_site.url("data"))
    for name in inside(parts[1], FILES):
        rclone_site.delete(f"data/{name}")
    with opened(tmp_path):
        pos3.download(parts[1])
        assert {kept.reason for kept in pos3.report().kept} == {"the source is empty"}
    assert contents(root) == FILES


def test_directories_that_lie_in_two_parts_stay_and_others_go(moto_site: S3Site, tmp_path: Path) -> None:
    names = ["a/1", "a/2", "b/1", "b/2", "c/1"]
    filled(moto_site, dict.fromkeys(names, b"x"))
    part = Part(moto_site.url("data/"), after="a/1", until="b/1")
    with opened(tmp_path):
        root = pos3.download(moto_site.url("data"))
    write_tree(root, {"a-b/stale": b"", "b/0/stale": b"", "a/x/": b""})
    for name in ("a/2", "b/1"):
        (root / name).rename(root / f"{name}.stale")
    with opened(tmp_path):
        pos3.download(part)
    assert set(contents(root)) == {*names, "a-b/stale", "b/1.stale"}
    assert not (root / "b" / "0").exists()
    assert not (root / "a" / "x").exists()


def test_what_another_part_can_go_on_with_stays_until_the_whole_is_downloaded(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    parts = partitioned(filled(rclone_site), tmp_path, parts=2)
    with opened(tmp_path):
        root = pos3.download(rclone_site.url("data"))
    begun = Path(part_of(str(root / "a.txt")))
    begun.write_bytes(b"half")
    with opened(tmp_path):
        for part in parts:
            pos3.download(part)
    assert begun.read_bytes() == b"half"
    with opened(tmp_path):
        pos3.download(rclone_site.url("data"))
    assert not begun.exists()


# Side by side


class AllAtOnce:
    """The progress of transfers, each of which begins only when all of them are under way."""

    def __init__(self, transfers: int):
        self._under_way = threading.Barrier(transfers, timeout=20)

    def __call__(self, title: str, files: int, size_bytes: int) -> pos3.Progress:
        self._under_way.wait()
        return self

    def moved(self, size_bytes: int) -> None: ...

    def finished_file(self) -> None: ...

    def close(self) -> None: ...


def mirror_with(progress: AllAtOnce, tmp_path: Path) -> pos3.Mirror:
    return pos3.Mirror(pos3.MirrorOptions(cache_root=tmp_path / "cache"), progress=progress).open()


def test_parts_run_side_by_side_in_the_threads_of_two_mirrors(moto_site: S3Site, tmp_path: Path) -> None:
    parts = partitioned(filled(moto_site), tmp_path, parts=4)
    progress = AllAtOnce(len(parts))
    mirrors = [mirror_with(progress, tmp_path), mirror_with(progress, tmp_path)]
    with ThreadPoolExecutor(len(parts)) as pool:
        paths = set(pool.map(lambda part: mirrors[part.index % 2].download(part), parts))
    assert [contents(path) for path in paths] == [FILES]
    assert sum(mirror.report().downloaded_files for mirror in mirrors) == len(FILES)
    for mirror in mirrors:
        mirror.close()
    with opened(tmp_path):
        pos3.download(moto_site.url("data"))
        assert pos3.report().unchanged == len(FILES)


def test_parts_that_overlap_bring_the_same_files_side_by_side(moto_site: S3Site, tmp_path: Path) -> None:
    parts = [*partitioned(filled(moto_site), tmp_path, parts=2), *partitioned(moto_site, tmp_path, parts=3)]
    mirror = mirror_with(AllAtOnce(len(parts)), tmp_path)
    with ThreadPoolExecutor(len(parts)) as pool:
        [path] = set(pool.map(mirror.download, parts))
    mirror.close()
    assert contents(path) == FILES
    with opened(tmp_path):
        pos3.download(moto_site.url("data"))
        assert pos3.report().downloaded_files == 0


def test_a_part_and_the_whole_take_turns(moto_site: S3Site, tmp_path: Path) -> None:
    [part, _] = partitioned(filled(moto_site), tmp_path, parts=2)
    with opened(tmp_path) as one, opened(tmp_path) as other:
        with ThreadPoolExecutor(2) as pool:
            whole = pool.submit(one.download, moto_site.url("data"))
            pool.submit(other.download, part).result()
        assert one.report().downloaded_files + other.report().downloaded_files == len(FILES)
    assert contents(whole.result()) == FILES


def test_a_part_that_is_asked_for_twice_is_downloaded_once(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    [part, _] = partitioned(filled(moto_site), tmp_path, parts=2)
    proxy = proxied(moto_site)
    with opened(tmp_path) as one, opened(tmp_path) as other, ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda mirror: mirror.download(part), [one, other] * 2))) == 1
    assert proxy.count("GET") == part.files


RANK = """
import os, sys, time
from pathlib import Path
import pos3

class Progress:
    def moved(self, size_bytes): ...
    def finished_file(self): ...
    def close(self): ...

def begin(title, files, size_bytes):
    # Each process waits until all of them are at work.
    (here / os.environ["RANK"]).touch()
    while len(list(here.iterdir())) < int(os.environ["WAITS_FOR"]):
        time.sleep(0.01)
    return Progress()

cache, address, here = sys.argv[1], sys.argv[2], Path(sys.argv[3])
mirror = pos3.Mirror(pos3.MirrorOptions(cache_root=cache), progress=begin).open()
print(mirror.download(address))
mirror.close()
"""


def in_processes(tmp_path: Path, addresses: list[str], waits_for: int) -> set[str]:
    """The paths that as many processes return, each of which downloads one of the addresses."""
    here = tmp_path / "here"
    here.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(tmp_path / "cache"), address, str(here)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "RANK": str(rank), "WAITS_FOR": str(waits_for)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, address in enumerate(addresses)
    ]
    try:
        paths = {process.communicate(timeout=60)[0].strip() for process in processes}
        assert [process.returncode for process in processes] == [0] * len(addresses)
    finally:
        for process in processes:
            process.kill()
    return paths


def test_parts_run_side_by_side_in_processes(moto_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    parts = partitioned(filled(moto_site), tmp_path, parts=3)
    proxy = proxied(moto_site)
    [path] = in_processes(tmp_path, list(map(str, parts)), waits_for=len(parts))
    assert contents(Path(path)) == FILES
    assert proxy.count("GET") == len(FILES)


def test_one_url_that_the_ranks_of_a_node_download_at_once_is_one_download(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(filled(moto_site))
    [path] = in_processes(tmp_path, [moto_site.url("data")] * 3, waits_for=1)
    assert contents(Path(path)) == FILES
    assert proxy.count("GET") == len(FILES)


def test_the_locks_of_parts_leave_nothing_behind(moto_site: S3Site, tmp_path: Path) -> None:
    parts = partitioned(filled(moto_site), tmp_path, parts=3)
    with opened(tmp_path):
        for part in parts:
            pos3.download(part)
    assert len([name for name in os.listdir(tmp_path / "cache" / ".pos3") if name.endswith(".lock")]) == 1


# The command


def test_the_command_prints_texts_that_other_commands_take(s3: S3Site, tmp_path: Path) -> None:
    filled(s3)
    cache = ("--cache-root", tmp_path / "cache")
    ran = run_program("partition", s3.url("data"), "--parts", "3")
    assert ran.status == 0, ran.stderr
    assert [Part.parse(text) for text in ran.lines] == partitioned(s3, tmp_path, parts=3)
    told = run_program("partition", s3.url("data"), "--max-bytes", "1KB", "--json").objects
    assert sum(item["bytes"] for item in told) == sum(map(len, FILES.values()))
    listed = [run_program("ls", "-r", text).lines for text in ran.lines]
    assert {url for urls in listed for url in urls} >= {s3.url(f"data/{name}") for name in FILES}
    [planned] = run_program("download", ran.lines[0], "-n", "--json", *cache).objects
    assert planned["url"] == ran.lines[0]
    assert {run_program("download", text, *cache).stdout for text in ran.lines} == {f"{planned['path']}\n"}
    assert contents(Path(planned["path"])) == FILES


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param([], "one of the arguments --parts --max-bytes is required", id="no-division"),
        pytest.param(["--parts", "0"], "whole number of at least 1", id="no-parts"),
        pytest.param(["--parts", "2", "--max-bytes", "5"], "not allowed with", id="both"),
        pytest.param(["--max-bytes", "much"], "not a size", id="no-size"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(arguments: list[str], told: str) -> None:
    ran = run_program("partition", "s3://pos3-test-nobody/data", *arguments)
    assert (ran.status, ran.stdout) == (2, "")
    assert told in ran.stderr


def test_a_damaged_text_is_told_as_such() -> None:
    ran = run_program("download", "part+s3://pos3-test-nobody/data?part=5/4")
    assert ran.status == 1
    assert "is not the text of a part" in ran.stderr
