"""Scenarios about answers that are broken, cut off, refused or missing."""

from __future__ import annotations

import signal
import time

from peers_matrix.stage import KEY, MIB, Ran, Stage, body, some

from tests.support.faults import Fault, Flip, Hang, ResetBefore, Slowdown, Truncate, on
from tests.support.request import Request

_BODIES = on("GET", key=f"^{KEY}/")


def _arrived(stage: Stage, name: str, wanted: bytes, ran: Ran, before: bytes | None = None) -> str:
    """What lies under the final name afterwards."""
    found = stage.files().get(name)
    if found == wanted:
        return f"whole, {ran}"
    if found is None:
        left = stage.names()
        return f"no file, {ran}" + (f", leaves {some(left)}" if left else "")
    if found == before:
        return f"old file kept, {ran}"
    if len(found) == len(wanted):
        wrong = sum(a != b for a, b in zip(found, wanted, strict=True))
        return f"**wrong content** ({wrong:,} bytes), {ran}"
    return f"**{len(found) / MIB:.1f} of {len(wanted) / MIB:.1f} MiB** under the final name, {ran}"


def cut_once(stage: Stage) -> str:
    wanted = body(1, 2 * MIB)
    stage.put("a", wanted)
    stage.proxy.inject(Truncate(match=_BODIES, times=1))
    return _arrived(stage, "a", wanted, stage.down())


def cut_always(stage: Stage) -> str:
    old, wanted = body(1, 2 * MIB), body(2, 3 * MIB)
    stage.put("a", old)
    stage.down()
    time.sleep(1.1)
    stage.put("a", wanted)
    stage.proxy.inject(Truncate(match=_BODIES))
    return _arrived(stage, "a", wanted, stage.down(), old)


def _flipped(stage: Stage, size_bytes: int, times: int | None) -> str:
    """The tool itself uploads the object, so that it may store what checksums it likes; then it downloads it."""
    wanted = body(3, size_bytes)
    path = stage.write("a", wanted)
    stage.up()
    path.unlink()
    stage.proxy.inject(Flip(match=_BODIES, times=times))
    return _arrived(stage, "a", wanted, stage.down())


def flipped_small_once(stage: Stage) -> str:
    return _flipped(stage, MIB, 1)


def flipped_small_always(stage: Stage) -> str:
    return _flipped(stage, MIB, None)


def flipped_large_once(stage: Stage) -> str:
    return _flipped(stage, 24 * MIB, 1)


def _storm(stage: Stage, fault: Fault) -> str:
    stage.fill(300, 100)
    stage.proxy.inject(fault)
    ran = stage.down()
    return f"{_whole(stage, 100)} of 300 files, {ran}"


def _whole(stage: Stage, size_bytes: int) -> int:
    return sum(content == body(int(name), size_bytes) for name, content in stage.files().items() if name.isdigit())


def busy_store(stage: Stage) -> str:
    return _storm(stage, Slowdown(0.1))


def resets(stage: Stage) -> str:
    return _storm(stage, ResetBefore(0.1))


def one_hangs(stage: Stage) -> str:
    stage.fill(5)
    stage.proxy.inject(Hang(match=_BODIES, times=1))
    ran = stage.down()
    return f"{_whole(stage, 3)} of 5 files, {ran}" + (f" after {ran.seconds:.0f} s" if ran.status is not None else "")


def replaced_while_read(stage: Stage) -> str:
    old, new = body(4, 64 * MIB), body(5, 64 * MIB)
    stage.put("a", old)
    seen = 0

    def replaced(request: Request) -> bool:
        nonlocal seen
        seen += _BODIES(request)
        if seen == 2 and _BODIES(request):
            stage.put("a", new)
        return False

    stage.proxy.inject(Fault(match=replaced))
    ran = stage.down()
    found = stage.files().get("a")
    if found == new:
        return f"the newer version, {ran}"
    if found == old:
        return f"the older version, {ran}"
    if found is not None and len(found) == len(new):
        return f"**a mixture of both**, {ran}"
    return f"no file, {ran}" if found is None else f"**{len(found) / MIB:.0f} of 64 MiB**, {ran}"


def ctrl_c(stage: Stage) -> str:
    stage.fill(5)
    stage.proxy.inject(Hang(match=_BODIES, times=None))
    program = stage.start("down")
    stage.eventually(lambda: stage.proxy.count("GET") > 0, program)
    time.sleep(0.5)
    stage.signal(program, signal.SIGINT)
    ran = stage.finish(program, 30)
    left = stage.names() if stage.local.exists() else set()
    ended = f"ends after {ran.seconds:.1f} s" if ran.status is not None else f"{ran}"
    return f"{ended}, leaves {some(left) if left else 'nothing'}"


def killed_download(stage: Stage) -> str:
    """SIGKILL when the first megabytes have arrived, and something of them is on the disk."""
    wanted = body(6, 96 * MIB)
    stage.put("a", wanted)
    program = stage.start("down")

    def is_under_way() -> bool:
        arrived = sum(request.received for request in stage.proxy.requests)
        return arrived > 4 * MIB and any(path.stat().st_size for path in stage.local.rglob("*") if path.is_file())

    stage.eventually(is_under_way, program)
    stage.signal(program, signal.SIGKILL)
    stage.finish(program)
    found = stage.files() if stage.local.exists() else {}
    if not found:
        return "nothing left"
    if "a" not in found:
        return f"as {some(set(found))}"
    if found["a"] == wanted:
        return "came too late, the file is whole"
    return "**under the final name**, " + ("full length with holes" if len(found["a"]) == len(wanted) else "cut off")


def killed_download_then_upload(stage: Stage) -> str:
    left = killed_download(stage)
    if not stage.names() or "whole" in left:
        return left
    stage.server.delete(stage.bucket, f"{KEY}/a")
    stage.put("other", b"1")
    stage.write("other", b"1")
    ran = stage.up()
    uploaded = stage.objects() - {"other"}
    return (f"**uploads {some(uploaded)}**" if uploaded else "left out") + f", {ran}"


def _unfinished(stage: Stage) -> str:
    """The parts of an upload that nobody completes cost money until somebody aborts it."""
    uploads = len(stage.server.uploads(stage.bucket))
    return f"{uploads or 'no'} unfinished upload"


def killed_upload(stage: Stage) -> str:
    stage.write("a", body(7, 64 * MIB))
    program = stage.start("up")
    stage.eventually(lambda: sum(request.sent for request in stage.proxy.requests) > 20 * MIB, program)
    stage.signal(program, signal.SIGKILL)
    stage.finish(program)
    time.sleep(1)
    return f"{'object there' if 'a' in stage.objects() else 'no object'}, {_unfinished(stage)}"


def interrupted_upload(stage: Stage) -> str:
    stage.write("a", body(7, 64 * MIB))
    program = stage.start("up")
    stage.eventually(lambda: sum(request.sent for request in stage.proxy.requests) > 20 * MIB, program)
    stage.signal(program, signal.SIGINT)
    ran = stage.finish(program, 30)
    return f"{_unfinished(stage)}, {ran} after {ran.seconds:.1f} s"
