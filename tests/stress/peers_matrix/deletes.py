"""Scenarios about deletes and about what counts as changed."""

from __future__ import annotations

import os
import time

from peers_matrix.stage import KEY, Ran, Stage

from tests.support.faults import FailPage, Status, on


def _lost(before: set[str], after: set[str], ran: Ran, what: str) -> str:
    gone = before - after
    return f"**deleted {len(gone)} {what}**, {ran}" if gone else f"kept, {ran}"


def mistyped_source(stage: Stage) -> str:
    stage.fill(3)
    stage.down()
    before = stage.names()
    ran = stage.down("dtaa")
    return _lost(before, stage.names(), ran, "files")


def missing_bucket(stage: Stage) -> str:
    stage.fill(3)
    stage.down()
    before, bucket = stage.names(), stage.bucket
    stage.bucket = "peers-no-such-bucket"
    try:
        ran = stage.down()
    finally:
        stage.bucket = bucket
    return _lost(before, stage.names(), ran, "files")


def empty_local(stage: Stage) -> str:
    stage.fill(3)
    stage.local.mkdir()
    ran = stage.up()
    gone = 3 - len(stage.objects())
    return f"**deleted {gone} objects**, {ran}" if gone else f"kept, {ran}"


def one_refused(stage: Stage) -> str:
    stage.fill(3)
    stage.down()
    stage.write("stale", b"only here")
    stage.put("00001", b"longer than before")
    stage.proxy.inject(Status(403, "AccessDenied", match=on("GET", "HEAD", key="00001")))
    ran = stage.down()
    return f"stale file {'kept' if 'stale' in stage.names() else '**deleted**'}, {ran}"


def second_page_fails(stage: Stage) -> str:
    stage.fill(1100)
    stage.down()
    before = stage.names()
    stage.proxy.inject(FailPage(page=2, status=403, error_code="AccessDenied"))
    ran = stage.down()
    return _lost(before, stage.names(), ran, "files")


def second_page_fails_up(stage: Stage) -> str:
    stage.fill(1100)
    stage.down()
    (stage.local / "00000").unlink()
    stage.proxy.inject(FailPage(page=2, status=403, error_code="AccessDenied"))
    ran = stage.up()
    return f"the object of the missing file {'kept' if len(stage.objects()) == 1100 else 'deleted already'}, {ran}"


def object_edited(stage: Stage) -> str:
    stage.put("a", b"old")
    stage.down()
    time.sleep(1.1)
    stage.put("a", b"new")
    ran = stage.down()
    return f"{'noticed' if stage.files().get('a') == b'new' else 'not noticed'}, {ran}"


def object_edited_older(stage: Stage) -> str:
    stage.put("a", b"old")
    stage.down()
    stage.put("a", b"new")
    late = time.time() + 3600
    os.utime(stage.local / "a", (late, late))
    ran = stage.down()
    return f"{'noticed' if stage.files().get('a') == b'new' else 'not noticed'}, {ran}"


def file_edited_older(stage: Stage) -> str:
    stage.put("a", b"old")
    stage.down()
    path = stage.write("a", b"new")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    ran = stage.up()
    return f"{'noticed' if stage.content('a') == b'new' else 'not noticed'}, {ran}"


def unchanged_rerun(stage: Stage) -> str:
    stage.fill(20)
    stage.down()
    stage.proxy.clear()
    ran = stage.down()
    bodies = sum(1 for request in stage.proxy.requests if request.kind == "GET" and request.key.startswith(f"{KEY}/"))
    return f"{bodies} of 20 bodies moved again, {ran}"
