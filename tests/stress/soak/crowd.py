"""Many processes on one cache, round after round."""

from __future__ import annotations

import hashlib
import json
import subprocess
from contextlib import ExitStack
from typing import Any

from soak import laws
from soak.contents import Tree, first_version, next_version
from soak.place import Corner

PROCESSES = 8
ROUNDS = 10


def rounds(corner: Corner, count: int = ROUNDS, processes: int = PROCESSES) -> int:
    """Each round all processes open a mirror at once: they fetch each body once, see all of it, and lose nothing."""
    tree = first_version(corner.dice, 12)
    corner.store({}, tree)
    with ExitStack() as stack:
        crowd = [stack.enter_context(corner.start("attend", number=number)) for number in range(processes)]
        for process in crowd:
            assert process.stdout is not None
            process.stdout.readline()
        for number in range(count):
            if number:
                after = next_version(corner.dice, tree)
                corner.store(tree, after)
                tree = after
            tree = _sync(corner, crowd, tree, number) if number % 3 == 2 else _download(corner, crowd, tree)
            corner.wrong([f"round {number}: {each}" for each in laws.of_equal("local", corner.local(), tree)])
            corner.wrong([f"round {number}: {each}" for each in laws.of_equal("remote", corner.stored(), tree)])
            if corner.violations:
                break
        for process in crowd:
            assert process.stdin is not None
            process.stdin.close()
            assert process.stdout is not None
            process.stdout.read()
    corner.wrong([f"a process ended with {process.returncode}" for process in crowd if process.returncode])
    corner.wrong(laws.of_no_leftovers(corner.cache))
    return number + 1


def _download(corner: Corner, crowd: list[subprocess.Popen[bytes]], tree: Tree) -> Tree:
    before = corner.local()
    new = sum(before.get(name) != data for name, data in tree.items())
    answers = _ask(crowd, {"kind": "download"})
    expected = {name: hashlib.md5(data).hexdigest() for name, data in tree.items()}
    for who, each in enumerate(answers):
        others = each["seen"].items() ^ expected.items()
        corner.wrong([f"process {who} saw something else: {sorted({name for name, _ in others})}"] if others else [])
    fetched = sum(each["downloaded"] for each in answers)
    corner.wrong([f"{fetched} bodies were fetched for {new} new objects"] if fetched != new else [])
    return tree


def _sync(corner: Corner, crowd: list[subprocess.Popen[bytes]], tree: Tree, number: int) -> Tree:
    before = corner.local()
    text = f"round {number}, process "
    _ask(crowd, {"kind": "sync", "name": f"by/{number}-", "text": text})
    # Nothing is deleted locally, so what the last version had comes back to the bucket.
    return before | tree | {f"by/{number}-{who}": f"{text}{who}".encode() for who in range(len(crowd))}


def _ask(crowd: list[subprocess.Popen[bytes]], order: dict[str, str]) -> list[dict[str, Any]]:
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    answers = []
    for process in crowd:
        assert process.stdout is not None
        answers.append(json.loads(process.stdout.readline()))
    return answers
