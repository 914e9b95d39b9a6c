"""The rules by which both sides change: files here, objects of another writer there, and one name on both sides."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

import pos3
from tests.model.stage import Stage, attempt, pick
from tests.model.trees import files

NAMES = ["a", "b", "d/a", "d/b", "d/e/a", "log.tmp", "d/log.tmp", "raw/a"]
# A file at one time and a directory at another.
CHANGING = ["k", "k/a", "k/b"]
DIRECTORIES = ["void/", "d/void/", "d/", "k/"]
EDITS = ["edit", "replace, all but the inode as before", "touch", "unlink", "unlink", "rename"]
LOCAL_CHANGES = [
    *("write", *EDITS, "make a directory"),
    *("write what is in the bucket", "write what was in the bucket", "lose all files"),
]
REPLACEMENTS = ["replace", "delete", "delete and put again"]
REMOTE_CHANGES = ["put", "put back", *REPLACEMENTS, "put a marker", "delete a marker"]

names = st.sampled_from([*NAMES, *CHANGING])
sizes = st.sampled_from([6, 6, 9])
numbers = st.integers(0, 63)


class Changes(Stage):
    """A number picks one of the files or objects that are there."""

    @initialize(names=st.sets(st.sampled_from(NAMES)))
    def some_objects_are_there(self, names: set[str]) -> None:
        for name in sorted(names):
            self.world.put(name, self.data(6))

    @rule(changes=st.lists(st.tuples(st.sampled_from(LOCAL_CHANGES), names, sizes, numbers), min_size=1, max_size=4))
    def local_changes(self, changes: list[tuple[str, str, int, int]]) -> None:
        for change, name, size, number in changes:
            self.change_here(change, pick(files(self.world.local()), number), name, size, number)

    @rule(changes=st.lists(st.tuples(st.sampled_from(REMOTE_CHANGES), names, sizes, numbers), min_size=1, max_size=2))
    def another_writer_changes(self, changes: list[tuple[str, str, int, int]]) -> None:
        for change, name, size, number in changes:
            self.change_there(change, pick(files(self.world.remote), number), name, size, number)

    @rule(
        here=st.sampled_from(EDITS),
        there=st.sampled_from(REPLACEMENTS),
        to=names,
        size=sizes,
        number=numbers,
        here_first=st.booleans(),
    )
    def one_file_changes_on_both_sides(
        self, here: str, there: str, to: str, size: int, number: int, here_first: bool
    ) -> None:
        """What was equal is what rules of deletes and conflicts turn on, so it is hit more often than by chance."""
        name = pick(files(self.world.local()).keys() & files(self.world.remote).keys(), number)
        if not name:
            return
        if here_first:
            self.change_here(here, name, to, size, number)
        self.change_there(there, name, to, size, number)
        if not here_first:
            self.change_here(here, name, to, size, number)

    def change_here(self, change: str, here: str, name: str, size: int, number: int) -> None:
        """``here`` is a file that is there, or ""; ``name`` may be anything."""
        world, traits = self.world, self.site.server.traits
        there, gone = pick(files(world.remote), number), pick(files(world.gone), number)
        usable = traits.any_key or name not in CHANGING
        match change:
            case "write" if usable:
                world.write(name, self.data(size))
            case "edit" if here:
                world.edit(here, self.data(max(6, len(world.local()[here]))))
            case "replace, all but the inode as before" if here:
                world.replace_with_the_same_time(here, self.data(max(6, len(world.local()[here]))))
            case "touch" if here:
                world.touch(here)
            case "unlink" if here:
                world.unlink(here, prune=number % 2 == 0 or not traits.markers)
            case "rename" if here and usable:
                world.rename(here, name, prune=not traits.markers)
            case "make a directory" if traits.markers:
                world.make_directory(pick(DIRECTORIES, number))
            case "write what is in the bucket" if there:
                world.write(there, world.remote[there])
            case "write what was in the bucket" if gone:
                world.write(gone, world.gone[gone])
            case "lose all files" if number % 4 == 0:
                world.lose_all_files()

    def change_there(self, change: str, there: str, name: str, size: int, number: int) -> None:
        """``there`` is an object that is there, or ""; ``name`` may be anything."""
        traits = self.site.server.traits
        gone = pick(files(self.world.gone), number)
        marker = pick(self.world.remote.keys() - files(self.world.remote).keys(), number)
        match change:
            case "put" if traits.any_key or name not in CHANGING:
                self.put(name, self.data(size))
            case "put back" if gone:
                self.put(gone, self.world.gone[gone])
            case "replace" if there:
                self.put(there, self.data(len(self.world.remote[there])))
            case "delete" if there:
                self.world.delete(there)
            case "delete and put again" if there:
                data = self.world.remote[there]
                self.world.delete(there)
                self.put(there, data)
            case "put a marker" if traits.markers:
                self.put(pick(DIRECTORIES, number), b"")
            case "delete a marker" if marker:
                self.world.delete(marker)

    def put(self, name: str, data: bytes) -> None:
        self.world.put(name, data)
        self.model.foreign[name] = data

    @precondition(lambda self: self.site.server.traits.any_key and self.mirror is None)
    @rule(name=st.sampled_from(["../stray", "d/../../stray", "/stray", "d//stray"]))
    def a_key_that_leads_outside_is_refused(self, name: str) -> None:
        local = self.world.local()
        self.world.put(name, b"stray")
        mirror = self.world.new_mirror()
        error = attempt(lambda: mirror.download(self.world.url))
        mirror.close()
        assert isinstance(error, pos3.UnsafeKeysError)
        assert self.world.local() == local
        self.world.delete(name)
        del self.world.gone[name]
