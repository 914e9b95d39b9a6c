"""What a killed process had registered for upload is not lost: the journal, ``pos3.recover`` and ``pos3 recover``."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import Hang, Latency, Proxy, S3Site, Status, contents, on
from tests.support.program import ROOT, run_program

PutBefore = Callable[..., Proxy]

SCRIPT = """
import os, signal, sys, time
import pos3
url, cache, body = sys.argv[1:]
with pos3.mirror(cache, show_progress=False):
    exec(body)
    print("ready", flush=True)
    signal.pause()
"""
WRITES = 'out = pos3.upload(f"{url}/out", interval=None); (out / "new").write_text("new")'


@contextlib.contextmanager
def started(site: S3Site, cache: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs ``body`` in a mirror; it is killed at the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, site.url(), str(cache), body],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()


def kill_after(site: S3Site, cache: Path, body: str = WRITES) -> None:
    with started(site, cache, body) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"


def recover(cache: Path, **options: Any) -> list[pos3.Recovered]:
    return pos3.recover(cache, show_progress=False, **options)


def journals(cache: Path) -> list[Path]:
    return sorted((cache / ".pos3" / "journal").glob("*"))


def edit_head(cache: Path, **changes: object) -> None:
    (path,) = journals(cache)
    head, *lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([json.dumps({**json.loads(head), **changes}) + "\n", *lines]))


def test_what_a_killed_process_left_is_pushed_and_nothing_is_deleted(s3: S3Site, tmp_path: Path) -> None:
    before = {"out/stale": b"stale", "ckpt/kept": b"1", "ckpt/changed": b"1", "ckpt/gone": b"1"}
    s3.put_all(before)
    body = f"""{WRITES}
ckpt = pos3.sync(f"{{url}}/ckpt")
(ckpt / "changed").write_text("22")
(ckpt / "gone").unlink()
"""
    kill_after(s3, tmp_path, body)
    assert s3.objects() == before

    found = recover(tmp_path)
    assert [(item.url, item.outcome) for item in found] == [(s3.url("out"), "pushed"), (s3.url("ckpt"), "pushed")]
    assert [item.report.uploaded_files for item in found] == [1, 1]
    assert s3.objects() == before | {"out/new": b"new", "ckpt/changed": b"22"}
    assert journals(tmp_path) == []
    assert recover(tmp_path) == []


def test_recovery_does_not_push_what_upload_exclude_hides(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"ckpt/a.lock": b"theirs", "ckpt/b": b"1"})
    body = """
ckpt = pos3.sync(f"{url}/ckpt", exclude="raw", upload_exclude=["*.lock"])
for name in ("a.lock", "new.lock", "new", "raw"):
    (ckpt / name).write_text(name)
