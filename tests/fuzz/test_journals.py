"""Whatever stands in a journal: registrations that can be pushed, or one warning; never a crash, never a delete."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import pos3
from pos3.jobs.journal import abandoned_journals

on_one_cache = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
ODD = JSON | st.sampled_from(
    ["s3://bucket/x", "memory://b/x", "/gone", "x", "upload", "sync", 10**30, -1, float("nan")]
)


def a_journal() -> tuple[dict[str, Any], dict[str, Any]]:
    """The two lines of a good one, whose process is dead."""
    head = {"version": 1, "label": "", "host": os.uname().nodename, "pid": 2**22 + 1, "boot": "", "begun_at": 1.0}
    profile = {
        "name": "",
        "shown": {"local_name": "acme", "endpoint": "http://127.0.0.1:9", "public": True, "region": None},
        "held_keys": False,
    }
    record = {
        "kind": "upload", "url": "s3://bucket/x", "local": "/gone-x", "profile": profile, "include": [], "exclude": [],
        "compare": "auto", "upload_last": [], "overwrite": [], "follow_symlinks": True, "sync_on_error": False,
        "interval_seconds": None, "surveyed_at": 1.0, "clock_ahead_seconds": 0.0,
    }  # fmt: skip
    return {**head, "has_locks": True}, record


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / ".pos3" / "journal" / "x.jsonl"
    path.parent.mkdir(parents=True)
    return path


def recovered(journal: Path, content: bytes) -> list[pos3.Recovered]:
    """What recovery would do with the journal; it must not raise, and must promise no deletes."""
    for path in journal.parent.iterdir():
        path.unlink()
    journal.write_bytes(content)
    root = journal.parents[2]
    for orphan in abandoned_journals(str(root)):
        for entry in orphan.entries:
            assert not entry.registration.request.deletes_remote
            assert not entry.registration.request.deletes_local
            assert os.path.isabs(entry.registration.local)
    return pos3.recover(root, show_progress=False, dry_run=True)


def lines(*records: object) -> bytes:
    return "".join(f"{json.dumps(record)}\n" for record in records).encode()


@pytest.mark.parametrize("version", [1, 2])
def test_the_good_journal_is_read(journal: Path, version: int) -> None:
    head, record = a_journal()
    if version == 2:
        record["interval"] = record.pop("interval_seconds")
    (found,) = recovered(journal, lines(head | {"version": version}, record))
    assert (found.url, found.local, found.outcome) == ("s3://bucket/x", "/gone-x", "gone")


@given(st.binary(max_size=100) | st.lists(JSON, max_size=4).map(lambda records: lines(*records)))
@example(b"[" * 100_000 + b"\n")
@example(b'{"version": 1}\n')
@on_one_cache
def test_any_bytes_are_no_crash(journal: Path, content: bytes) -> None:
    assert recovered(journal, content) == []


@given(st.sampled_from(list(a_journal()[0])), ODD)
@example("pid", 10**30)
@example("pid", "x")
@on_one_cache
def test_an_odd_value_in_the_first_line_is_no_crash(journal: Path, name: str, value: object) -> None:
    head, record = a_journal()
    for has_locks in (True, False):
        for found in recovered(journal, lines({**head, "has_locks": has_locks, name: value}, record)):
            assert isinstance(found.begun_at, float | int)
            assert isinstance(found.host, str)


@given(st.sampled_from(list(a_journal()[1])), ODD)
@on_one_cache
def test_an_odd_value_in_a_registration_is_no_crash(journal: Path, name: str, value: object) -> None:
    head, record = a_journal()
    good = {**record, "url": "s3://bucket/good"}
    for found in recovered(journal, lines(head, {**record, name: value}, good)):
        assert found.outcome in ("gone", "failed", "planned")
        assert found.error is None or isinstance(found.error, pos3.Pos3Error)


@given(st.data())
@on_one_cache
def test_a_cut_journal_gives_its_whole_lines(journal: Path, data: st.DataObject) -> None:
    head, record = a_journal()
    content = lines(head, record, {**record, "url": "s3://bucket/y"})
    cut = data.draw(st.integers(0, len(content)))
    found = [each.url for each in recovered(journal, content[:cut])]
    assert found == ["s3://bucket/x", "s3://bucket/y"][: max(0, content[:cut].count(b"\n") - 1)]


@given(st.data())
@on_one_cache
def test_a_spoiled_journal_is_no_crash(journal: Path, data: st.DataObject) -> None:
    content = bytearray(lines(*a_journal()))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    recovered(journal, bytes(content))
