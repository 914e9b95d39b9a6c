"""What a mirror says: figures that add up, a bar on a terminal, lines in a log, or nothing."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pos3
from tests.support import (
    Fault,
    Flip,
    LateAnswer,
    Latency,
    Proxy,
    ResetAfter,
    S3Site,
    Status,
    Trickle,
    Truncate,
    on,
    write_tree,
)

PutBefore = Callable[..., Proxy]

figures = st.integers(0, 10**12)
kept = st.lists(st.builds(pos3.Kept, st.text("ab", max_size=2), st.just("why")), max_size=3).map(
    lambda items: tuple({item.path: item for item in items}.values())
)
reports = st.builds(
    pos3.Report,
    figures, figures, figures, figures, figures, figures, figures,
    st.integers(0, 1000).map(float),
    kept,
    st.lists(st.text("xy", max_size=2), max_size=3).map(tuple),
)  # fmt: skip


# -- registrations


def test_each_registration_has_its_own_share_and_failures_show_as_well(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    class Witness:
        def __init__(self) -> None:
            self.calls: list[tuple[str, str]] = []
            self.moved: list[tuple[str, str, int]] = []

        def registered(self, kind: str, url: str) -> None:
            self.calls.append((kind, url))

        def transferred(self, kind: str, url: str, report: pos3.Report) -> None:
            self.moved.append((kind, url, report.downloaded_files + report.uploaded_files))

    rclone_site.put_all({"data/a": b"12345", "data/b": b"1", "model.pt": b"weights"})
    data, model, out, bad, gone = (rclone_site.url(key) for key in ("data", "model.pt", "out", "bad", "gone"))
    seen = Witness()
    mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False), observer=seen).open()
    for url in (data, data, model):
        mirror.download(url)
    with pytest.raises(FileNotFoundError):
        mirror.download(gone)
    write_tree(mirror.upload(out, interval=None), {"x": b"123"})
    proxied(rclone_site, Status(code=403, error_code="AccessDenied", match=on("PUT", key="bad/*")))
    other = pos3.Profile("other", os.environ["AWS_ENDPOINT_URL"])
    write_tree(mirror.upload(bad, interval=None, profile=other), {"x": b"123", "y": b"4"})
    mirror.flush(out)
    mirror.flush(out)
    with pytest.raises(pos3.TransferError):
        mirror.flush(bad)

    shares = {item.url: item for item in mirror.registrations()}
    assert list(shares) == [data, model, out, bad, gone]
    assert [(item.kind, item.files, item.size_bytes) for item in shares.values()] == [
        ("download", 2, 6),
        ("download", 1, 7),
        ("upload", 1, 3),
        ("upload", 0, 0),
        ("download", 0, 0),
    ]
    assert shares[model].etag == rclone_site.keys()["model.pt"].etag
    assert {url for url, item in shares.items() if item.etag} == {model}
    assert {url for url, item in shares.items() if item.failure} == {bad, gone}
    assert len(shares[bad].report.failures) == 2
    assert {url: item.endpoint for url, item in shares.items() if item.endpoint} == {bad: other.endpoint}
    assert (
        sum((item.report for item in shares.values()), pos3.Report()).uploaded_bytes == mirror.report().uploaded_bytes
    )
    assert seen.calls == [("download", url) for url in (data, data, model)] + [("upload", out), ("upload", bad)]
    assert seen.moved == [("download", data, 2), ("download", model, 1), ("upload", out, 1), ("upload", bad, 0)]
    mirror.close(push=False)


def test_what_threads_of_a_mirror_log_leads_back_to_who_began_it(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    heard: list[tuple[str, str]] = []
    failed = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append((who.get(), threading.current_thread().name))
            failed.set()

    proxied(rclone_site, Status(code=403, error_code="AccessDenied", match=on("PUT")))
    listener = Listener()
    logging.getLogger("pos3").addHandler(listener)
    try:
        who.set("opener")
        mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False)).open()
        who.set("task")
        write_tree(mirror.upload(rclone_site.url("out"), interval=0.05), {"x": b"123"})
        assert failed.wait(60)
        mirror.close(push=False)
    finally:
        logging.getLogger("pos3").removeHandler(listener)
    assert set(heard) == {("opener", "pos3-push")}


# -- reports


@given(first=reports, second=reports, third=reports)
def test_reports_add_up_in_any_grouping_and_an_empty_one_changes_nothing(
    first: pos3.Report, second: pos3.Report, third: pos3.Report
) -> None:
    assert (first + second) + third == first + (second + third)
    assert first + pos3.Report() == first == pos3.Report() + first


@given(report=reports)
def test_a_report_can_be_written_as_json(report: pos3.Report) -> None:
    again = json.loads(json.dumps(report.as_dict()))
    assert set(again) == {field.name for field in dataclasses.fields(pos3.Report)}
    assert again["uploaded_bytes"] == report.uploaded_bytes


def test_a_report_counts_what_was_moved_deleted_kept_and_left(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"in/a": b"333", "in/b": b"55555", "both/same": b"1", "both/old": b"2"})
    cache = tmp_path / "cache"
    with pos3.mirror(cache, show_progress=False) as mirror:
        path = pos3.download(s3.url("in"))
        assert mirror.report() == pos3.report()
        report = pos3.report()
        assert (report.downloaded_files, report.downloaded_bytes) == (2, 8)
        assert not report.is_empty
    (path / "extra").write_bytes(b"1")
    with pos3.mirror(cache, show_progress=False) as mirror:
        pos3.download(s3.url("in"))
        both = pos3.sync(s3.url("both"))
        (both / "old").unlink()
        (both / "new").write_bytes(b"7777777")
        (both / "broken").symlink_to("nowhere")
    report = mirror.report()
    assert (report.downloaded_files, report.downloaded_bytes) == (2, 2)
    assert (report.uploaded_files, report.uploaded_bytes) == (1, 7)
    assert (report.deleted_local, report.deleted_remote) == (1, 1)
    assert report.unchanged >= 3
    assert [item.path for item in report.kept] == ["broken"]
    assert report.failures == ()
    assert report.duration_seconds > 0


@pytest.mark.parametrize("changed", [True, False], ids=["something-to-do", "nothing-to-do"])
def test_the_duration_of_a_transfer_begins_with_the_look_at_both_sides(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, changed: bool
) -> None:
    rclone_site.put("data/a", b"1")
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(rclone_site.url("data"))
    if changed:
        rclone_site.put("data/b", b"2")
    proxied(rclone_site, Latency(match=on("LIST"), seconds=0.4))
    with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
        began = time.monotonic()
        pos3.download(rclone_site.url("data"))
        took = time.monotonic() - began
        assert mirror.report().downloaded_files == changed
        assert 0.4 <= mirror.report().duration_seconds <= took


def test_a_report_names_what_failed(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put_all({"data/bad": b"1", "data/good": b"2"})
    proxied(s3, Status(403, "AccessDenied", match=on("GET", key="bad$")))
    with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
        with pytest.raises(pos3.TransferError):
            pos3.download(s3.url("data"))
        report = mirror.report()
    assert report.downloaded_files == 1
    assert len(report.failures) == 1
    assert "data/bad" in report.failures[0]


def test_a_report_reads_like_a_sentence() -> None:
    report = pos3.Report(downloaded_files=3, downloaded_bytes=1536, deleted_remote=1, duration_seconds=2)
    assert str(report) == "3 downloaded (1.5 KiB), 1 deleted remotely in 2.0 s"
    assert str(pos3.Report()).startswith("nothing to do")


# -- progress


def test_without_a_terminal_nothing_but_log_lines_appears(
    rclone_site: S3Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rclone_site.put("data/a", b"1")
    with pos3.mirror(tmp_path / "cache"):
        pos3.download(rclone_site.url("data"))
        write_tree(pos3.upload(rclone_site.url("up")), {"b": b"2"})
    assert capfd.readouterr() == ("", "")


MIB = 1 << 20


class Followed:
    """Remembers how far a transfer was after each step."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.states = [0]

    def open(self, _title: str, _files: int, _size_bytes: int) -> pos3.Progress:
        return self

    def moved(self, size_bytes: int) -> None:
        self.steps.append(size_bytes)
        self.states.append(self.states[-1] + size_bytes)

    def finished_file(self) -> None:
        pass

    def close(self) -> None:
        pass


