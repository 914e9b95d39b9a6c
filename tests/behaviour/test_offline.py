"""Mirrors that work offline: what the cache holds completely is used, and uploads are kept until the store is back."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import Proxy, RcloneServer, S3Site, Status, contents, on, write_tree
from tests.support.program import run_program

FILES = {"a.txt": b"1", "b/c.txt": b"22", "b/d/e.txt": b"333", "f.bin": b"4444"}
PutBefore = Callable[..., Proxy]
Private = tuple[RcloneServer, S3Site]


def mirror(tmp_path: Path, **options: Any) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)


def put(site: S3Site, files: dict[str, bytes] = FILES) -> None:
    site.put_all({f"data/{name}": content for name, content in files.items()})


def downloaded(site: S3Site, tmp_path: Path, **arguments: Any) -> Path:
    with mirror(tmp_path):
        return pos3.download(site.url("data"), **arguments)


def test_what_a_download_has_brought_is_returned_without_a_request(
    s3: S3Site, proxied: PutBefore, tmp_path: Path
) -> None:
    put(s3)
    proxy = proxied(s3)
    url = s3.url("data")
    with mirror(tmp_path):
        path = pos3.download(url)
        listed, all_listed = pos3.ls(url), pos3.ls(url, recursive=True)
        fingerprint = pos3.fingerprint(url)
        part = pos3.fingerprint(f"{url}/b", include="*.txt")
    put(s3, {"a.txt": b"newer", "new.txt": b"5"})
    sent = len(proxy.requests)
    with mirror(tmp_path, offline=True) as offline:
        assert pos3.ls(url) == listed
        assert pos3.ls(url, recursive=True) == all_listed
        assert pos3.ls(f"{url}/a.txt") == [f"{url}/a.txt"]
        assert pos3.fingerprint(url) == fingerprint
        assert pos3.fingerprint(f"{url}/b", include="*.txt") == part
        assert not pos3.plan_download(url).to_copy
        assert pos3.download(url) == path
        assert contents(path) == FILES
        assert contents(pos3.download(f"{url}/b")) == {"c.txt": b"22", "d/e.txt": b"333"}
        assert pos3.download(f"{url}/f.bin").read_bytes() == b"4444"
        assert pos3.download(f"{url}/none", missing_ok=True).is_dir()
        with pytest.raises(pos3.RemoteNotFoundError, match="there is no object at this URL"):
            pos3.download(f"{url}/nothing")
    assert len(proxy.requests) == sent
    assert (offline.report().downloaded_files, offline.report().deleted_local) == (0, 0)


def remove_file(path: Path) -> None:
    (path / "b/c.txt").unlink()


def change_file(path: Path) -> None:
    (path / "b/c.txt").write_bytes(b"mine")


@pytest.mark.parametrize(
    ("damage", "told"), [(remove_file, "b/c.txt"), (change_file, "b/c.txt")], ids=["gone", "changed"]
)
def test_a_download_of_which_a_file_is_gone_or_changed_is_not_complete(
    rclone_site: S3Site, tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    put(rclone_site)
    path = downloaded(rclone_site, tmp_path)
    damage(path)
    before = contents(path)
    with mirror(tmp_path, offline=True), pytest.raises(pos3.OfflineError, match=f"works offline.*{told}.*Download it"):
        pos3.download(rclone_site.url("data"))
    assert contents(path) == before
    assert contents(downloaded(rclone_site, tmp_path)) == FILES


def test_what_was_never_downloaded_is_one_clear_error(rclone_site: S3Site, tmp_path: Path) -> None:
    put(rclone_site)
    url = rclone_site.url("data")
    with mirror(tmp_path, offline=True):
        for ask in (pos3.download, pos3.ls, pos3.fingerprint, pos3.plan_download, pos3.sync):
            with pytest.raises(pos3.OfflineError, match="the cache does not hold it completely") as failure:
                ask(url)
            assert failure.value.url == url
            assert isinstance(failure.value, ConnectionError)
    assert not (tmp_path / "cache/_").exists()


def test_only_what_the_same_filters_chose_counts_as_brought(rclone_site: S3Site, tmp_path: Path) -> None:
    put(rclone_site)
    url = rclone_site.url("data")
    downloaded(rclone_site, tmp_path, include="*.txt")
    downloaded(rclone_site, tmp_path, include="*.bin")
    with mirror(tmp_path, offline=True):
        assert set(contents(pos3.download(url, include="*.txt"))) == set(FILES)
        pos3.download(url, include="*.bin")
        for arguments in ({}, {"include": "*.csv"}, {"include": "*.txt", "exclude": "b"}):
            with pytest.raises(pos3.OfflineError, match="these filters"):
                pos3.download(url, **arguments)


def test_a_later_download_that_fails_midway_leaves_nothing_complete(
    rclone_site: S3Site, proxied: PutBefore, tmp_path: Path
) -> None:
    put(rclone_site)
    path = downloaded(rclone_site, tmp_path)
    put(rclone_site, {"a.txt": b"newer", "f.bin": b"newer"})
    proxied(rclone_site, Status(403, "AccessDenied", match=on("GET", key="data/f.bin")))
    with mirror(tmp_path), pytest.raises(pos3.TransferError):
        pos3.download(rclone_site.url("data"))
    assert (path / "a.txt").read_bytes() == b"newer"
    with mirror(tmp_path, offline=True), pytest.raises(pos3.OfflineError):
        pos3.download(rclone_site.url("data"))


def test_a_complete_set_is_one_only_if_it_was_downloaded_as_one(rclone_site: S3Site, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", FILES)
    url = rclone_site.url("set")
    with mirror(tmp_path):
        pos3.publish(url, source)
        pos3.download(url)
    with mirror(tmp_path, offline=True), pytest.raises(pos3.OfflineError):
        pos3.download(url, require_marker="_SUCCESS")
    with mirror(tmp_path):
        pos3.download(url, require_marker="_SUCCESS")
    with mirror(tmp_path, offline=True):
        assert contents(pos3.download(url, require_marker="_SUCCESS")).items() >= FILES.items()


def test_auto_uses_the_cache_only_while_the_endpoint_cannot_be_reached(
    private_rclone: Private, tmp_path: Path, caplog: pytest.LogCaptureFixture, short_pauses: None
) -> None:
    server, site = private_rclone
    put(site)
    path = downloaded(site, tmp_path)
    put(site, {"new.txt": b"5"})
    server.kill()
    with mirror(tmp_path, offline="auto"):
        assert pos3.download(site.url("data")) == path
        assert set(pos3.ls(site.url("data"))) == {site.url(f"data/{name}") for name in ("a.txt", "b", "f.bin")}
        with pytest.raises(pos3.OfflineError, match=r"other: .*cannot reach .*does not hold it"):
            pos3.download(site.url("other"))
    assert contents(path) == FILES
    assert sum("working offline" in record.message for record in caplog.records) == 1
    server.restart()
    with mirror(tmp_path, offline="auto"):
        assert contents(pos3.download(site.url("data"))) == {**FILES, "new.txt": b"5"}


def test_auto_does_not_take_a_refusal_for_a_missing_network(
    rclone_site: S3Site, proxied: PutBefore, tmp_path: Path
) -> None:
    put(rclone_site)
    downloaded(rclone_site, tmp_path)
    proxied(rclone_site, Status(403, "AccessDenied"))
    with mirror(tmp_path, offline="auto"), pytest.raises(pos3.AccessDeniedError):
        pos3.download(rclone_site.url("data"))


@pytest.mark.parametrize("offline", [True, "auto"])
@pytest.mark.parametrize("push", ["next mirror", "recover"])
def test_a_server_that_is_down_from_before_the_mirror_until_after_its_end_loses_nothing(
    private_rclone: Private,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    short_pauses: None,
    offline: Any,
    push: str,
) -> None:
    server, site = private_rclone
    site.put("logs/earlier", b"0")
    server.kill()
    with mirror(tmp_path, offline=offline):
        run = pos3.upload(site.url("runs/1"), interval=0.05)
        write_tree(run, FILES)
        logs = pos3.upload(site.url("logs"))
        (logs / "today").write_bytes(b"1")
        with pytest.raises(pos3.OfflineError, match=r"runs/1: .*, and kept in .*: 4 files \(10 B\)"):
            pos3.flush(run)
    kept = [record.message for record in caplog.records if "and kept in" in record.message]
    assert len(kept) == 2
    assert "1 file (1 B)" in kept[1]
    server.restart()
    assert site.objects() == {"logs/earlier": b"0"}
    if push == "recover":
        recovered = pos3.recover(tmp_path / "cache", show_progress=False)
        assert [item.outcome for item in recovered] == ["pushed", "pushed"]
    else:
        with mirror(tmp_path):
            pos3.ls(site.url())
            pos3.plan_download(site.url("logs"))
        assert site.objects() == {"logs/earlier": b"0"}
        with mirror(tmp_path):
            pos3.download(site.url("logs"), local=tmp_path / "elsewhere")
    assert site.objects("runs/1/") == FILES
    assert site.objects("logs/") == {"earlier": b"0", "today": b"1"}
    assert not list((tmp_path / "cache/.pos3/journal").glob("*"))
    with mirror(tmp_path, offline=True):
        pos3.upload(site.url("runs/1"))
    assert not list((tmp_path / "cache/.pos3/journal").glob("*"))


def test_what_was_online_at_first_is_kept_if_the_network_is_gone_at_the_end(
    private_rclone: Private, tmp_path: Path, caplog: pytest.LogCaptureFixture, short_pauses: None
) -> None:
    server, site = private_rclone
    with mirror(tmp_path, offline="auto"):
        out = pos3.upload(site.url("out"))
        write_tree(out, {"1": b"1"})
        pos3.flush()
        write_tree(out, {"2": b"2"})
        server.kill()
    assert "1 file (1 B)" in caplog.text
    server.restart()
    with mirror(tmp_path):
        pos3.upload(site.url("another"))
    assert site.objects("out/") == {"1": b"1", "2": b"2"}


def test_a_mirror_that_began_offline_pushes_when_the_store_is_back_and_replaces_nothing_newer(
    private_rclone: Private, tmp_path: Path, short_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pos3.mirrors.network._SHORTEST_PAUSE_SECONDS", 0)
    server, site = private_rclone
    site.put_all({"ckpt/kept": b"old", "ckpt/mine": b"old"})
    with mirror(tmp_path):
        pos3.sync(site.url("ckpt"), interval=None)
    site.put("ckpt/kept", b"of another machine")
    site.put("ckpt/others", b"2")
    server.kill()
    with mirror(tmp_path, offline="auto"):
        ckpt = pos3.sync(site.url("ckpt"), interval=None)
        assert contents(ckpt) == {"kept": b"old", "mine": b"old"}
        write_tree(ckpt, {"mine": b"newer", "step-2": b"2"})
        os.utime(ckpt / "mine")
        server.restart()
    assert site.objects("ckpt/") == {
        "kept": b"of another machine",
        "mine": b"newer",
        "others": b"2",
        "step-2": b"2",
    }


def test_a_sync_goes_on_offline_with_what_earlier_runs_have_kept(
    private_rclone: Private, tmp_path: Path, short_pauses: None
) -> None:
    server, site = private_rclone
    with mirror(tmp_path):
        write_tree(pos3.sync(site.url("ckpt"), interval=None), {"step-1": b"1"})
    server.kill()
    for step in (2, 3):
        with mirror(tmp_path, offline=True):
            ckpt = pos3.sync(site.url("ckpt"), interval=None)
            assert set(contents(ckpt)) == {f"step-{number}" for number in range(1, step)}
            write_tree(ckpt, {f"step-{step}": b"x"})
            assert pos3.download(site.url("ckpt")) == ckpt
    server.restart()
    with mirror(tmp_path):
        pos3.sync(site.url("ckpt"), interval=None)
    assert set(site.objects("ckpt/")) == {"step-1", "step-2", "step-3"}
    assert not list((tmp_path / "cache/.pos3/journal").glob("*"))


def test_what_needs_both_sides_is_refused_before_anything_is_changed(rclone_site: S3Site, tmp_path: Path) -> None:
    url = rclone_site.url("data")
    source = write_tree(tmp_path / "source", FILES)
    put(rclone_site)
    with mirror(tmp_path):
        pos3.sync(url, interval=None)
    with mirror(tmp_path, offline=True):
        for call in (
            lambda: pos3.bisync(url),
            lambda: pos3.publish(url, source),
            lambda: pos3.sync(url, fresh=True),
            lambda: pos3.plan_upload(url),
        ):
            with pytest.raises(pos3.OfflineError):
                call()
    assert rclone_site.objects("data/") == FILES


def test_the_environment_can_send_commands_offline(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(rclone_site)
    cache = str(tmp_path / "cache")
    monkeypatch.setenv("POS3_CACHE_ROOT", cache)
    url = rclone_site.url("data")
    assert run_program("download", url).status == 0
    rclone_site.delete("data/a.txt")
    monkeypatch.setenv("POS3_OFFLINE", "1")
    assert run_program("ls", url).lines == [f"{url}/a.txt", f"{url}/b", f"{url}/f.bin"]
    assert json.loads(run_program("download", url, "--json").lines[0])["report"]["unchanged"] == 4
    failed = run_program("ls", rclone_site.url("other"))
    assert failed.status == 1
    assert "Download it once while the store can be reached" in failed.stderr
    monkeypatch.setenv("POS3_OFFLINE", "sometimes")
    assert "expected true, false or auto" in run_program("ls", url).stderr
    with pytest.raises(pos3.InvalidArgumentError, match="expected True, False or 'auto'"):
        pos3.mirror(cache, offline="on").__enter__()  # type: ignore[arg-type]


def test_a_two_way_sync_that_ended_well_is_complete(rclone_site: S3Site, tmp_path: Path) -> None:
    put(rclone_site)
    with mirror(tmp_path):
        path = pos3.bisync(rclone_site.url("data"))
        write_tree(path, {"mine": b"1"})
        pos3.bisync(rclone_site.url("data"))
    with mirror(tmp_path, offline=True):
        assert contents(pos3.download(rclone_site.url("data"))) == {**FILES, "mine": b"1"}


def test_recovery_is_refused_where_the_environment_says_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POS3_OFFLINE", "true")
    with pytest.raises(pos3.OfflineError, match="POS3_OFFLINE"):
        pos3.recover(tmp_path, show_progress=False)


def test_paths_of_the_cache_that_are_emptied_are_not_complete_for_those_around_them(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    put(rclone_site)
    path = downloaded(rclone_site, tmp_path)
    with mirror(tmp_path):
        pos3.upload(rclone_site.url("data/b"), interval=None, delete=False, fresh=True)
    assert not list((path / "b").iterdir())
    with mirror(tmp_path, offline=True), pytest.raises(pos3.OfflineError):
        pos3.download(rclone_site.url("data"))


def test_an_online_end_says_what_it_has_pushed_for_an_earlier_mirror(
    private_rclone: Private, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pos3")
    server, site = private_rclone
    server.kill()
    with mirror(tmp_path, offline=True):
        (pos3.upload(site.url("out")) / "x").write_bytes(b"1")
    with mirror(tmp_path):
        pos3.upload("memory://others/x")
    assert "kept offline, and not pushed yet" in caplog.text
    server.restart()
    with mirror(tmp_path):
        pos3.upload("memory://others/x")
    assert f"{site.url('out')}: 1 uploaded (1 B), kept offline before" in caplog.text
    assert site.objects("out/") == {"x": b"1"}


# Parts, patterns and details


def test_a_part_that_was_completed_is_returned_and_makes_nothing_else_complete(
    s3: S3Site, proxied: PutBefore, tmp_path: Path
) -> None:
    put(s3)
    proxy = proxied(s3)
    url = s3.url("data")
    with mirror(tmp_path):
        first, second, third = pos3.partition(url, parts=3)
        path = pos3.download(second)
        listed, described = pos3.ls(second, recursive=True), pos3.ls(second, details=True)
        fingerprint = pos3.fingerprint(second)
    put(s3, dict.fromkeys(FILES, b"newer"))
    sent = len(proxy.requests)
    with mirror(tmp_path, offline=True):
        assert pos3.download(second) == path
        assert pos3.download(str(second), fingerprint=fingerprint) == path
        assert not pos3.plan_download(second).to_copy
        assert pos3.ls(second, recursive=True) == listed
        assert [item.etag for item in pos3.ls(second, details=True)] == [item.etag for item in described]
        assert pos3.fingerprint(second) == fingerprint
        smaller = pos3.Part(url, after=second.after + "0", until=second.until)
        assert pos3.download(smaller) == path
        for incomplete in (first, third, url, f"{url}/{second.until}", pos3.Part(url, after=second.after)):
            with pytest.raises(pos3.OfflineError, match="does not hold it completely"):
                pos3.download(incomplete)
            with pytest.raises(pos3.OfflineError, match="does not hold it completely"):
                pos3.ls(incomplete)
        with pytest.raises(pos3.OfflineError, match=r"partition\(\) needs the store"):
            pos3.partition(url, parts=2)
    assert contents(path) == {name: data for name, data in FILES.items() if name in second}
    assert len(proxy.requests) == sent


def test_the_parts_of_a_complete_download_are_complete_until_one_of_them_begins_to_change(
    s3: S3Site, proxied: PutBefore, tmp_path: Path
) -> None:
    put(s3)
    url = s3.url("data")
    path = downloaded(s3, tmp_path)
    with mirror(tmp_path):
        parts = pos3.partition(url, parts=3)
    with mirror(tmp_path, offline=True):
        assert [pos3.download(part) for part in parts] == [path] * 3
    changed = next(name for name in FILES if name in parts[1])
    s3.put(f"data/{changed}", b"newer")
    proxied(s3, Status(403, "AccessDenied", match=on("GET", key=f"data/{changed}")))
    with mirror(tmp_path), pytest.raises(pos3.TransferError):
        pos3.download(parts[1])
    with mirror(tmp_path, offline=True):
        for incomplete in (url, *parts):
            with pytest.raises(pos3.OfflineError, match="does not hold it completely"):
                pos3.download(incomplete)


def test_parts_that_are_downloaded_side_by_side_are_all_complete(s3: S3Site, tmp_path: Path) -> None:
    put(s3, {f"{number:02}": b"1" for number in range(40)})
    url = s3.url("data")
    with mirror(tmp_path) as opened:
        parts = opened.partition(url, parts=20)
        with ThreadPoolExecutor(8) as threads:
            paths = set(threads.map(opened.download, parts))
    with mirror(tmp_path, offline=True):
        assert {pos3.download(part) for part in parts} == paths
        with pytest.raises(pos3.OfflineError):
            pos3.download(url)


def test_patterns_and_details_are_those_of_the_last_download(s3: S3Site, tmp_path: Path) -> None:
    put(s3)
    url = s3.url("data")
    asked = [f"{url}/*", f"{url}/b/*.txt", f"{url}/**/*.txt", f"{url}/?/d"]
    with mirror(tmp_path):
        pos3.download(url)
        listed = [pos3.ls(pattern, recursive=recursive) for pattern in asked for recursive in (False, True)]
        described = pos3.ls(url, recursive=True, details=True)
    put(s3, {"b/new.txt": b"5"})
    with mirror(tmp_path, offline=True):
        assert [pos3.ls(pattern, recursive=recursive) for pattern in asked for recursive in (False, True)] == listed
        known = pos3.ls(url, recursive=True, details=True)
        assert [(item.url, item.size_bytes, item.modified, item.etag) for item in known] == [
            (item.url, item.size_bytes, item.modified, item.etag) for item in described
        ]
        with pytest.raises(pos3.OfflineError):
            pos3.ls(s3.url("data*"))
        with pytest.raises(pos3.OfflineError, match="a list of all buckets needs the store"):
            pos3.ls("s3://")


def test_commands_that_look_into_the_store_use_the_cache_or_say_that_they_cannot(
    s3: S3Site, proxied: PutBefore, tmp_path: Path
) -> None:
    put(s3)
    proxy = proxied(s3)
    url = s3.url("data")
    path = downloaded(s3, tmp_path)
    (path / "mine").write_bytes(b"5")
    sent = len(proxy.requests)
    environment = {"POS3_OFFLINE": "1", "POS3_CACHE_ROOT": str(tmp_path / "cache")}
    du = run_program("du", "-d", "0", "--json", url, **environment)
    assert (du.status, du.objects) == (0, [{"url": url, "files": 4, "size_bytes": 10}])
    unknown = run_program("du", s3.url("other"), **environment)
    assert (unknown.status, unknown.stdout) == (1, "")
    assert "does not hold it completely" in unknown.stderr
    check = run_program("check", url, **environment)
    assert (check.status, check.lines) == (1, [f"only here: {path}/mine"])
    assert run_program("status", **environment).status == 0
    for command in (["doctor"], ["doctor", url]):
        doctor = run_program(*command, **environment)
        assert (doctor.status, doctor.lines[-1].split()) == (1, ["what", "to", "do:", "unset", "POS3_OFFLINE"])
    for command in (["partition", url, "--parts", "2"], ["runs", "ls", url]):
        ran = run_program(*command, **environment)
        assert (ran.status, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
        assert "needs the store" in ran.stderr
    assert len(proxy.requests) == sent