"""
    kill_after(s3, tmp_path, body)
    assert [item.outcome for item in recover(tmp_path)] == ["pushed"]
    assert s3.objects("ckpt/") == {"a.lock": b"theirs", "b": b"1", "new": b"new", "raw": b"raw"}


def test_a_journal_of_an_earlier_version_is_recovered(s3: S3Site, tmp_path: Path) -> None:
    body = 'out = pos3.upload(f"{url}/out", interval=None, overwrite=["*.json"]); (out / "new").write_text("new")'
    kill_after(s3, tmp_path, body)
    (path,) = journals(tmp_path)
    edit_head(tmp_path, version=1)
    head, line = path.read_text().splitlines()
    record = json.loads(line)
    # It had another name for that, and took every pattern.
    record["interval_seconds"] = record.pop("interval")
    record |= {"overwrite": ["state/", "../x"], "exclude": ["./*.log", "a//b", "~/x"]}
    path.write_text(f"{head}\n{json.dumps(record)}\n")
    assert [item.outcome for item in recover(tmp_path)] == ["pushed"]
    assert s3.objects("out/") == {"new": b"new"}


def test_the_command_plans_pushes_and_says_what_it_did(rclone_site: S3Site, tmp_path: Path) -> None:
    kill_after(rclone_site, tmp_path)
    local, url = f"{tmp_path}/_/{rclone_site.bucket}/out", rclone_site.url("out")

    planned = run_program("recover", "-n", "--cache-root", tmp_path)
    assert (planned.status, planned.lines) == (0, [f"upload: {local}/new to {url}/new  (new)"])
    assert rclone_site.objects() == {}

    ran = run_program("recover", "--cache-root", tmp_path)
    assert ran.status == 0
    assert ran.stdout.startswith(f"recovered: {local} to {url}  (1 uploaded (3 B)")
    assert rclone_site.objects() == {"out/new": b"new"}
    again = run_program("recover", "--cache-root", tmp_path)
    assert (again.status, again.stdout, again.stderr) == (0, "", "pos3 recover: nothing was left\n")


def test_what_fails_is_told_and_stays_for_another_try(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    kill_after(rclone_site, tmp_path, f'{WRITES}; (pos3.upload(f"{{url}}/log") / "line").write_text("line")')
    proxy = proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="out/")))

    ran = run_program("recover", "--cache-root", tmp_path, "--json")
    assert ran.status == 1
    assert [(item["url"], item["outcome"]) for item in ran.objects] == [
        (rclone_site.url("out"), "failed"),
        (rclone_site.url("log"), "pushed"),
    ]
    assert "out/new" in ran.stderr
    assert "Traceback" not in ran.stderr

    proxy.inject()
    assert [(item.url, item.outcome) for item in recover(tmp_path)] == [(rclone_site.url("out"), "pushed")]
    assert rclone_site.objects() == {"out/new": b"new", "log/line": b"line"}
    assert journals(tmp_path) == []


@pytest.mark.parametrize("ending", [None, RuntimeError(), KeyboardInterrupt()], ids=["clean", "error", "interrupt"])
def test_a_mirror_that_ends_leaves_no_journal(
    rclone_site: S3Site, tmp_path: Path, ending: BaseException | None
) -> None:
    with contextlib.suppress(type(ending) if ending else ()), pos3.mirror(tmp_path, show_progress=False):
        (pos3.upload(rclone_site.url("out")) / "new").write_text("new")
        assert len(journals(tmp_path)) == 1
        if ending is not None:
            raise ending
    assert journals(tmp_path) == []


def test_a_mirror_that_only_downloads_has_no_journal(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"a")
    with pos3.mirror(tmp_path, show_progress=False):
        pos3.download(rclone_site.url("data"))
        assert journals(tmp_path) == []


def test_a_final_push_that_failed_can_be_made_up_for(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="out/")))
    with pytest.raises(pos3.TransferError), pos3.mirror(tmp_path, show_progress=False):  # noqa: PT012
        (pos3.upload(rclone_site.url("out")) / "new").write_text("new")
        (pos3.upload(rclone_site.url("log")) / "line").write_text("line")
    proxy.inject()
    assert [(item.url, item.outcome) for item in recover(tmp_path)] == [(rclone_site.url("out"), "pushed")]
    assert rclone_site.objects() == {"out/new": b"new", "log/line": b"line"}


def test_what_living_processes_have_registered_is_left_alone(rclone_site: S3Site, tmp_path: Path) -> None:
    with (
        started(rclone_site, tmp_path, WRITES) as child,
        contextlib.suppress(RuntimeError),
        pos3.mirror(tmp_path, show_progress=False),
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        (pos3.upload(rclone_site.url("here"), interval=None) / "file").write_text("x")
        assert len(journals(tmp_path)) == 2
        assert recover(tmp_path) == []
        assert run_program("recover", "--cache-root", tmp_path).stdout == ""
        assert rclone_site.objects() == {}
        assert len(journals(tmp_path)) == 2
        raise RuntimeError


def test_a_forked_child_that_outlives_its_parent_does_not_hold_the_journal(rclone_site: S3Site, tmp_path: Path) -> None:
    body = f"""{WRITES}
if not (forked := os.fork()):
    os.close(1)
    time.sleep(60)
    os._exit(0)
