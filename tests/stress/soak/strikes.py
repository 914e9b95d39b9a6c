"""Processes that are killed or interrupted at a random moment of a download or an upload."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from soak import laws
from soak.contents import Tree, first_version, next_version, replace_tree
from soak.place import Corner

import pos3
from tests.support import Fault, Latency, Request

LONGEST_SECONDS = 60
INTERRUPTED_SECONDS = 10
NEXT_RUN_SECONDS = 20


@dataclass
class Watch(Fault):
    """Strikes nothing; tells when so many requests have come."""

    after: int = 0
    come: threading.Event = field(default_factory=threading.Event)

    def strikes(self, request: Request, dice: Any) -> bool:
        self.struck += 1
        if self.struck >= self.after:
            self.come.set()
        return False


@dataclass(frozen=True)
class Struck:
    """How the process ended, after how many seconds from the strike; ``status`` is negative for a signal."""

    status: int
    seconds: float
    kinds: dict[str, int]


def strike(corner: Corner, process: subprocess.Popen[bytes], number: signal.Signals, requests: int) -> Struck:
    """Sends the signal after one of the requests that the work is expected to take, or a moment later."""
    dice = corner.dice
    # The time after the last request is as long as that of many: files are renamed, and the index is written.
    after = dice.randrange(1, requests + 1) if dice.random() < 0.75 else requests
    watch = Watch(after=after)
    corner.proxy.clear()
    corner.inject(watch, Latency(seconds=dice.choice([0.001, 0.003, 0.01])))
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + LONGEST_SECONDS
        while not watch.come.wait(0.05) and process.poll() is None and time.monotonic() < deadline:
            pass
        time.sleep(dice.choice([0, dice.uniform(0, 0.01), dice.uniform(0, 0.06)]))
        struck_at = time.monotonic()
        process.send_signal(number)
        try:
            process.wait(LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        seconds = time.monotonic() - struck_at
    corner.proxy.settle()
    kinds = corner.proxy.kinds
    corner.inject()
    return Struck(process.returncode, seconds, kinds)


def check_end(corner: Corner, struck: Struck, number: signal.Signals) -> bool:
    """Whether the signal hit; an interrupted process must end soon, by that signal, and leave nothing unfinished."""
    if struck.status not in (0, -number):
        corner.wrong([f"ended with status {struck.status}, see child.log"])
    if struck.status == 0:
        corner.count("had ended")
        return False
    if number == signal.SIGINT:
        if struck.seconds > INTERRUPTED_SECONDS:
            corner.wrong([f"took {struck.seconds:.1f} s to end"])
        corner.wrong([f"right after the end: {each}" for each in laws.of_no_leftovers(corner.cache)])
        corner.wrong(laws.of_no_open_parts(corner))
    return True


def within(corner: Corner, call: Callable[[], object]) -> None:
    """Calls it; a run that waits for the lock of a dead process takes too long."""
    began = time.monotonic()
    call()
    if (seconds := time.monotonic() - began) > NEXT_RUN_SECONDS:
        corner.wrong([f"the next run took {seconds:.1f} s"])


def in_a_download(corner: Corner, number: signal.Signals) -> int:
    dice = corner.dice
    before = first_version(dice, large=dice.random() < 0.1)
    corner.store({}, before)
    with contextlib.closing(corner.mirror()) as mirror:
        mirror.download(corner.url)
    after = next_version(dice, before, changes_kinds=dice.random() < 0.3)
    corner.store(before, after)
    stray = {"stray": b"local only"} if dice.random() < 0.5 else {}
    replace_tree(corner.local_root, {}, stray)
    copies = sum(before.get(name) != data for name, data in after.items())

    struck = strike(corner, corner.start("download"), number, copies + 1)
    hit = check_end(corner, struck, number)
    gets = struck.kinds.get("GET", 0)
    corner.count("before the bodies" if not gets else "in the bodies" if gets < copies else "after the last body", hit)

    aside = {"kind"} if "kind/inner" in after else set()
    corner.wrong(laws.of_a_part("local", visible(corner.local()), before | stray, after, aside))
    corner.wrong(laws.of_equal("remote", corner.stored(), after))
    corner.wrong(laws.of_no_temporary_in_an_upload(corner))

    def again() -> None:
        with contextlib.closing(corner.mirror()) as mirror:
            mirror.download(corner.url)

    within(corner, again)
    corner.wrong(laws.of_equal("local", corner.local(), after))
    corner.wrong(laws.of_no_leftovers(corner.cache))
    corner.wrong(laws.of_nothing_to_do(corner, "download"))
    return int(hit)


def in_an_upload(corner: Corner, number: signal.Signals) -> int:
    dice = corner.dice
    before = first_version(dice, large=dice.random() < 0.1)
    replace_tree(corner.local_root, {}, before)
    upload(corner)
    after = next_version(dice, before, changes_kinds=corner.site.server.traits.any_key and dice.random() < 0.5)
    copies = sum(before.get(name) != data for name, data in after.items())
    if in_background := dice.random() < 0.5:
        replace_tree(corner.cache / "wanted", {}, after)
        process = corner.start("train", wanted=str(corner.cache / "wanted"))
    else:
        replace_tree(corner.local_root, before, after)
        process = corner.start("upload")

    struck = strike(corner, process, number, copies + 3)
    hit = check_end(corner, struck, number)
    count_phase(corner, struck, copies, hit)

    local, stored = corner.local(), corner.stored()
    if in_background:
        corner.wrong(laws.of_a_part("local", local, before, after))
    else:
        corner.wrong(laws.of_equal("local", local, after))
    corner.wrong(laws.of_a_part("remote", stored, before, after, {"kind"} if "kind/inner" in after else set()))
    if struck.status == 0:
        corner.wrong(laws.of_equal("remote", stored, after))
    if number == signal.SIGKILL and not corner.site.server.traits.any_key and dice.random() < 0.5:
        check_recovery(corner, local, stored)

    within(corner, lambda: upload(corner))
    corner.wrong(laws.of_equal("local", corner.local(), local))
    corner.wrong(laws.of_equal("remote", corner.stored(), local))
    corner.wrong(laws.of_no_leftovers(corner.cache))
    corner.wrong(laws.of_no_journal(corner.cache))
    corner.wrong(laws.of_nothing_to_do(corner, "upload"))
    corner.count("parts left open", len(laws.of_no_open_parts(corner)))
    return int(hit)


def upload(corner: Corner) -> None:
    mirror = corner.mirror()
    mirror.upload(corner.url, interval=None)
    mirror.close()


def check_recovery(corner: Corner, local: Tree, stored: Tree) -> None:
    """What a killed process had registered is pushed without deletes."""
    recovered = pos3.recover(corner.cache, show_progress=False, default_profile=pos3.Profile(**corner.profile()))
    corner.count("recovered", len(recovered))
    corner.wrong([f"not recovered: {each.error!r}" for each in recovered if each.outcome != "pushed"])
    if recovered:
        corner.wrong(laws.of_equal("remote, recovered", corner.stored(), stored | local))


def count_phase(corner: Corner, struck: Struck, copies: int, hit: bool) -> None:
    puts = struck.kinds.get("PUT", 0)
    if struck.kinds.get("POST ?delete", 0):
        phase = "in the deletes or after"
    else:
        phase = "before the bodies" if not puts else "in the bodies" if puts < copies else "after the last body"
    corner.count(phase, hit)


def visible(tree: Tree) -> Tree:
    """Without unfinished files, which are under no final name."""
    return {name: data for name, data in tree.items() if not name.rpartition("/")[2].startswith(".pos3-")}
