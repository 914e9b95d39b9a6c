"""What happens in each flow run, made from a seed, and the diary in which a run says how far it came."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = 2
RETRY_DELAY_SECONDS = 0.3
LARGE_BYTES = 300_000


@dataclass(frozen=True)
class Plan:
    """One flow run, made from the seed alone."""

    name: str
    seed: int
    bucket: str
    style: str
    """sync, async or generator."""
    in_processes: bool
    """Whether its tasks run in processes of their own."""
    retries: int

    def dice(self, *about: object) -> random.Random:
        return random.Random(f"{self.seed}/{self.name}/{about}")

    def url(self, place: str) -> str:
        return f"s3://{self.bucket}/{self.name}/{place}"

    @property
    def pair(self) -> str:
        """The prefix to which this run and its neighbour write, and both run at the same time."""
        return f"pair-{int(self.name.removeprefix('run-')) // 2:03}"

    @property
    def pair_url(self) -> str:
        return f"s3://{self.bucket}/{self.pair}"

    def ending(self, attempt: int) -> str:
        """How the body of an attempt ends, if nothing strikes it."""
        ways = {"well": 70, "raises": 18, "returns Failed": 6, "its task fails": 6}
        return self.dice("ending", attempt).choices(list(ways), list(ways.values()))[0]

    def task_fails_at_first(self, attempt: int, part: int) -> bool:
        return self.dice("task", attempt, part).random() < 0.25

    def seconds(self, attempt: int) -> float:
        return self.dice("seconds", attempt).uniform(0.1, 1.2)

    # What is where. Keys are below the run's own prefix.

    def before(self) -> dict[str, bytes]:
        """The objects that were there before the run."""
        made = {f"in/{number}": self._content("in", number, 20_000) for number in range(6)}
        made["in/large"] = self._content("in", "large", LARGE_BYTES)
        for place in ("out", "log", "keep", *(f"parts/{part}" for part in range(PARTS))):
            made |= {f"{place}/stale-{number}": self._content(place, number, 500) for number in range(3)}
            made[f"{place}/shared"] = self._content(place, "shared", 500)
        return made | {"ckpt/base": self._content("ckpt", "base", 500), "ckpt/step": b"0"}

    def written(self, place: str, attempt: int) -> dict[str, bytes]:
        """The files that an attempt leaves below one of its places."""
        if place == "memo":
            return {"value": self._content("memo", "value", 2000)}
        if place == "hook":
            return {"done": self._content("hook", "done", 100)}
        if place == "pair":
            return {self.name: self._content("pair", attempt, 1000)}
        if place == "ckpt":
            return {"base": self._content("ckpt", "base", 500), "step": str(attempt).encode()}
        names: list[tuple[str, int]] = [("shared", 2000), ("deep/er", 100)]
        if place != "keep":
            names += [(f"only-{attempt}", 3000), (f"large-{attempt}", LARGE_BYTES if place == "out" else 1000)]
        return {name: self._content(place, f"{attempt}/{name}", size) for name, size in names}

    def _content(self, *about: object) -> bytes:
        *what, size = about
        dice = self.dice("content", *what)
        return dice.randbytes(int(str(size)) + dice.randrange(100))


PLACES = ("out", "log", "keep", "ckpt", *(f"parts/{part}" for part in range(PARTS)))


class Diary:
    """One line for each thing that a run did."""

    def __init__(self, path: Path):
        self._path = path

    def say(self, event: str, **details: Any) -> None:
        line = json.dumps({"event": event, "at": time.time(), "pid": os.getpid(), **details}) + "\n"
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode())

    def lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_bytes().splitlines()]

    def attempts(self, event: str) -> list[int]:
        return [line["attempt"] for line in self.lines() if line["event"] == event]


def fill(directory: Path, files: dict[str, bytes]) -> None:
    """Empties a directory and writes the files."""
    for found in directory.iterdir():
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink()
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        put(directory, name, content)


def put(directory: Path, name: str, content: bytes) -> None:
    """Writes a file at once, as whoever has files pushed in the background should."""
    unfinished = directory.with_name(f".{directory.name}-unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(directory / name)
