"""The process that is struck: ``python -m soak.child JOB``. It says "ready" when the work begins, "done" at its end."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import boto3  # noqa: F401 - before "ready", so that strikes hit the work and not the imports
import pycurl  # noqa: F401
from soak.contents import put, remove

import pos3
from tests.support.trees import contents


def say(word: str) -> None:
    print(word, flush=True)


def mirror(job: dict[str, Any]) -> Any:
    profile = pos3.Profile(**job["profile"]) if job["profile"] else None
    return pos3.mirror(job["cache"], show_progress=False, default_profile=profile)


def download(job: dict[str, Any]) -> None:
    with mirror(job):
        pos3.download(job["url"])


def upload(job: dict[str, Any]) -> None:
    """The last push alone: what there is to push lies there already."""
    with mirror(job):
        pos3.upload(job["url"], interval=None)


def train(job: dict[str, Any]) -> None:
    """Files appear one by one while they are pushed in the background, as in a training run."""
    # From a tree beside the cache, so that this process need not make the contents.
    wanted = contents(Path(job["wanted"]))
    with mirror(job):
        root = pos3.upload(job["url"], interval=0.03)
        there = contents(root)
        for name, data in wanted.items():
            if there.get(name) != data:
                put(root, name, data)
                time.sleep(0.01)
        for name in there.keys() - wanted.keys():
            if (root / name).is_file():
                remove(root, name)


def attend(job: dict[str, Any]) -> None:
    """One of many processes on one cache: does a round for each line of stdin, and tells what it saw."""
    number = job["number"]
    for line in sys.stdin:
        order = json.loads(line)
        with mirror(job):
            if order["kind"] == "download":
                root = pos3.download(job["url"])
            else:
                root = pos3.sync(job["url"], interval=None, delete_local=False)
                put(root, f"{order['name']}{number}", order["text"].encode() + b"%d" % number)
            seen = {name: hashlib.md5(data).hexdigest() for name, data in contents(root).items()}
            moved = pos3.report().downloaded_files
        say(json.dumps({"seen": seen, "downloaded": moved}))


def keep_working(job: dict[str, Any]) -> None:
    """Changes some files again and again for so many seconds, with quiet times; each content proves itself."""
    dice = Random(job["seed"])
    ends_at = time.monotonic() + job["seconds"]
    number = 0
    with mirror(job):
        root = pos3.sync(job["url"], interval=1)
        while time.monotonic() < ends_at and not os.path.exists(job["stop"]):
            quiet = number % 60 == 59
            for _ in range(dice.randrange(1, 5)):
                name = f"{dice.randrange(4)}/{dice.randrange(8)}"
                if dice.random() < 0.2:
                    remove(root, name)
                else:
                    put(root, name, marked(name, number, dice.randrange(20_000)))
            say(json.dumps({"number": number, "quiet": quiet, "pushed": pos3.report().uploaded_files, **usage()}))
            time.sleep(25 if quiet else dice.uniform(0.2, 3))
            number += 1


def marked(name: str, number: int, size: int) -> bytes:
    """A content that proves that it is whole, and of that name."""
    body = f"{name} {number} ".encode() + b"." * size
    return hashlib.md5(body).hexdigest().encode() + body


def is_marked(name: str, data: bytes) -> bool:
    body = data[32:]
    return hashlib.md5(body).hexdigest().encode() == data[:32] and body.startswith(f"{name} ".encode())


def usage() -> dict[str, int]:
    """Memory, threads and open files of this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "rss_kib": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "open_files": len(os.listdir("/proc/self/fd")),
    }


WORKS = {each.__name__: each for each in (download, upload, train, attend, keep_working)}

if __name__ == "__main__":
    # Whoever starts it in the background may have it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    what = json.loads(sys.argv[1])
    say("ready")
    WORKS[what["work"]](what)
    say("done")
