"""What the files of a case hold, made from the case's dice alone, and how one version becomes the next."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

Tree = dict[str, bytes]

MIB = 1024 * 1024
LARGE_BYTES = 9 * MIB
"""Enough for an upload in parts."""


def first_version(dice: Random, count: int = 16, *, large: bool = False) -> Tree:
    """Some files in a few directories: most of them small, some empty."""
    tree = {f"{number % 4}/{number:02}": _some_bytes(dice) for number in range(count)}
    tree["kind"] = _some_bytes(dice)
    if large:
        tree["large"] = dice.randbytes(LARGE_BYTES)
    return tree


def next_version(dice: Random, tree: Tree, *, changes_kinds: bool = False) -> Tree:
    """Half of it as it was; the rest edited, of the same or another size, or gone; and some new files."""
    after: Tree = {}
    for name, data in tree.items():
        fate = dice.random()
        if fate < 0.5:
            after[name] = data
        elif fate < 0.7 and data:
            after[name] = dice.randbytes(len(data))
        elif fate < 0.85:
            after[name] = dice.randbytes(len(data)) if name == "large" else _some_bytes(dice)
    for number in range(dice.randrange(1, 6)):
        after[f"new/{number}"] = _some_bytes(dice)
    if changes_kinds and "kind" in tree:
        # A file becomes a directory.
        after.pop("kind", None)
        after["kind/inner"] = _some_bytes(dice)
    return after


def _some_bytes(dice: Random) -> bytes:
    size = dice.choice([0, dice.randrange(1, 100), dice.randrange(1, 4000), dice.randrange(1, 4000), 60_000])
    return dice.randbytes(size)


def put(root: Path, name: str, data: bytes) -> None:
    """Writes a file at once, as whoever has files pushed in the background should."""
    target = root / name
    for directory in target.parents:
        if directory != root and directory.is_relative_to(root) and directory.is_file():
            directory.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = root.with_name(f"{root.name}-aside-{os.getpid()}")
    aside.write_bytes(data)
    aside.replace(target)


def remove(root: Path, name: str) -> None:
    """Removes a file and the directories that it leaves empty, which not every server can hold."""
    (root / name).unlink(missing_ok=True)
    for directory in (root / name).parents:
        if directory == root or any(directory.iterdir()):
            return
        directory.rmdir()


def replace_tree(root: Path, before: Tree, after: Tree) -> None:
    """Turns the files of one version into those of the next; what has not changed is not touched."""
    for name in before.keys() - after.keys():
        remove(root, name)
    for name, data in after.items():
        if before.get(name) != data:
            put(root, name, data)
