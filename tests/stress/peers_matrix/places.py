"""Scenarios about keys that are no paths, and about what lies on the local side."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from pathlib import Path

from peers_matrix.stage import MIB, Stage, body, loud, some

from tests.support.faults import Latency
from tests.support.request import Request


def parent_keys(stage: Stage) -> str:
    stage.put("good", b"1")
    stage.put("../../evil", b"evil")
    before = {path for path in stage.home.rglob("*") if path.is_file()}
    ran = stage.down()
    evil = [path for path in {*stage.home.rglob("evil"), *stage.home.parent.glob("evil")} - before if path.is_file()]
    outside = [path for path in evil if stage.local not in path.parents]
    for path in outside:
        path.unlink()
    if outside:
        return f"**written outside**, {ran}"
    return f"{'written elsewhere inside' if evil else 'not written'}, {ran}"


def file_and_directory(stage: Stage) -> str:
    stage.put("a", b"1")
    stage.put("a/b", b"2")
    stage.put("c", b"3")
    ran = stage.down()
    found = stage.files()
    arrived = sum(found.get(name) == content for name, content in (("a", b"1"), ("a/b", b"2"), ("c", b"3")))
    return loud(f"{arrived} of 3 files", arrived < 3 and ran.status == 0) + f", {ran}"


def marker_with_content(stage: Stage) -> str:
    stage.put("d/", b"content")
    stage.put("d/x", b"1")
    ran = stage.down()
    kept = b"content" in stage.files().values()
    told = loud("content kept" if kept else "content left out", not kept and ran.status == 0)
    return f"{told}, {some(stage.names()) or 'nothing'} arrives, {ran}"


def link_in_the_way(stage: Stage) -> str:
    stage.outside.mkdir()
    (stage.outside / "b").write_bytes(b"mine")
    stage.put("sub/b", b"one")
    stage.down()
    (stage.local / "sub" / "b").unlink()
    (stage.local / "sub").rmdir()
    (stage.local / "sub").symlink_to(stage.outside)
    time.sleep(1.1)
    stage.put("sub/b", b"newer")
    ran = stage.down()
    wrote = (stage.outside / "b").read_bytes() != b"mine"
    return f"**written through the link**, {ran}" if wrote else f"not written through it, {ran}"


def file_rewritten(stage: Stage) -> str:
    """The file is rewritten in place, with the same size, when its first part is on its way and the others wait."""
    old, new = b"a" * (64 * MIB), b"b" * (64 * MIB)
    path = stage.write("a", old)

    def later_parts(request: Request) -> bool:
        return request.kind == "PUT ?partNumber" and request.query["partNumber"] != "1"

    stage.proxy.inject(Latency(match=later_parts, seconds=1))
    program = stage.start("up")
    stage.eventually(lambda: any(request.sent > 2 * MIB for request in stage.proxy.requests), program)
    with path.open("r+b") as file:
        file.write(new)
    ran = stage.finish(program)
    if "a" not in stage.objects():
        return f"no object, {ran}"
    stored = set(stage.content("a"))
    if len(stored) > 1:
        return f"**a mixture of both states**, {ran}"
    return f"the {'newer' if stored == {ord('b')} else 'older'} state, {ran}"


def broken_link_up(stage: Stage) -> str:
    stage.put("a", b"precious")
    stage.put("b", b"1")
    stage.write("b", b"1")
    (stage.local / "a").symlink_to(stage.home / "gone")
    ran = stage.up()
    return f"the link's object {'kept' if 'a' in stage.objects() else '**deleted**'}, {ran}"


def fifo_up(stage: Stage) -> str:
    stage.write("a", b"1")
    os.mkfifo(stage.local / "pipe")
    ran = stage.finish(stage.start("up"), 15)
    return f"uploads {'the rest' if 'a' in stage.objects() else 'nothing'}, {ran}"


@contextlib.contextmanager
def _small_disk(directory: Path) -> object:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def disk_full(stage: Stage) -> str:
    """A file of 1 MiB is to become one of 8 MiB, on a disk of 6 MiB."""
    if os.geteuid():
        return "not tried: needs root"
    old = body(8, MIB)
    with _small_disk(stage.local):
        stage.put("a", old)
        stage.down()
        time.sleep(1.1)
        stage.put("a", body(9, 8 * MIB))
        ran = stage.down()
        found = stage.files()
    if found.get("a") == old:
        rest = set(found) - {"a"}
        return f"old file kept, {ran}" + (f", leaves {some(rest)}" if rest else "")
    state = f"**{len(found['a']) / MIB:.1f} of 8 MiB under the final name**" if "a" in found else "**old file lost**"
    return f"{state}, {ran}"


def reader(stage: Stage) -> str:
    """A file is replaced, while somebody reads it again and again."""
    old, new = b"a" * (8 * MIB), b"b" * (8 * MIB)
    stage.put("a", old)
    stage.down()
    time.sleep(1.1)
    stage.put("a", new)
    seen: set[str] = set()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                found = (stage.local / "a").read_bytes()
            except FileNotFoundError:
                seen.add("no file")
                continue
            kinds = set(found)
            seen.add("old or new" if len(found) == len(new) and len(kinds) == 1 else "**parts**")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        ran = stage.down()
    finally:
        over.set()
        thread.join()
    return f"sees {' and '.join(sorted(seen))}, {ran}"
