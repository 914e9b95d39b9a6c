"""Transfers while a share of all requests fails, and bodies that are spoiled on their way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from soak import laws
from soak.contents import first_version, next_version, replace_tree
from soak.place import Corner

import pos3
from tests.support import Fault, Flip, ResetAfter, ResetBefore, Slowdown, Truncate, on


def refused() -> list[Fault]:
    return [Slowdown(0.1)]


def reset() -> list[Fault]:
    return [ResetBefore(0.05), ResetAfter(0.05)]


def mixed() -> list[Fault]:
    bodies = on("GET", "LIST")
    return [Slowdown(0.05), ResetBefore(0.05), ResetAfter(0.05), Truncate(0.15, match=bodies), Flip(0.15)]


def a_run(corner: Corner, faults: list[Fault]) -> int:
    """A download or an upload comes through, or says that it could not and has spoiled nothing."""
    return _download(corner, faults) if corner.dice.random() < 0.5 else _upload(corner, faults)


def _download(corner: Corner, faults: list[Fault]) -> int:
    before = first_version(corner.dice, 8)
    corner.store({}, before)
    with contextlib.closing(corner.mirror()) as mirror:
        mirror.download(corner.url)
    after = next_version(corner.dice, before)
    corner.store(before, after)
    with _counted(corner, faults):
        mirror = corner.mirror()
        came_through = _try(corner, lambda: mirror.download(corner.url))
        mirror.close()
    if not came_through:
        corner.wrong(laws.of_a_part("local", corner.local(), before, after))
        with contextlib.closing(corner.mirror()) as mirror:
            mirror.download(corner.url)
    corner.wrong(laws.of_equal("local", corner.local(), after))
    corner.wrong(laws.of_equal("remote", corner.stored(), after))
    corner.wrong(laws.of_no_leftovers(corner.cache))
    return 1


def _upload(corner: Corner, faults: list[Fault]) -> int:
    before = first_version(corner.dice, 8)
    replace_tree(corner.local_root, {}, before)
    with contextlib.closing(corner.mirror()) as mirror:
        mirror.upload(corner.url, interval=None)
    after = next_version(corner.dice, before)
    replace_tree(corner.local_root, before, after)

    def push() -> None:
        mirror = corner.mirror()
        try:
            mirror.upload(corner.url, interval=None)
        finally:
            mirror.close()

    with _counted(corner, faults):
        came_through = _try(corner, push)
    if not came_through:
        corner.wrong(laws.of_a_part("remote", corner.stored(), before, after))
        with contextlib.closing(corner.mirror()) as mirror:
            mirror.upload(corner.url, interval=None)
    corner.wrong(laws.of_equal("local", corner.local(), after))
    corner.wrong(laws.of_equal("remote", corner.stored(), after))
    corner.wrong(laws.of_no_leftovers(corner.cache))
    return 1


def spoiled_bodies(corner: Corner) -> int:
    """How many bodies arrived spoiled; none of them may be under a final name, whatever became of the download."""
    dice = corner.dice
    after = first_version(dice, 12)
    after["middle"] = dice.randbytes(3_000_000)
    if dice.random() < 0.05:
        after["large"] = dice.randbytes(17 * 1024 * 1024)
    corner.store({}, after)
    bodies = on("GET")
    faults: list[Fault] = [Flip(0.25), *(Truncate(0.08, match=bodies, keep=keep) for keep in (0.0, 0.5, 0.99))]
    with _counted(corner, faults):
        mirror = corner.mirror()
        came_through = _try(corner, lambda: mirror.download(corner.url))
        mirror.close()
    spoiled = sum(request.kind == "GET" and bool(request.faults) for request in corner.proxy.requests)
    if came_through:
        corner.wrong(laws.of_equal("local", corner.local(), after))
    else:
        corner.wrong(laws.of_a_part("local", corner.local(), {}, after))
    corner.wrong(laws.of_no_leftovers(corner.cache))
    return spoiled


@contextlib.contextmanager
def _counted(corner: Corner, faults: list[Fault]):  # type: ignore[no-untyped-def]
    corner.proxy.clear()
    corner.inject(*faults)
    try:
        yield
    finally:
        corner.inject()
        requests = corner.proxy.requests
        corner.count("requests", len(requests))
        corner.count("requests broken", sum(bool(request.faults) for request in requests))


def _try(corner: Corner, call: Callable[[], object]) -> bool:
    """Whether it came through; what it gives up with must be an error that pos3 raises on purpose."""
    try:
        call()
    except pos3.Pos3Error:
        corner.count("gave up")
        return False
    return True