def transfer_one(site: S3Site, place: Path, direction: str, size_bytes: int) -> Followed:
    """Moves one object or file of that size, and returns what was shown of it."""
    followed, data = Followed(), os.urandom(size_bytes)
    mirror = pos3.Mirror(pos3.MirrorOptions(place / "cache"), progress=followed.open).open()
    if direction == "download":
        site.put("x.bin", data)
        assert mirror.download(site.url("x.bin")).read_bytes() == data
    else:
        mirror.upload(site.url("x.bin"), interval=None).write_bytes(data)
    mirror.close()
    assert site.get("x.bin") == data
    return followed


@pytest.mark.parametrize(
    ("direction", "size_bytes"),
    [
        pytest.param("download", 12 * MIB, id="download in one request"),
        pytest.param("download", 20 * MIB, id="download in ranges"),
        pytest.param("upload", 7 * MIB, id="upload in one request"),
        pytest.param("upload", 20 * MIB, id="upload in parts"),
    ],
)
def test_the_progress_of_one_large_object_moves_with_its_bytes(
    rclone_site: S3Site, tmp_path: Path, direction: str, size_bytes: int
) -> None:
    followed = transfer_one(rclone_site, tmp_path, direction, size_bytes)
    assert max(followed.steps) <= MIB
    assert followed.states[-1] == size_bytes


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    ("direction", "size_bytes", "fault"),
    [
        pytest.param("download", 12 * MIB, Truncate(match=on("GET"), times=2), id="download in one request"),
        pytest.param("download", 20 * MIB, Truncate(match=on("GET"), times=3), id="download in ranges"),
        pytest.param("download", 20 * MIB, Flip(times=1), id="download that is not what was listed"),
        pytest.param("upload", 7 * MIB, ResetAfter(match=on("PUT"), times=1), id="upload in one request"),
        pytest.param("upload", 20 * MIB, ResetAfter(match=on("PUT ?partNumber"), times=2), id="upload in parts"),
    ],
)
def test_a_retry_takes_back_what_was_shown_and_nothing_is_shown_twice(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, direction: str, size_bytes: int, fault: Fault
) -> None:
    proxied(rclone_site, fault)
    followed = transfer_one(rclone_site, tmp_path, direction, size_bytes)
    assert fault.struck
    assert min(followed.steps) < 0
    assert 0 <= min(followed.states) <= max(followed.states) == followed.states[-1] == size_bytes


