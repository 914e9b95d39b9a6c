"""The lines of a log that tell how far a transfer is."""

from __future__ import annotations

import logging

import pytest

from pos3.transfer.progress import LogProgress
from tests.support.clock import Clock


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pos3")
    clock = Clock()
    progress = LogProgress("Downloading s3://bucket/x", 10, 10_000, clock)
    for _ in range(30):
        clock.now += 1
        progress.moved(100)
    progress.finished_file()
    assert len(caplog.records) == 3
    progress.close()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    assert lines[-1] == "Downloading s3://bucket/x: 1/10 files, 2.9 KiB of 9.8 KiB, 100 B/s"


def test_what_grows_while_it_is_uploaded_is_never_more_than_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pos3")
    clock = Clock()
    progress = LogProgress("Uploading s3://bucket/x", 1, 1024, clock)
    clock.now += 2
    progress.moved(2048)
    progress.finished_file()
    progress.close()
    assert caplog.records[-1].getMessage() == "Uploading s3://bucket/x: 1/1 files, 2.0 KiB of 2.0 KiB, 1.0 KiB/s"


def test_a_short_transfer_leaves_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pos3")
    clock = Clock()
    progress = LogProgress("Downloading", 1, 1, clock)
    clock.now += 0.5
    progress.moved(1)
    progress.finished_file()
    progress.close()
    assert caplog.records == []
