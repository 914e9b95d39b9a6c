"""The files of a writer are its own: what other mirrors, processes and cache roots may do in its path, and what not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import pos3
from pos3.state import ActiveClaim, Claims
from tests.faults.base import eventually
from tests.support import Latency, Proxy, S3Site, Status, contents, on, write_tree
from tests.support.program import run_program

PutBefore = Callable[..., Proxy]
Open = Callable[..., pos3.Mirror]
INTERVAL = None


def claims_directory() -> Path:
    return Path.home() / ".local/state/.pos3" / os.uname().nodename


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Open]:
    """Opens mirrors beside each other; those that a test has not closed end without a push."""
    with ExitStack() as stack:

        def open_one(cache: str = "cache", **options: Any) -> pos3.Mirror:
            chosen = pos3.MirrorOptions(tmp_path / cache, show_progress=False, **options)
            mirror = pos3.Mirror(chosen).open()
            stack.callback(mirror.close, push=False)
            return mirror

        yield open_one


@contextmanager
def in_another_process(call: str, cache: Path, url: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Runs a body in a mirror of another process, up to its line ``ready()``, and lets it go on at the end."""
    script = (
        "import os, sys, pathlib, pos3\n"
        "cache, url = sys.argv[1:]\n"
        "def ready(): print('ready', flush=True); sys.stdin.readline()\n"
        f"with pos3.mirror(cache, show_progress=False) as mirror:\n    {call}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(cache), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        if process.poll() is None:
            process.communicate("go on\n", timeout=60)
        assert process.stdin is not None
        process.stdin.close()
        process.stdout.close()


# -- a living sync


READERS = {
    "the same place": lambda mirror, url: mirror.download(f"{url}/ckpt"),
    "the place above": lambda mirror, url: mirror.download(url),
    "a part of it": lambda mirror, url: mirror.download(f"{url}/ckpt/deep"),
    "the same place, synced": lambda mirror, url: mirror.sync(f"{url}/ckpt", interval=INTERVAL),
    "the place above, synced": lambda mirror, url: mirror.sync(url, interval=INTERVAL, delete_remote=False),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_a_living_sync_has_written_is_neither_deleted_nor_replaced(
    s3: S3Site, another: Open, read: Callable[[pos3.Mirror, str], Path]
) -> None:
    s3.put_all({"run/ckpt/deep/old": b"old", "run/other": b"1"})
    writer, reader = another(), another()
    path = writer.sync(s3.url("run/ckpt"), interval=INTERVAL)
    write_tree(path, {"deep/step-1": b"hours", "deep/old": b"newer here"})
    s3.put("run/ckpt/deep/old", b"newer there")
    read(reader, s3.url("run"))
    assert contents(path) == {"deep/old": b"newer here", "deep/step-1": b"hours"}
    kept = {kept.path: kept.reason for kept in reader.report().kept}
    assert any(str(os.getpid()) in reason for reason in kept.values()), kept
    writer.close()
    assert s3.objects("run/ckpt/")["deep/step-1"] == b"hours"


def test_what_is_missing_in_the_path_of_a_living_sync_is_added_but_not_what_it_deleted(
    rclone_site: S3Site, another: Open
) -> None:
    rclone_site.put_all({"ckpt/a": b"1", "ckpt/b": b"2"})
    writer, reader = another(), another()
    path = writer.sync(rclone_site.url("ckpt"), interval=INTERVAL)
    (path / "b").unlink()
    rclone_site.put("ckpt/c", b"3")
    assert contents(reader.download(rclone_site.url("ckpt"))) == {"a": b"1", "c": b"3"}
    assert [kept.path for kept in reader.report().kept] == ["b"]


@pytest.mark.parametrize("cache", ["cache", "another cache"])
def test_the_command_line_leaves_the_files_of_a_sync_in_another_process_alone(
    rclone_site: S3Site, tmp_path: Path, cache: str
) -> None:
    rclone_site.put("ckpt/old", b"1")
    local = tmp_path / "here"
    body = f"p = pos3.sync(url, {str(local)!r}, interval=None); (p / 'step-1').write_text('hours'); ready()"
    with in_another_process(body, tmp_path / "cache", rclone_site.url("ckpt")):
        ran = run_program(
            *(
                "download",
                rclone_site.url("ckpt"),
                "--local",
                local,
                "--cache-root",
                tmp_path / cache,
                "--delete",
                "--adopt",
            )
        )
        assert ran.status == 0, ran.stderr
        assert contents(local) == {"old": b"1", "step-1": b"hours"}
        assert "step-1" in ran.stderr
    assert rclone_site.objects("ckpt/") == {"old": b"1", "step-1": b"hours"}


def test_a_thread_with_a_mirror_of_its_own_leaves_the_files_of_a_sync_alone(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    rclone_site.put("ckpt/old", b"1")
    failures: list[BaseException] = []

    def read() -> None:
        try:
            with pos3.mirror(tmp_path / "cache", show_progress=False):
                pos3.download(rclone_site.url("ckpt"))
        except BaseException as error:  # noqa: BLE001 - handed over
            failures.append(error)

    with pos3.mirror(tmp_path / "cache", show_progress=False):
        path = pos3.sync(rclone_site.url("ckpt"), interval=INTERVAL)
        write_tree(path, {"step-1": b"hours"})
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert failures == []
    assert rclone_site.objects("ckpt/") == {"old": b"1", "step-1": b"hours"}


def test_a_log_that_somebody_has_open_goes_on_where_it_is(rclone_site: S3Site, another: Open) -> None:
    rclone_site.put("logs/run.log", b"of an earlier run\n")
    writer, reader = another(), another()
    path = writer.upload(rclone_site.url("logs"), delete=False, interval=INTERVAL)
    with open(path / "run.log", "wb", buffering=0) as log:
        log.write(b"one\n")
        reader.download(rclone_site.url("logs"))
        log.write(b"two\n")
    writer.close()
    assert rclone_site.objects("logs/") == {"run.log": b"one\ntwo\n"}


# -- a living upload that deletes


def test_a_download_into_an_upload_that_deletes_is_an_error_that_names_both_and_changes_nothing(
    rclone_site: S3Site, another: Open
) -> None:
    rclone_site.put("out/old", b"1")
    writer, reader = another(), another()
    path = writer.upload(rclone_site.url("out"), interval=INTERVAL)
    write_tree(path, {"new": b"2"})
    with pytest.raises(pos3.ConflictError) as failure:
        reader.download(rclone_site.url("out"))
    for told in (str(os.getpid()), rclone_site.url("out"), "local", "cache_root", "'new'"):
        assert told in str(failure.value)
    assert contents(path) == {"new": b"2"}
    writer.close()
    assert rclone_site.objects() == {"out/new": b"2"}


def test_a_download_that_changes_nothing_in_an_upload_is_no_conflict(rclone_site: S3Site, another: Open) -> None:
    rclone_site.put("out/a", b"1")
    another().download(rclone_site.url("out"))
    writer, reader = another(), another()
    path = writer.upload(rclone_site.url("out"), interval=INTERVAL)
    assert reader.download(rclone_site.url("out")) == path


def test_a_download_around_an_upload_that_deletes_leaves_that_part_alone_and_tells(
    rclone_site: S3Site, another: Open
) -> None:
    rclone_site.put_all({"run/out/old": b"1", "run/data/a": b"2"})
    writer, reader = another(), another()
    out = writer.upload(rclone_site.url("run/out"), interval=INTERVAL)
    write_tree(out, {"new": b"2"})
    path = reader.download(rclone_site.url("run"))
    assert contents(path) == {"data/a": b"2", "out/new": b"2"}
    assert [kept.path for kept in reader.report().kept] == ["out/"]
    writer.close()
    assert rclone_site.objects("run/") == {"data/a": b"2", "out/new": b"2"}


def test_the_empty_directory_of_a_writer_and_those_above_it_are_not_removed(rclone_site: S3Site, another: Open) -> None:
    rclone_site.put("run/data/a", b"2")
    writer, reader = another(), another()
    model = writer.upload(rclone_site.url("run/out/deep/model.pt"), interval=INTERVAL)
    reader.download(rclone_site.url("run"))
    model.write_bytes(b"3")
    writer.close()
    assert rclone_site.objects("run/") == {"data/a": b"2", "out/deep/model.pt": b"3"}


def test_an_object_is_not_put_in_the_place_of_a_directory_in_which_somebody_writes(
    rclone_site: S3Site, another: Open
) -> None:
    rclone_site.put_all({"run/a": b"file", "run/b": b"1"})
    writer, reader = another(), another()
    mine = writer.sync(
        rclone_site.url("elsewhere"), reader_root(reader, rclone_site, "run") / "a" / "deep", interval=INTERVAL
    )
    write_tree(mine, {"x": b"hours"})
    path = reader.download(rclone_site.url("run"), adopt=True)
    assert contents(path) == {"a/deep/x": b"hours", "b": b"1"}
    assert "a" in [kept.path.rstrip("/") for kept in reader.report().kept]


def reader_root(mirror: pos3.Mirror, s3: S3Site, key: str) -> Path:
    return Path(mirror.cache_root) / "_" / s3.bucket / key


# -- joined mirrors


def test_two_mirrors_that_upload_one_local_path_both_push_and_neither_deletes_the_others(
    rclone_site: S3Site, another: Open
) -> None:
    first, second = another(), another()
    path = first.upload(rclone_site.url("out"), interval=INTERVAL)
    assert second.upload(rclone_site.url("out"), interval=INTERVAL) == path
    write_tree(path, {"a": b"1"})
    first.flush()
    write_tree(path, {"b": b"2"})
    second.flush()
    (path / "a").unlink()
    second.flush()
    assert rclone_site.objects("out/") == {"b": b"2"}, "they are one owner"
    first.close()
    write_tree(path, {"c": b"3"})
    second.close()
    assert rclone_site.objects("out/") == {"b": b"2", "c": b"3"}


def test_an_end_while_another_mirror_pushes_deletes_only_what_was_on_record_and_the_last_one_all(
    rclone_site: S3Site, another: Open
) -> None:
    rclone_site.put("out/stale", b"0")
    first, second = another(), another()
    path = first.upload(rclone_site.url("out"), interval=INTERVAL)
    second.upload(rclone_site.url("out"), interval=INTERVAL)
    write_tree(path, {"a": b"1", "b": b"2"})
    first.flush()
    (path / "a").unlink()
    first.close()
    assert rclone_site.objects("out/") == {"b": b"2", "stale": b"0"}
    second.close()
    assert rclone_site.objects("out/") == {"b": b"2"}


def test_a_sync_that_joins_an_upload_that_deletes_downloads_nothing(rclone_site: S3Site, another: Open) -> None:
    rclone_site.put("out/old", b"0")
    first, second = another(), another()
    path = first.upload(rclone_site.url("out"), interval=INTERVAL)
    assert second.sync(rclone_site.url("out"), interval=INTERVAL) == path
    write_tree(path, {"a": b"1"})
    assert contents(path) == {"a": b"1"}
    second.close()
    first.close()
    assert rclone_site.objects("out/") == {"a": b"1"}


# -- a writer that died


def killed(body: str, cache: Path, url: str) -> None:
    with in_another_process(body, cache, url) as process:
        process.kill()
        process.wait()


@pytest.mark.parametrize("again", ["sync", "download", "download around"])
def test_what_a_killed_sync_had_not_pushed_is_kept_and_told(
    s3: S3Site, tmp_path: Path, another: Open, again: str
) -> None:
    s3.put_all({"run/ckpt/old": b"1", "run/ckpt/same": b"2"})
    body = (
        "p = pos3.sync(url, interval=None); (p / 'step-1').write_text('hours'); (p / 'old').write_text('mine'); ready()"
    )
    killed(body, tmp_path / "cache", s3.url("run/ckpt"))
    s3.put_all({"run/ckpt/old": b"newer there", "run/ckpt/same": b"changed there"})
    mirror = another()
    if again == "sync":
        path = mirror.sync(s3.url("run/ckpt"), interval=INTERVAL)
    else:
        path = mirror.download(s3.url("run/ckpt" if again == "download" else "run"))
        path = path / "ckpt" if again == "download around" else path
    assert contents(path) == {"old": b"mine", "same": b"changed there", "step-1": b"hours"}
    assert sorted(kept.path.rpartition("/")[2] for kept in mirror.report().kept) == ["old", "step-1"]
    if again == "sync":
        mirror.close()
        assert s3.objects("run/ckpt/") == {"old": b"mine", "same": b"changed there", "step-1": b"hours"}
        assert pos3.recover(tmp_path / "cache") == []


def test_the_same_from_another_cache_root_that_shares_the_local_path(
    rclone_site: S3Site, tmp_path: Path, another: Open
) -> None:
    local = tmp_path / "shared"
    body = f"p = pos3.sync(url, {str(local)!r}, interval=None); (p / 'step-1').write_text('hours'); ready()"
    rclone_site.put("ckpt/old", b"1")
    killed(body, tmp_path / "cache", rclone_site.url("ckpt"))
    another("another cache").download(rclone_site.url("ckpt"), local, adopt=True)
    assert contents(local) == {"old": b"1", "step-1": b"hours"}
    assert [found.outcome for found in pos3.recover(tmp_path / "cache")] == ["pushed"]
    another("another cache").download(rclone_site.url("ckpt"), local, adopt=True)
    assert contents(local) == rclone_site.objects("ckpt/") == {"old": b"1", "step-1": b"hours"}


def test_what_a_killed_upload_had_not_pushed_is_pushed_by_the_same_script_started_again(
    rclone_site: S3Site, tmp_path: Path, another: Open
) -> None:
    body = "p = pos3.upload(url, interval=None); (p / 'part-1').write_text('hours'); ready()"
    killed(body, tmp_path / "cache", rclone_site.url("out"))
    mirror = another()
    path = mirror.upload(rclone_site.url("out"), interval=INTERVAL)
    write_tree(path, {"part-2": b"2"})
    mirror.close()
    assert rclone_site.objects("out/") == {"part-1": b"hours", "part-2": b"2"}
    assert list((tmp_path / "cache" / ".pos3" / "journal").iterdir()) == []


def test_a_journal_of_an_earlier_version_protects_its_files_too(
    rclone_site: S3Site, tmp_path: Path, another: Open
) -> None:
    rclone_site.put("ckpt/old", b"1")
    body = "p = pos3.sync(url, interval=None); (p / 'step-1').write_text('hours'); ready()"
    killed(body, tmp_path / "cache", rclone_site.url("ckpt"))
    for file in claims_directory().iterdir():
        file.unlink()
    assert contents(another().download(rclone_site.url("ckpt"))) == {"old": b"1", "step-1": b"hours"}


@pytest.mark.parametrize("verb", ["upload", "sync"])
def test_fresh_is_refused_where_a_killed_mirror_has_not_pushed_all(
    rclone_site: S3Site, tmp_path: Path, another: Open, verb: str
) -> None:
    rclone_site.put("ckpt/old", b"1")
    body = "p = pos3.sync(url, interval=None); (p / 'step-1').write_text('hours'); ready()"
    killed(body, tmp_path / "cache", rclone_site.url("ckpt"))
    mirror = another()
    with pytest.raises(pos3.ConflictError, match=r"fresh=True.*step-1"):
        getattr(mirror, verb)(rclone_site.url("ckpt"), interval=INTERVAL, fresh=True)
    assert contents(mirror.sync(rclone_site.url("ckpt"), interval=INTERVAL)) == {"old": b"1", "step-1": b"hours"}


def test_fresh_is_refused_while_another_mirror_writes_there(rclone_site: S3Site, tmp_path: Path, another: Open) -> None:
    writer = another("another cache")
    local = tmp_path / "cache" / "_" / rclone_site.bucket / "ckpt"
    write_tree(writer.sync(rclone_site.url("elsewhere"), local, interval=INTERVAL), {"step-1": b"hours"})
    with pytest.raises(pos3.Pos3Error, match=r"fresh=True"):
        another().upload(rclone_site.url("ckpt"), interval=INTERVAL, fresh=True)
    assert contents(local) == {"step-1": b"hours"}


def test_the_limit_of_the_cache_evicts_nothing_that_a_killed_mirror_was_to_push(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    rclone_site.put("data/a", b"1")
    body = "p = pos3.download(url); pos3.upload(url + '-copy', p, interval=None); ready()"
    killed(body, tmp_path / "cache", rclone_site.url("data"))
    path = tmp_path / "cache" / "_" / rclone_site.bucket / "data"
    with pos3.mirror(tmp_path / "cache", show_progress=False, cache_limit=0):
        assert contents(path) == {"a": b"1"}
    assert [found.outcome for found in pos3.recover(tmp_path / "cache")] == ["pushed"]
    assert rclone_site.objects("data-copy/") == {"a": b"1"}
    with pos3.mirror(tmp_path / "cache", show_progress=False, cache_limit=0):
        assert not path.exists()


def test_recovery_keeps_what_lies_on_a_disk_that_is_not_mounted(rclone_site: S3Site, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    body = f"p = pos3.sync(url, {str(disk / 'ckpt')!r}, interval=None); (p / 'step-1').write_text('hours'); ready()"
    killed(body, tmp_path / "cache", rclone_site.url("ckpt"))
    disk.rename(tmp_path / "elsewhere")
    for _ in range(2):
        (found,) = pos3.recover(tmp_path / "cache")
        assert (found.outcome, str(disk / "ckpt") in str(found.error)) == ("failed", True)
    # An empty directory where a disk is mounted otherwise has another number.
    disk.mkdir()
    (journal,) = (tmp_path / "cache" / ".pos3" / "journal").iterdir()
    device = disk.stat().st_dev
    journal.write_text(journal.read_text().replace(f'"device": {device}', f'"device": {device + 1}'))
    assert [found.outcome for found in pos3.recover(tmp_path / "cache")] == ["failed"]
    disk.rmdir()
    (tmp_path / "elsewhere").rename(disk)
    assert [found.outcome for found in pos3.recover(tmp_path / "cache")] == ["pushed"]
    assert rclone_site.objects("ckpt/") == {"step-1": b"hours"}


def test_recovery_strikes_what_somebody_has_deleted(rclone_site: S3Site, tmp_path: Path) -> None:
    body = "p = pos3.upload(url, interval=None); ready()"
    killed(body, tmp_path / "cache", rclone_site.url("out"))
    (tmp_path / "cache" / "_" / rclone_site.bucket / "out").rmdir()
    assert [found.outcome for found in pos3.recover(tmp_path / "cache")] == ["gone"]
    assert pos3.recover(tmp_path / "cache") == []


def test_what_a_failed_end_has_left_is_kept_by_other_cache_roots_too(
    rclone_site: S3Site, tmp_path: Path, another: Open, proxied: PutBefore
) -> None:
    local = tmp_path / "shared"
    rclone_site.put("out/theirs", b"1")
    proxy = proxied(rclone_site)
    writer = another()
    write_tree(writer.upload(rclone_site.url("out"), local, interval=INTERVAL), {"mine": b"hours"})
    proxy.inject(Status(code=403, error_code="AccessDenied", match=on("PUT")))
    with pytest.raises(pos3.TransferError):
        writer.close()
    proxy.inject()
    reader = another("another cache")
    reader.download(rclone_site.url("out"), local, adopt=True)
    assert contents(local) == {"mine": b"hours", "theirs": b"1"}
    assert [kept.path for kept in reader.report().kept] == ["mine"]


def test_what_a_killed_mirror_left_on_a_disk_is_not_struck_while_that_is_not_mounted(
    rclone_site: S3Site, tmp_path: Path, another: Open
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    body = f"p = pos3.upload(url, {str(disk / 'x.json')!r}, interval=None); p.write_text('hours'); ready()"
    killed(body, tmp_path / "cache", rclone_site.url("out/x.json"))
    disk.rename(tmp_path / "elsewhere")
    again = another()
    again.upload(rclone_site.url("out/x.json"), disk / "x.json", interval=INTERVAL)
    again.close()
    disk.rmdir()
    (tmp_path / "elsewhere").rename(disk)
    assert [found.outcome for found in pos3.recover(tmp_path / "cache")] == ["pushed"]
    assert rclone_site.objects("out/") == {"x.json": b"hours"}


def test_mirrors_of_one_group_bring_nothing_that_the_last_push_is_to_delete(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    rclone_site.put("out/stale", b"0")
    options = pos3.MirrorOptions(tmp_path / "cache", show_progress=False)
    writer, reader = (pos3.Mirror(options, group="a run").open() for _ in range(2))
    path = writer.upload(rclone_site.url("out"), interval=INTERVAL)
    write_tree(path, {"new": b"1"})
    assert reader.download(rclone_site.url("out")) == path
    assert contents(path) == {"new": b"1"}
    reader.close()
    writer.close()
    assert rclone_site.objects("out/") == {"new": b"1"}


# -- beginnings


def wait_for_claim(kind: str, cache: str) -> None:
    """Until a mirror of that cache has begun such a registration."""
    claims = claims_directory() / "claims.log"

    def has_begun() -> bool:
        lines = claims.read_text().splitlines() if claims.exists() else []
        return any(f'"kind": "{kind}"' in line and f"/{cache}/.pos3/" in line for line in lines)

    eventually(has_begun)


def lines_of_claims(kind: str) -> int:
    """How many lines of the list of claims are about such registrations."""
    claims = claims_directory() / "claims.log"
    return claims.read_text().count(f'"kind": "{kind}"') if claims.exists() else 0


def test_who_will_write_waits_for_a_download_that_is_under_way(
    rclone_site: S3Site, tmp_path: Path, another: Open, proxied: PutBefore
) -> None:
    rclone_site.put_all({f"data/{number}": b"1" for number in range(4)})
    proxied(rclone_site, Latency(seconds=1, match=on("GET")))
    reader, writer = another(max_workers=1), another()
    reading = threading.Thread(target=reader.download, args=(rclone_site.url("data"),))
    reading.start()
    wait_for_claim("download", "cache")
    path = writer.sync(rclone_site.url("data"), interval=INTERVAL)
    assert reader.report().downloaded_files == 4
    assert len(contents(path)) == 4
    reading.join()


@pytest.mark.parametrize("first", ["sync", "download"])
def test_of_several_that_begin_at_once_the_first_brings_what_is_new(
    rclone_site: S3Site, another: Open, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Otherwise each would leave the files to the others, and their ends would push the old ones."""
    rclone_site.put_all({"data/a": b"1", "data/b": b"1"})
    with pos3.activate(another()):
        path = pos3.download(rclone_site.url("data"))
    rclone_site.put_all({"data/a": b"newer", "data/c": b"new"})
    mirrors = [another(), another(), another()]
    seen: list[dict[str, bytes]] = []

    def take_part(mirror: pos3.Mirror, verb: str) -> None:
        if verb == "download":
            mirror.download(rclone_site.url("data"))
        else:
            mirror.sync(rclone_site.url("data"), interval=INTERVAL)
        seen.append(contents(path))

    threads = [threading.Thread(target=take_part, args=(mirror, "sync")) for mirror in mirrors[1:]]
    begin = Claims.begin

    def begin_first(self: Claims, *arguments: Any, **named: Any) -> ActiveClaim:
        claim = begin(self, *arguments, **named)
        # The others have their claims before the first one looks for writers.
        monkeypatch.setattr(Claims, "begin", begin)
        for count, thread in enumerate(threads, 1):
            thread.start()
            eventually(lambda count=count: lines_of_claims("sync") == count + (first == "sync"))
        return claim

    monkeypatch.setattr(Claims, "begin", begin_first)
    take_part(mirrors[0], first)
    for thread in threads:
        thread.join()
    assert seen == [{"a": b"newer", "b": b"1", "c": b"new"}] * 3
    for mirror in mirrors:
        mirror.close()
    assert rclone_site.objects("data/") == {"a": b"newer", "b": b"1", "c": b"new"}


def test_a_registration_that_only_begins_is_not_pushed_by_an_end(
    rclone_site: S3Site, another: Open, proxied: PutBefore
) -> None:
    """What it has not downloaded yet is not deleted."""
    rclone_site.put_all({f"data/{number}": b"1" for number in range(4)})
    with pos3.activate(another()):
        old = pos3.download(rclone_site.url("data"))
    for number in range(3):
        (old / str(number)).unlink()
    proxied(rclone_site, Latency(seconds=1, match=on("GET")))
    reader, writer = another("another cache", max_workers=1), another()
    reading = threading.Thread(target=reader.download, args=(rclone_site.url("data"), old), kwargs={"delete": False})
    reading.start()
    wait_for_claim("download", "another cache")
    beginning = threading.Thread(target=writer.sync, args=(rclone_site.url("data"),), kwargs={"interval": INTERVAL})
    beginning.start()
    wait_for_claim("sync", "cache")
    writer.finish()
    assert len(rclone_site.keys("data/")) == 4
    beginning.join()
    reading.join()
    writer.close()
    assert len(rclone_site.keys("data/")) == 4


def test_a_mirror_that_has_ended_leaves_no_claim(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(rclone_site.url("data"))
        pos3.sync(rclone_site.url("ckpt"), interval=INTERVAL)
        pos3.upload(rclone_site.url("out"), interval=INTERVAL)
    state = claims_directory()
    claims = (state / "claims.log").read_text().split("\n")
    begun, ended = ({line.partition("\t")[0] for line in claims if ("{" in line) is begins} for begins in (True, False))
    assert begun == ended - {""}
    assert sorted(file.name for file in state.iterdir()) == ["claims.lock", "claims.log"]


def test_a_registration_whose_claim_cannot_be_written_fails_and_changes_nothing(
    rclone_site: S3Site, tmp_path: Path, another: Open
) -> None:
    state = claims_directory()
    state.mkdir(parents=True, mode=0o700)
    (state / "claims.lock").mkdir()
    mirror = another()
    for call in (mirror.upload, mirror.sync, mirror.download):
        with pytest.raises(pos3.ClaimError, match="claims"):
            call(rclone_site.url("data"))
    assert not (tmp_path / "cache" / "_").exists()


def test_a_damaged_list_of_claims_keeps_nobody_from_downloading(rclone_site: S3Site, another: Open) -> None:
    rclone_site.put("data/a", b"1")
    state = claims_directory()
    state.mkdir(parents=True, mode=0o700)
    (state / "claims.log").write_bytes(b"[{]\n\x00\t\xff\t\t{\n\n\t\nhalf a li")
    assert contents(another().download(rclone_site.url("data"))) == {"a": b"1"}


# -- forks


def test_a_forked_child_counts_as_its_parent_and_keeps_no_lock_of_it(
    rclone_site: S3Site, tmp_path: Path, another: Open
) -> None:
    rclone_site.put("ckpt/old", b"1")
    body = (
        "p = pos3.sync(url, interval=None); (p / 'step-1').write_text('hours')\n"
        "    if not os.fork():\n"
        "        q = pos3.download(url); (p / 'seen').write_text(' '.join(sorted(os.listdir(q))))\n"
        "        import time; time.sleep(60); os._exit(0)\n"
        "    while not (p / 'seen').exists() or not (p / 'seen').read_text(): pass\n"
        "    print(os.getpid(), file=sys.stderr)\n"
        "    ready()"
    )
    killed(body, tmp_path / "cache", rclone_site.url("ckpt"))
    mirror = another()
    path = mirror.sync(rclone_site.url("ckpt"), interval=INTERVAL)
    assert contents(path)["seen"] == b"old step-1"
    assert "died" in str([kept.reason for kept in mirror.report().kept])
    mirror.close()
    assert rclone_site.objects("ckpt/")["step-1"] == b"hours"


def test_a_script_that_is_killed_and_started_again_loses_nothing(rclone_site: S3Site, tmp_path: Path) -> None:
    """What the script has written and closed is in S3 in the end, at whatever moment it is killed."""
    script = (
        "import os, sys, pathlib, pos3\n"
        "cache, url, done = sys.argv[1:]\n"
        "with pos3.mirror(cache, show_progress=False):\n"
        "    path = pos3.sync(url, interval=0.05)\n"
        "    begin = len(list(path.glob('step-*')))\n"
        "    for step in range(begin, begin + 40):\n"
        "        (path / 'tmp').write_bytes(b'%d' % step)\n"
        "        os.rename(path / 'tmp', path / f'step-{step}')\n"
        "        with open(done, 'a') as log: log.write(f'{step}\\n')\n"
    )
    log = tmp_path / "done"
    log.touch()
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), rclone_site.url("ckpt"), str(log)]
    for number in range(6):
        process = subprocess.Popen(command)
        time.sleep(0.45 + 0.06 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, timeout=60)
    steps = [int(line) for line in log.read_text().split()]
    assert sorted(set(steps)) == steps, "a step that was done was done again, so its file had been lost"
    stored = rclone_site.objects("ckpt/")
    assert {name: data for name, data in stored.items() if name != "tmp"} == {
        f"step-{step}": b"%d" % step for step in steps
    }


def test_the_list_of_claims_does_not_grow_with_what_has_ended(rclone_site: S3Site, another: Open) -> None:
    rclone_site.put("data/a", b"1")
    mirror = another()
    mirror.sync(rclone_site.url("data"), interval=INTERVAL)
    claims = claims_directory() / "claims.log"
    sizes = []
    for number in range(150):
        mirror.download(rclone_site.url("data/a"), Path(mirror.cache_root) / f"copy-{number}")
        sizes.append(claims.stat().st_size)
    assert max(sizes) < 60_000
    assert sizes[-1] < max(sizes)
    another().upload(rclone_site.url("elsewhere"), mirror.cache_root, interval=INTERVAL)
    with pytest.raises(pos3.ConflictError):
        another().download(rclone_site.url("data"), Path(mirror.cache_root) / "x")
