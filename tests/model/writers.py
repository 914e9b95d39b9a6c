"""Several mirrors that are open at once, on two machines, some of which are killed: what anybody wrote is never lost.

The other machine of this package says exactly what both sides hold after each step of one mirror. Here several mirrors
meet, and the outcome depends on who comes first, so laws are checked instead:

- What was written in a writer's path, and has not been in the bucket yet, is still there as it was written, whatever
  other mirrors do, and also after its writer was killed.
- A mirror that ends well has pushed all that was written in its path.
- Nothing but what somebody wrote is ever in the bucket or in a path.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import pos3
from tests.model.killing import kill
from tests.support import S3Site, contents

PLACES = ["p", "p/a", "p/a/c", "p/b"]
NAMES = ["x", "y", "c/x", "a/x", "a/c/y", "b/x"]
Terms = dict[str, Any]
KINDS: dict[str, Terms] = {
    "sync": {},
    "sync without deletes": {"delete_local": False, "delete_remote": False},
    "upload": {},
    "upload without deletes": {"delete": False},
}


@dataclass
class Writer:
    """An open mirror that pushes."""

    mirror: pos3.Mirror
    machine: int
    kind: str
    place: str
    root: Path

    def path_of(self, name: str) -> str:
        """The path below "p" that a name in the root has."""
        return "/".join([*self.place.split("/")[1:], name])

    def holds(self, path: str) -> bool:
        """Whether a path below "p" lies in the root."""
        return path.startswith(self.path_of(""))


class Writers(RuleBasedStateMachine):
    """``unpushed`` holds, for each machine, what was written below the prefix and has not been seen in the bucket."""

    site: S3Site
    home: Path
    histories = 0
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).histories += 1
        self.key = f"writers-{type(self).histories}"
        self.writers: list[Writer] = []
        self.unpushed: tuple[dict[str, bytes], dict[str, bytes]] = ({}, {})
        self.written: dict[str, set[bytes]] = {}
        self.number = 0

    def teardown(self) -> None:
        for writer in self.writers:
            writer.mirror.close(push=False)
        for name in self.site.keys(f"{self.key}/"):
            self.site.delete(name)

    # The world

    def cache(self, machine: int) -> Path:
        return self.home / self.key / f"machine-{machine}"

    def url(self, place: str) -> str:
        return self.site.url(f"{self.key}/{place}")

    def local(self, machine: int) -> Path:
        return self.cache(machine) / "_" / self.site.bucket / self.key / "p"

    def here(self, machine: int) -> dict[str, bytes]:
        local = self.local(machine)
        return contents(local) if local.is_dir() else {}

    def there(self) -> dict[str, bytes]:
        """Without the markers of empty directories."""
        objects = self.site.objects(f"{self.key}/p/")
        return {name: data for name, data in objects.items() if name and not name.endswith("/")}

    def open(self, machine: int) -> pos3.Mirror:
        # Machines know nothing of each other, so each has a home of its own.
        os.environ["HOME"] = str(self.home / self.key / f"home-{machine}")
        Path(os.environ["HOME"]).mkdir(parents=True, exist_ok=True)
        return pos3.Mirror(pos3.MirrorOptions(self.cache(machine), show_progress=False)).open()

    def see(self) -> dict[str, bytes]:
        """What is in the bucket now; what has arrived there may be replaced by others from now on."""
        there = self.there()
        for unpushed in self.unpushed:
            for name, data in list(unpushed.items()):
                if there.get(name) == data:
                    del unpushed[name]
        return there

    def give_up(self, machine: int, writer: Writer | None = None) -> None:
        """What has not been pushed from a place is nobody's any more, unless an open writer holds it."""
        for path in list(self.unpushed[machine]):
            held = any(other.machine == machine and other.holds(path) for other in self.writers)
            if not held and (writer is None or writer.holds(path)):
                del self.unpushed[machine][path]

    # The rules

    @precondition(lambda self: len(self.writers) < 3)
    @rule(
        machine=st.sampled_from([0, 0, 1]),
        kind=st.sampled_from(sorted(KINDS)),
        place=st.sampled_from(PLACES),
    )
    def somebody_begins_to_write(self, machine: int, kind: str, place: str) -> None:
        mirror = self.open(machine)
        call = mirror.sync if kind.startswith("sync") else mirror.upload
        try:
            root = call(self.url(place), interval=None, **KINDS[kind])
        except (pos3.ConflictError, pos3.UnsafeKeysError, pos3.RemoteNotFoundError):
            mirror.close(push=False)
        else:
            self.writers.append(Writer(mirror, machine, kind, place, root))

    @precondition(lambda self: self.writers)
    @rule(who=st.integers(0, 9), name=st.sampled_from(NAMES))
    def a_writer_writes(self, who: int, name: str) -> None:
        writer = self.writers[who % len(self.writers)]
        target = writer.root / name
        if any(parent.is_file() for parent in target.parents) or target.is_dir() or not writer.root.is_dir():
            return
        self.number += 1
        data = f"{self.number:04}".encode()
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f"{target.name}.new-{self.number}")
        aside.write_bytes(data)
        aside.replace(target)
        path = writer.path_of(name)
        self.unpushed[writer.machine][path] = data
        self.written.setdefault(path, set()).add(data)

    @precondition(lambda self: self.writers)
    @rule(who=st.integers(0, 9), which=st.integers(0, 99))
    def a_writer_deletes(self, who: int, which: int) -> None:
        writer = self.writers[who % len(self.writers)]
        names = sorted(contents(writer.root)) if writer.root.is_dir() else []
        if not names:
            return
        name = names[which % len(names)]
        (writer.root / name).unlink()
        self.unpushed[writer.machine].pop(writer.path_of(name), None)

    @precondition(lambda self: self.writers)
    @rule(who=st.integers(0, 9))
    def a_writer_pushes(self, who: int) -> None:
        self.writers[who % len(self.writers)].mirror.flush()
        self.see()

    @precondition(lambda self: self.writers)
    @rule(who=st.integers(0, 9), error=st.sampled_from([None, None, ValueError("of the body")]))
    def a_writer_ends(self, who: int, error: Exception | None) -> None:
        writer = self.writers.pop(who % len(self.writers))
        mine = {path: data for path, data in self.unpushed[writer.machine].items() if writer.holds(path)}
        writer.mirror.close(error)
        there = self.see()
        if error is None:
            assert {path: there.get(path) for path in mine} == mine
        else:
            self.give_up(writer.machine, writer)

    @precondition(lambda self: self.writers)
    @rule(who=st.integers(0, 9))
    def a_writer_is_killed(self, who: int) -> None:
        writer = self.writers.pop(who % len(self.writers))
        kill(writer.mirror)

    @rule(machine=st.sampled_from([0, 0, 1]), place=st.sampled_from(PLACES), delete=st.booleans())
    def somebody_reads(self, machine: int, place: str, delete: bool) -> None:
        mirror = self.open(machine)
        before = self.here(machine)
        try:
            mirror.download(self.url(place), delete=delete, missing_ok=True)
        except (pos3.ConflictError, pos3.UnsafeKeysError):
            assert self.here(machine) == before
        finally:
            mirror.close()

    @rule(machine=st.sampled_from([0, 1]))
    def somebody_recovers(self, machine: int) -> None:
        self.open(machine).close()
        for found in pos3.recover(self.cache(machine), show_progress=False):
            assert found.outcome in ("pushed", "gone"), found
        self.see()
        # It gives way to what others have put there since.
        self.give_up(machine)

    # The laws

    @invariant()
    def what_was_written_and_not_pushed_is_still_there(self) -> None:
        type(self).steps += 1
        for machine, unpushed in enumerate(self.unpushed):
            here = self.here(machine)
            for path, data in unpushed.items():
                assert here.get(path) == data, f"{path} on machine {machine}: {here.get(path)!r} in place of {data!r}"

    @invariant()
    def only_what_somebody_wrote_is_anywhere(self) -> None:
        for tree in (self.there(), self.here(0), self.here(1)):
            for path, data in tree.items():
                assert data in self.written.get(path, ()), f"{path} holds {data!r}"