BOTH = """
import pos3, sys
with pos3.mirror(sys.argv[1], show_progress=sys.argv[3] == "yes"):
    pos3.download(sys.argv[2] + "/data")
    (pos3.upload(sys.argv[2] + "/up") / "b").write_bytes(b"2" * 100)
"""


def on_a_terminal(columns: int, script: str, *arguments: str) -> tuple[str, str]:
    """What a script shows on a terminal of so many columns by stderr, and its stdout."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (50, columns))
    try:
        command = [sys.executable, "-c", script, *arguments]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True)
        os.close(theirs)
        shown = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:
                break
            if not block:
                break
            shown += block
        out, _ = child.communicate(timeout=60)
    finally:
        os.close(ours)
    assert child.returncode == 0, shown
    return shown.decode(), out


@pytest.mark.parametrize("show", ["yes", "no"])
def test_a_terminal_gets_a_bar_on_stderr_unless_it_is_turned_off(
    rclone_site: S3Site, tmp_path: Path, show: str
) -> None:
    rclone_site.put("data/a", b"1" * 1000)
    shown, out = on_a_terminal(200, BOTH, str(tmp_path / "cache"), rclone_site.url(), show)
    assert out == ""
    if show == "yes":
        assert f"Downloading {rclone_site.url('data')}" in shown
        assert f"Uploading {rclone_site.url('up')}" in shown
    else:
        assert shown == ""


SLOW = """
import pos3, sys
with pos3.mirror(sys.argv[1]):
    pos3.download(sys.argv[2])
    (pos3.upload(sys.argv[2] + "/up", interval=None) / "b").write_bytes(b"2" * 100)
