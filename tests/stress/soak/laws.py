"""What must hold after a strike and after the next run: each law as a function that names what contradicts it."""

from __future__ import annotations

from pathlib import Path

from soak.contents import Tree
from soak.place import Corner

import pos3


def of_a_part(side: str, found: Tree, before: Tree, after: Tree, may_be_aside: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """A transfer that was cut: each file is old or new, none is half, and deletes came after the last copy."""
    wrong = [
        f"{side}: {name} has {len(data)} bytes that nobody wrote"
        for name, data in found.items()
        if data not in [tree[name] for tree in (before, after) if name in tree]
    ]
    lost = before.keys() - found.keys() - may_be_aside
    wrong += [f"{side}: {name} is gone, and should not be" for name in sorted(lost & after.keys())]
    missing = [name for name, data in after.items() if found.get(name) != data]
    if missing:
        wrong += [f"{side}: {name} was deleted before {missing[0]} was there" for name in sorted(lost - after.keys())]
    return wrong


def of_equal(side: str, found: Tree, expected: Tree) -> list[str]:
    wrong = [f"{side}: {name} is missing" for name in sorted(expected.keys() - found.keys())]
    wrong += [f"{side}: {name} is too much" for name in sorted(found.keys() - expected.keys())]
    return wrong + [
        f"{side}: {name} has {len(found[name])} bytes, and not the {len(expected[name])} it should"
        for name in sorted(found.keys() & expected.keys())
        if found[name] != expected[name]
    ]


def of_no_leftovers(cache: Path) -> list[str]:
    """No temporary file anywhere, and no index or journal that had to be set aside."""
    left = [*cache.rglob(".pos3-*.tmp"), *(cache / ".pos3").rglob("*.broken*")]
    return [f"left over: {path.relative_to(cache)}" for path in left]


def of_no_journal(cache: Path) -> list[str]:
    """Nothing waits for a recovery, once all of it has been pushed."""
    return [f"left over: {path.relative_to(cache)}" for path in (cache / ".pos3" / "journal").glob("*")]


def of_nothing_to_do(corner: Corner, direction: str) -> list[str]:
    """A plan of what was just done is empty."""
    mirror = corner.mirror()
    with pos3.activate(mirror):
        plan = (pos3.plan_download if direction == "download" else pos3.plan_upload)(corner.url)
    mirror.close()
    moved = [destination for _, destination in plan.to_copy] + plan.to_delete
    return [f"a second {direction} would still touch {path}" for path in moved]


def of_no_temporary_in_an_upload(corner: Corner) -> list[str]:
    """Whoever uploads what a killed download left uploads whole files only."""
    mirror = corner.mirror()
    with pos3.activate(mirror):
        plan = pos3.plan_upload(f"{corner.url}-elsewhere", corner.local_root)
    mirror.close()
    return [f"would be uploaded: {source}" for source, _ in plan.to_copy if "/.pos3-" in source]


def of_no_open_parts(corner: Corner) -> list[str]:
    """No multipart upload below the case's prefix waits for its end."""
    open_keys = [key for key in corner.site.server.uploads(corner.site.bucket) if key.startswith(f"{corner.key}/")]
    return [f"a multipart upload is left open: {key}" for key in open_keys]