open(cache + "/forked", "w").write(str(forked))
"""
    kill_after(rclone_site, tmp_path, body)
    try:
        assert [item.outcome for item in recover(tmp_path)] == ["pushed"]
    finally:
        os.kill(int((tmp_path / "forked").read_text()), signal.SIGKILL)


def test_two_recoveries_at_once_push_once(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    kill_after(rclone_site, tmp_path)
    proxy = proxied(rclone_site, Latency(seconds=1.0, match=on("PUT")))
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: recover(tmp_path), range(2)))
    assert sorted(len(outcomes) for outcomes in found) == [0, 1]
    assert proxy.count("PUT") == 1
    assert journals(tmp_path) == []


def test_a_journal_that_ends_just_before_it_is_taken_is_not_recovered(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after(rclone_site, tmp_path)
    (path,) = journals(tmp_path)
    really_lock = fcntl.flock

    def lock_too_late(descriptor: int, operation: int) -> None:
        path.unlink(missing_ok=True)
        really_lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    assert recover(tmp_path) == []
    assert rclone_site.objects() == {}


# What others have written since


@pytest.mark.parametrize(
    ("age_seconds", "content"),
    [pytest.param(100, b"theirs", id="theirs is newer"), pytest.param(-100, b"mine", id="mine is newer")],
)
def test_an_object_of_another_writer_stays_if_it_is_newer_than_the_file(
    s3: S3Site, tmp_path: Path, age_seconds: int, content: bytes
) -> None:
    body = 'out = pos3.upload(f"{url}/out", interval=None); (out / "new").write_text("mine")'
    kill_after(s3, tmp_path, body)
    s3.put("out/new", b"theirs")
    when = time.time() - age_seconds
    os.utime(tmp_path / "_" / s3.bucket / "out" / "new", (when, when))
    (found,) = recover(tmp_path)
    assert s3.objects() == {"out/new": content}
    assert [kept.path for kept in found.report.kept] == (["new"] if content == b"theirs" else [])


def test_clocks_that_differ_are_taken_into_account(rclone_site: S3Site, tmp_path: Path) -> None:
    kill_after(rclone_site, tmp_path)
    rclone_site.put("out/new", b"theirs")
    when = time.time() + 3000
    os.utime(tmp_path / "_" / rclone_site.bucket / "out" / "new", (when, when))
    (path,) = journals(tmp_path)
    head, line = path.read_text().splitlines()
    path.write_text(f"{head}\n{json.dumps({**json.loads(line), 'clock_ahead_seconds': 3600})}\n")
    recover(tmp_path)
    assert rclone_site.objects() == {"out/new": b"theirs"}


def test_a_synced_file_never_replaces_what_came_to_the_store_later(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({"ckpt/step": b"1", "ckpt/other": b"1"})
    kill_after(rclone_site, tmp_path, 'ckpt = pos3.sync(f"{url}/ckpt"); (ckpt / "other").write_text("2")')
    rclone_site.put("ckpt/step", b"9")
    (found,) = recover(tmp_path)
    assert rclone_site.objects() == {"ckpt/step": b"9", "ckpt/other": b"2"}
    assert [kept.path for kept in found.report.kept] == ["step"]


def test_what_was_sent_but_not_noted_is_neither_sent_again_nor_called_anothers(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put("ckpt/step", b"1")
    kill_after(rclone_site, tmp_path, 'ckpt = pos3.sync(f"{url}/ckpt"); (ckpt / "step").write_text("2")')
    rclone_site.put("ckpt/step", b"2")
    proxy = proxied(rclone_site)
    (found,) = recover(tmp_path)
    assert (found.outcome, found.report.kept, found.report.unchanged) == ("pushed", (), 1)
    assert proxy.count("PUT") == 0


def test_what_an_unfinished_download_left_is_never_pushed(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put_all({"ckpt/a": b"old", "ckpt/b": b"old"})
    with pos3.mirror(tmp_path, show_progress=False):
        pos3.download(rclone_site.url("ckpt"))
    later = {"ckpt/a": b"newer", "ckpt/b": b"newer"}
    rclone_site.put_all(later)
    proxied(rclone_site, Hang(match=on("GET", key="ckpt/b")))
    local = tmp_path / "_" / rclone_site.bucket / "ckpt"
    with started(rclone_site, tmp_path, 'pos3.sync(f"{url}/ckpt")'):
        deadline = time.monotonic() + 60
        while (local / "a").read_bytes() != b"newer":
            assert time.monotonic() < deadline, "the download did not begin"
            time.sleep(0.05)
    assert contents(local) == {"a": b"newer", "b": b"old"}
    assert recover(tmp_path) == []
    assert rclone_site.objects() == later


# Profiles and secrets


PROFILE = """
from pos3 import Profile
keys = dict(access_key=os.environ.pop("AWS_ACCESS_KEY_ID"), secret_key=os.environ.pop("AWS_SECRET_ACCESS_KEY"))
endpoint = os.environ.pop("AWS_ENDPOINT_URL")
"""


def test_keys_that_were_only_in_memory_are_not_written_down_and_asked_for(rclone_site: S3Site, tmp_path: Path) -> None:
    server = rclone_site.server
    body = PROFILE + 'out = pos3.upload(f"{url}/out", profile=Profile("lab", endpoint, **keys))\n'
    kill_after(rclone_site, tmp_path, body + '(out / "new").write_text("new")')
    (path,) = journals(tmp_path)
    written = path.read_bytes()
    assert server.access_key.encode() not in written
    assert server.secret_key.encode() not in written
    assert path.stat().st_mode & 0o777 == 0o600

    ran = run_program("recover", "--cache-root", tmp_path)
    assert ran.status == 1
    assert "with --profile" in ran.stderr
    elsewhere = pos3.Profile("lab", "http://127.0.0.1:9", False, None, "key", "secret")
    assert [item.outcome for item in recover(tmp_path, default_profile=elsewhere)] == ["failed"]
    assert rclone_site.objects() == {}

    right = pos3.Profile("any", server.endpoint_url, False, None, server.access_key, server.secret_key)
    found = recover(tmp_path, default_profile=right)
    assert [item.outcome for item in found] == ["pushed"]
    assert server.secret_key not in repr(found)
    assert rclone_site.objects() == {"out/new": b"new"}


@pytest.mark.parametrize("kind", ["in the file", "in code, without keys"])
def test_a_profile_is_found_again(rclone_site: S3Site, tmp_path: Path, isolated_home: Path, kind: str) -> None:
    endpoint = rclone_site.server.endpoint_url
    if kind == "in the file":
        (isolated_home / "profiles.toml").write_text(f'[profiles.lab]\nendpoint = "{endpoint}"\n')
        register = ""
    else:
        register = f'pos3.register_profile("lab", {endpoint!r}, local_name="elsewhere")\n'
    body = f'{register}out = pos3.upload(url.replace("//", "//lab@") + "/out"); (out / "new").write_text("new")'
    kill_after(rclone_site, tmp_path, body)
    os.environ.pop("AWS_ENDPOINT_URL")
    assert [item.outcome for item in recover(tmp_path)] == ["pushed"]
    assert rclone_site.objects() == {"out/new": b"new"}


def test_the_registrations_own_terms_apply(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    body = """
out = pos3.upload(f"{url}/out", exclude="*.tmp", upload_last="_DONE", follow_symlinks=False)
for name in ("_DONE", "a", "b.tmp", "z"):
    (out / name).write_text(name)