"""


@pytest.mark.parametrize("no_color", ["", "1"], ids=["any", "NO_COLOR"])
@pytest.mark.parametrize("columns", [40, 80, 200], ids=str)
def test_a_bar_is_one_line_with_its_figures_at_any_width_and_one_line_sums_up(
    rclone_site: S3Site,
    tmp_path: Path,
    proxied: PutBefore,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    no_color: str,
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    prefix = "a-directory-with-a-long-name/and-one-below-it"
    # The last file takes longer than the others, so that the bar is drawn again after these.
    rclone_site.put_all({f"{prefix}/{number:02}": b"1" * 5_000 * number for number in range(12)})
    proxied(rclone_site, Trickle(bytes_per_second=20_000))
    shown, _ = on_a_terminal(columns, SLOW, str(tmp_path / "cache"), rclone_site.url(prefix))
    *drawn, told, rest = re.split(r"\r\n|\r", shown)
    bars = [line.rstrip() for line in drawn if "%" in line]
    assert len(bars) > 2
    assert max(map(len, drawn)) < columns
    assert all(re.search(r"^Downloading.* +\d+%.*/s", line) for line in bars if line.startswith("Downloading")), bars
    assert any("12 files" in line for line in bars) == (columns > 40)
    assert "\x1b" not in shown
    assert re.fullmatch(r"pos3: s3://\S+: 1 uploaded \(100 B\)", told)
    assert rest == ""


def test_a_terminal_that_cannot_redraw_a_line_gets_no_bar(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    rclone_site.put("data/a", b"1" * 1000)
    shown, _ = on_a_terminal(80, BOTH, str(tmp_path / "cache"), rclone_site.url(), "yes")
    assert shown == ""


def test_a_log_line_stands_above_the_bar(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    rclone_site.put_all({f"data/{number}": b"1" * 9_000_000 for number in range(2)})
    proxied(rclone_site, LateAnswer(match=on("GET", key="data/1"), seconds=8))
    script = "import sys; from pos3.cli import main; sys.exit(main(sys.argv[1:]))"
    url, place = rclone_site.url("data"), tmp_path / "here"
    shown, _ = on_a_terminal(80, script, "download", url, "--local", str(place), "--max-workers", "1")
    [told] = [line for line in shown.split("\r") if "no answer for 5 s" in line]
    assert re.fullmatch(r"(\x1b\[A)?pos3 download: waiting for http://\S+: no answer for 5 s", told)


def test_a_pipe_gets_lines_and_no_carriage_return(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    rclone_site.put("data/a", b"1" * 90_000)
    proxied(rclone_site, Trickle(bytes_per_second=30_000))
    command = [sys.executable, "-m", "pos3.cli", "download", rclone_site.url("data"), "--local", str(tmp_path / "x")]
    ran = subprocess.run(command, capture_output=True, timeout=60)
    assert b"\r" not in ran.stderr
    progress, summary = ran.stderr.decode().splitlines()[-2:]
    assert re.fullmatch(r"pos3 download: Downloading s3://\S+: 1/1 files, 87.9 KiB of 87.9 KiB, .*/s", progress)
    assert re.fullmatch(r"pos3 download: 1 downloaded .*", summary)