(out / "link").symlink_to("a")
"""
    kill_after(rclone_site, tmp_path, body)
    proxy = proxied(rclone_site)
    recover(tmp_path)
    sent = [request.key for request in proxy.requests if request.kind == "PUT"]
    assert (sorted(sent), sent[-1]) == (["out/_DONE", "out/a", "out/z"], "out/_DONE")


# Journals that are of no use


def test_a_local_side_that_is_gone_is_dropped(rclone_site: S3Site, tmp_path: Path) -> None:
    local = tmp_path / "explicit"
    kill_after(rclone_site, tmp_path / "cache", f'pos3.upload(f"{{url}}/out", {str(local)!r})')
    local.rmdir()
    ran = run_program("recover", "--cache-root", tmp_path / "cache")
    assert (ran.status, ran.stdout) == (
        0,
        f"dropped: {local} to {rclone_site.url('out')}  (nothing is there locally any more)\n",
    )
    assert journals(tmp_path / "cache") == []


@pytest.mark.parametrize("content", ["", "no json\n", "[1]\n", '{"version": 1}\n', "\xff\n"])
def test_a_broken_journal_is_one_warning_and_does_not_keep_the_others_from_theirs(
    rclone_site: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    directory = tmp_path / ".pos3" / "journal"
    with pos3.mirror(tmp_path, show_progress=False):
        pos3.upload(rclone_site.url("out"))
        (directory / "0.jsonl").write_text(content, encoding="latin-1")
        assert recover(tmp_path) == recover(tmp_path) == []
        (message,) = [record.message for record in caplog.records]
        assert "0.jsonl is broken" in message
    assert [path.name.rpartition("-")[0] for path in journals(tmp_path)] == ["0.jsonl.broken"]


def test_a_journal_of_another_version_is_left_as_it_is(
    rclone_site: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kill_after(rclone_site, tmp_path)
    edit_head(tmp_path, version=3)
    assert recover(tmp_path) == []
    assert "another version" in caplog.text
    edit_head(tmp_path, version=2)
    assert [item.outcome for item in recover(tmp_path)] == ["pushed"]


def test_a_registration_that_was_being_written_down_when_the_power_went_does_no_harm(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    kill_after(rclone_site, tmp_path)
    (path,) = journals(tmp_path)
    with path.open("a") as file:
        file.write('{"kind": "upl')
    assert [item.outcome for item in recover(tmp_path)] == ["pushed"]


@pytest.mark.parametrize(
    ("changes", "silent_seconds", "is_left"),
    [
        pytest.param({}, 0, False, id="this process"),
        pytest.param({"pid": 2**22 + 1}, 0, True, id="a dead process"),
        pytest.param({"boot": "another"}, 0, True, id="before the last boot"),
        pytest.param({"host": "another"}, 60, False, id="another host"),
        pytest.param({"host": "another"}, 30 * 86400, True, id="another host, long ago"),
    ],
)
def test_without_locks_host_and_pid_decide(
    rclone_site: S3Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    silent_seconds: float,
    is_left: bool,
) -> None:
    really_lock = fcntl.flock

    def without_journals(descriptor: int, operation: int) -> None:
        if "/journal/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOLCK, "no locks")
        really_lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", without_journals)
    with pos3.mirror(tmp_path, show_progress=False):
        (pos3.upload(rclone_site.url("out")) / "new").write_text("new")
        edit_head(tmp_path, **changes)
        when = time.time() - silent_seconds
        os.utime(journals(tmp_path)[0], (when, when))
        assert [item.outcome for item in recover(tmp_path)] == (["pushed"] if is_left else [])
        assert bool(rclone_site.objects()) == is_left


# Beside other mirrors of the same cache


def test_a_later_push_of_the_same_place_settles_what_was_left(rclone_site: S3Site, tmp_path: Path) -> None:
    kill_after(rclone_site, tmp_path, f'{WRITES}; (pos3.upload(f"{{url}}/log") / "line").write_text("line")')
    with contextlib.suppress(RuntimeError), pos3.mirror(tmp_path, show_progress=False):
        pos3.upload(rclone_site.url("out"))
        raise RuntimeError
    with pos3.mirror(tmp_path, show_progress=False):
        pos3.upload(rclone_site.url("out"), exclude="n*")
    assert [item.url for item in recover(tmp_path, dry_run=True)] == [rclone_site.url("out"), rclone_site.url("log")]
    with pos3.mirror(tmp_path, show_progress=False):
        pos3.upload(rclone_site.url("out"))
    assert rclone_site.objects() == {"out/new": b"new"}
    assert [item.url for item in recover(tmp_path, dry_run=True)] == [rclone_site.url("log")]


def test_what_was_left_is_not_evicted_from_the_cache(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({"set/a": b"a", "old/a": b"a"})
    with pos3.mirror(tmp_path, show_progress=False):
        pos3.download(rclone_site.url())
        pos3.download(rclone_site.url("old"))
    kill_after(rclone_site, tmp_path)
    with pos3.mirror(tmp_path, show_progress=False, cache_limit=0):
        pass
    assert [item.outcome for item in recover(tmp_path)] == ["pushed"]
    assert rclone_site.get("out/new") == b"new"


def test_only_what_has_the_label_is_pushed(rclone_site: S3Site, tmp_path: Path) -> None:
    kill_after(rclone_site, tmp_path)
    edit_head(tmp_path, label="run 1")
    assert recover(tmp_path, label="run 2") == []
    (found,) = recover(tmp_path, label="run 1")
    assert (found.outcome, found.label) == ("pushed", "run 1")


def test_bad_options_change_nothing(rclone_site: S3Site, tmp_path: Path) -> None:
    kill_after(rclone_site, tmp_path)
    with pytest.raises(pos3.ProfileError, match="nowhere"):
        recover(tmp_path, default_profile="nowhere")
    ran = run_program("recover", "--cache-root", tmp_path, "--profile", "nowhere")
    assert (ran.status, ran.stdout) == (1, "")
    assert len(journals(tmp_path)) == 1
