"""Random histories of both sides of a mirror, and a model that says what each of them must hold after every step.

The model knows the promises and not the code: it works on dictionaries of names and contents. Where a failure left it
open how far a transfer came, both outcomes are allowed for that step, and the next run must put it right.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import pos3
from tests.model.trees import CHOICES, Choice, Tree, clashes, downloaded, files, settled, uploaded
from tests.model.world import Stamp, World
from tests.support import Fault, Flip, Proxy, ResetAfter, ResetBefore, S3Site, Slowdown, Status, Truncate, on

NAMES = ["a", "b", "d/a", "d/b", "d/e/a", "log.tmp", "d/log.tmp", "raw/a"]
# A file at one time and a directory at another.
CHANGING = ["k", "k/a", "k/b"]
LOCAL_CHANGES = [
    *("write", "edit", "replace, all but the inode as before", "touch", "unlink", "unlink", "rename"),
    *("make a directory", "write what is in the bucket", "lose all files"),
]
REMOTE_CHANGES = ["put", "replace", "delete", "put a marker"]
DIRECTORIES = ["void/", "d/void/", "d/", "k/"]

STORMS: dict[str, Callable[[], Fault]] = {
    "some refused": lambda: Slowdown(0.15),
    "some reset before": lambda: ResetBefore(0.15),
    "some reset after": lambda: ResetAfter(0.15),
    "some truncated": lambda: Truncate(0.3, match=on("GET", "LIST")),
    "some flipped": lambda: Flip(0.3),
    "half of the puts forbidden": lambda: Status(403, "AccessDenied", match=on("PUT"), rate=0.5),
    "half of the gets forbidden": lambda: Status(403, "AccessDenied", match=on("GET"), rate=0.5),
    "deletes forbidden": lambda: Status(403, "AccessDenied", match=on("POST ?delete", "DELETE")),
    "listings forbidden": lambda: Status(403, "AccessDenied", match=on("LIST"), rate=0.5),
}
storms = st.sampled_from([None] * 5 * len(STORMS) + list(STORMS))


@dataclass(frozen=True)
class Known:
    """When both sides were last equal, as far as a file can tell: its stamp, its content.

    ``mine`` says whether the open mirror itself transferred it; None where the promises leave that open.
    """

    stamp: Stamp | None
    data: bytes
    mine: bool | None


@dataclass(frozen=True)
class Terms:
    """With which arguments the open mirror has registered the URL."""

    kind: str
    choice: Choice
    delete_local: bool
    delete_remote: bool
    sync_on_error: bool


terms = st.builds(
    Terms,
    st.sampled_from(["download", "upload", "sync", "sync"]),
    st.sampled_from(CHOICES),
    st.sampled_from([True, True, False]),
    st.sampled_from([True, True, False]),
    st.booleans(),
)


class Histories(RuleBasedStateMachine):
    """Needs ``site``, ``proxy`` (before the same server) and ``home``; see :func:`histories_on`."""

    site: S3Site
    proxy: Proxy
    home: Path
    steps = 0
    """How many rules have run, over all histories."""

    def __init__(self) -> None:
        super().__init__()
        key = f"history-{uuid.uuid4().hex}"
        self.world = World(self.site, self.proxy, key, self.home / key)
        self.world.cache.mkdir(parents=True)
        self.known: dict[str, Known] = {}
        self.foreign: Tree = {}
        self.at_opening: Tree = {}
        self.mirror: pos3.Mirror | None = None
        self.terms = Terms("download", CHOICES[0], True, True, False)
        self.numbers = itertools.count(1)
        self.world.faulty()

    def teardown(self) -> None:
        self.world.faulty()
        if self.mirror is not None:
            self.mirror.close(push=False)
        self.world.clear()

    def data(self, size: int) -> bytes:
        """A content that nobody had before."""
        return f"{next(self.numbers):0{size}}".encode()

    # -- what must always hold

    @invariant()
    def the_bucket_holds_what_it_should(self) -> None:
        type(self).steps += 1
        assert not self.world.differences(self.world.remote)

    @invariant()
    def nothing_is_outside_its_root_or_left_half_done(self) -> None:
        assert self.world.strays() == []

    # -- both sides change; a number picks one of the files or objects that are there

    names = st.sampled_from([*NAMES, *CHANGING])
    sizes = st.sampled_from([6, 6, 9])
    numbers = st.integers(0, 63)

    @initialize(names=st.sets(st.sampled_from(NAMES)))
    def some_objects_are_there(self, names: set[str]) -> None:
        for name in sorted(names):
            self.world.put(name, self.data(6))

    @rule(changes=st.lists(st.tuples(st.sampled_from(LOCAL_CHANGES), names, sizes, numbers), min_size=1, max_size=4))
    def local_changes(self, changes: list[tuple[str, str, int, int]]) -> None:
        for change in changes:
            self.change_here(*change)

    def change_here(self, change: str, name: str, size: int, number: int) -> None:
        world, traits = self.world, self.site.server.traits
        here, there = pick(files(world.local()), number), pick(files(world.remote), number)
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
            case "lose all files" if number % 4 == 0:
                world.lose_all_files()

    @rule(changes=st.lists(st.tuples(st.sampled_from(REMOTE_CHANGES), names, sizes, numbers), min_size=1, max_size=2))
    def another_writer_changes(self, changes: list[tuple[str, str, int, int]]) -> None:
        for change in changes:
            self.change_there(*change)

    def change_there(self, change: str, name: str, size: int, number: int) -> None:
        traits = self.site.server.traits
        there = pick(files(self.world.remote), number)
        match change:
            case "put" if traits.any_key or name not in CHANGING:
                self.put(name, self.data(size))
            case "replace" if there:
                self.put(there, self.data(len(self.world.remote[there])))
            case "delete" if self.world.remote:
                self.world.delete(pick(self.world.remote, number))
            case "put a marker" if traits.markers:
                self.put(pick(DIRECTORIES, number), b"")

    def put(self, name: str, data: bytes) -> None:
        self.world.put(name, data)
        self.foreign[name] = data

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

    # -- pos3

    def a_step_of_a_run(
        self, opening: Terms, forgetful: bool, step: str, error: type[BaseException], storm: str | None
    ) -> None:
        """Opens a mirror if there is none; otherwise does something with it."""
        if self.mirror is None:
            if forgetful:
                self.forget_the_index()
            self.open_a_mirror(opening, storm)
        elif step == "push" and self.terms.kind != "download":
            self.push_in_the_background(storm)
        elif step == "close with an error":
            self.close_with_an_error(error("of the body"), storm)
        else:
            self.close(storm)

    # Twice, so that half of all steps are pos3's.
    one_step, another_step = (
        rule(
            opening=terms,
            forgetful=st.sampled_from([False] * 9 + [True]),
            step=st.sampled_from(["push", "push", "push", "close", "close", "close with an error"]),
            error=st.sampled_from([ValueError, KeyboardInterrupt, SystemExit]),
            storm=storms,
        )(step)
        for step in (a_step_of_a_run, a_step_of_a_run)
    )

    def forget_the_index(self) -> None:
        for path in (self.world.cache / ".pos3").glob("*.sqlite*"):
            path.unlink()
        self.known = {}

    def open_a_mirror(self, terms: Terms, storm: str | None) -> None:
        self.terms = terms
        self.known = {name: replace(known, mine=False) for name, known in self.known.items()}
        self.foreign, self.at_opening = {}, dict(self.world.remote)
        self.mirror = self.world.new_mirror()
        local, remote = self.world.local(), self.world.remote
        expected = self.expected_download() if terms.kind != "upload" else local
        error = self.attempt(self.register, storm)
        if storm:
            self.ride_out(error, local, remote, [] if expected is None else [expected], [remote])
        elif error is not None:
            assert expected is None, f"{error!r}"
            self.mirror.close()
            self.mirror = None
            self.check_local(local)
        else:
            assert expected is not None, "a clash of names was not noticed"
            self.check_local(expected)
            if terms.kind != "upload":
                self.know_downloaded(local)
                self.check_that_nothing_is_left_to_do("download")

    def register(self) -> None:
        mirror, terms, url = self.mirror, self.terms, self.world.url
        assert mirror is not None
        exclude = list(terms.choice.exclude)
        if terms.kind == "download":
            mirror.download(url, delete=terms.delete_local, exclude=exclude, missing_ok=True)
        elif terms.kind == "upload":
            self.register_upload(mirror)
        else:
            mirror.sync(
                url,
                interval=None,
                delete_local=terms.delete_local,
                delete_remote=terms.delete_remote,
                sync_on_error=terms.sync_on_error,
                exclude=exclude,
            )

    def register_upload(self, mirror: pos3.Mirror) -> None:
        terms = self.terms
        mirror.upload(
            self.world.url,
            interval=None,
            delete=terms.delete_remote,
            sync_on_error=terms.sync_on_error,
            exclude=list(terms.choice.exclude),
        )

    def push_in_the_background(self, storm: str | None) -> None:
        assert self.mirror is not None
        local, remote = self.world.local(), self.world.remote
        outcomes = self.expected_push()
        error = self.attempt(self.mirror.flush, storm)
        self.check_local(local)
        if storm:
            self.ride_out(error, local, remote, [local], outcomes)
        elif self.went_as_expected(error, outcomes):
            self.know_pushed(local)

    def close(self, storm: str | None) -> None:
        mirror, self.mirror = self.mirror, None
        assert mirror is not None
        local, remote = self.world.local(), self.world.remote
        pushes = self.terms.kind != "download"
        outcomes = self.expected_upload(delete=self.terms.delete_remote) if pushes else [remote]
        error = self.attempt(mirror.close, storm)
        self.check_local(local)
        if storm:
            self.ride_out(error, local, remote, [local], outcomes)
        elif self.went_as_expected(error, outcomes) and pushes:
            all_mine = not self.protected(local, remote, or_maybe=True)
            self.know_uploaded(local, remote)
            if all_mine:
                self.check_that_nothing_is_left_to_do("upload")
                self.check_that_a_second_run_moves_nothing()

    def close_with_an_error(self, raised: BaseException, storm: str | None) -> None:
        mirror, self.mirror = self.mirror, None
        assert mirror is not None
        local, remote = self.world.local(), self.world.remote
        pushes = self.terms.kind != "download" and self.terms.sync_on_error
        outcomes = self.expected_upload(delete=False) if pushes else [remote]
        self.attempt(lambda: mirror.close(raised), storm)
        self.check_local(local)
        failure = pos3.Pos3Error(*raised.__notes__) if hasattr(raised, "__notes__") else None
        if storm:
            self.ride_out(failure, local, remote, [local], outcomes)
        elif self.went_as_expected(failure, outcomes) and pushes:
            self.know_uploaded(local, remote)

    def attempt(self, call: Callable[[], object], storm: str | None) -> pos3.Pos3Error | None:
        """The error with which ``call`` ended, if it is one that pos3 raises on purpose."""
        self.world.faulty(*([STORMS[storm]()] if storm else []))
        try:
            return attempt(call)
        finally:
            self.world.faulty()

    def went_as_expected(self, error: pos3.Pos3Error | None, outcomes: list[Tree]) -> bool:
        """Whether the bucket holds one of the outcomes; without any the call must have been refused."""
        if outcomes and error is None:
            self.settle_remote(outcomes)
            return True
        assert not outcomes, f"{error!r}"
        assert error is not None, "a clash of names was not noticed"
        return False

    # -- what the promises say

    def expected_download(self) -> Tree | None:
        """The local side after a download; None if it must be refused."""
        local, remote, choice = self.world.local(), self.world.remote, self.terms.choice
        theirs = choice.view(remote)
        if clashes(theirs) or (not self.terms.delete_local and clashes(choice.view(local), theirs)):
            return None
        if not files(theirs) and clashes(choice.view(local), theirs):
            return None
        return downloaded(local, remote, choice, delete=self.terms.delete_local)

    def protected(self, local: Tree, remote: Tree, *, or_maybe: bool = False) -> set[str]:
        """What another writer has put there since the registration, and this mirror has not replaced."""
        found = set()
        for name, data in self.terms.choice.view(remote).items():
            known = self.known.get(name)
            mine = known is not None and known.data == data and (known.mine or (known.mine is None and not or_maybe))
            # The same content as at the registration: only the time tells, in whole seconds, and they may be the same.
            same = self.at_opening.get(name) == data and not or_maybe
            if self.foreign.get(name) != data or mine or same:
                continue
            edited = known is None or known.stamp != self.world.stamp(name)
            if name not in local or (not edited and known is not None and known.data != data):
                found.add(name)
        return found

    def expected_upload(self, *, delete: bool) -> list[Tree]:
        """What the bucket may hold after a full comparison; nothing if it must be refused."""
        local, remote, choice = self.world.local(), self.world.remote, self.terms.choice
        outcomes = []
        for stays in (self.protected(local, remote), self.protected(local, remote, or_maybe=True)):
            after = uploaded(local, remote, choice, stays, delete=delete)
            kept = {name for name in after if name not in local and not choice.hides(name)}
            if not clashes(files(choice.view(local)), kept):
                outcomes.append(after)
        return outcomes

    def expected_push(self) -> list[Tree]:
        """What the bucket may hold after a background push."""
        local, remote, choice = self.world.local(), self.world.remote, self.terms.choice
        ours = files(choice.view(local))
        if not self.known:
            return self.expected_upload(delete=False) if ours else [remote]
        changed = {name: data for name, data in ours.items() if not self.is_as_known(name, data)}
        least, most = remote | changed, remote | changed
        for name, known in self.known.items():
            gone = name not in local and not choice.hides(name) and remote.get(name) == known.data
            if gone and ours and self.terms.delete_remote:
                if known.mine or known.mine is None:
                    del most[name]
                if known.mine:
                    del least[name]
        return [least, most]

    def is_as_known(self, name: str, data: bytes) -> bool:
        known = self.known.get(name)
        return known is not None and (known.stamp == self.world.stamp(name) or known.data == data)

    # -- what is compared, and remembered

    def check_local(self, expected: Tree) -> None:
        assert self.world.local() == expected

    def settle_remote(self, outcomes: list[Tree]) -> None:
        """The bucket holds one of the outcomes, name by name; which one, is known from now on."""
        markers = self.site.server.traits.markers
        outcomes = [outcome if markers else files(outcome) for outcome in outcomes]
        self.world.remote = self.between(self.world.stored(), outcomes)

    def between(self, found: Tree, outcomes: list[Tree]) -> Tree:
        means, meant = settled(found), [settled(outcome) for outcome in outcomes]
        names = {name for outcome in (means, *meant) for name in outcome}
        wrong = {
            name: (means.get(name), [outcome.get(name) for outcome in meant])
            for name in names
            if means.get(name) not in [outcome.get(name) for outcome in meant]
        }
        assert not wrong, f"found, and allowed: {wrong}"
        return found

    def know_downloaded(self, before: Tree) -> None:
        theirs = files(self.terms.choice.view(self.world.remote))
        self.know(theirs, before, only_there=lambda name: False)

    def know_uploaded(self, local: Tree, remote: Tree) -> None:
        stays = self.protected(local, remote)
        ours = files(self.terms.choice.view(local))
        after = self.world.remote
        self.know(
            {name: data for name, data in ours.items() if name not in stays},
            remote,
            only_there=lambda name: name in after,
        )

    def know(self, equal: Tree, destination_before: Tree, only_there: Callable[[str], bool]) -> None:
        local = self.world.local()
        for name in list(self.known):
            if name not in local and not only_there(name) and not self.terms.choice.hides(name):
                del self.known[name]
        for name, data in equal.items():
            known = self.known.get(name)
            mine = known.mine if known is not None and known.data == data else None
            moved = destination_before.get(name) != data
            self.known[name] = Known(self.world.stamp(name), data, True if moved else mine)

    def know_pushed(self, local: Tree) -> None:
        ours = files(self.terms.choice.view(local))
        if not self.known:
            for name, data in ours.items():
                self.known[name] = Known(self.world.stamp(name), data, None)
            return
        for name, data in ours.items():
            known = self.known.get(name)
            mine = known.mine if known is not None and self.is_as_known(name, data) else True
            self.known[name] = Known(self.world.stamp(name), data, mine)
        for name in list(self.known):
            if name not in local and not self.terms.choice.hides(name) and name not in self.world.remote:
                known = self.known[name]
                if known.mine is not False and ours and self.terms.delete_remote:
                    del self.known[name]

    # -- the laws of an end

    def check_that_nothing_is_left_to_do(self, direction: str) -> None:
        delete = self.terms.delete_local if direction == "download" else self.terms.delete_remote
        source = self.world.remote if direction == "download" else self.world.local()
        if not source:
            return
        mirror = self.world.new_mirror()
        with pos3.activate(mirror):
            ask = pos3.plan_download if direction == "download" else pos3.plan_upload
            plan = ask(self.world.url, exclude=list(self.terms.choice.exclude))
        mirror.close()
        assert plan.to_copy == []
        assert not delete or plan.to_delete == []

    def check_that_a_second_run_moves_nothing(self) -> None:
        self.proxy.clear()
        mirror = self.world.new_mirror()
        self.register_upload(mirror)
        mirror.close()
        assert self.proxy.kinds.keys() <= {"LIST"}, self.proxy.kinds

    def ride_out(
        self,
        error: pos3.Pos3Error | None,
        local: Tree,
        remote: Tree,
        locals_after: list[Tree],
        remotes_after: list[Tree],
    ) -> None:
        """After a storm: all is done, or the call has failed and nothing is half or lost. The next run makes it good.

        Whether the call failed depends on the moment, so the history goes on from the same state in both cases.
        """
        mirror, self.mirror = self.mirror, None
        if mirror is not None:
            mirror.close(push=False)
        here, there = self.world.local(), self.world.stored()
        if error is None:
            assert here in [settled(tree) for tree in locals_after]
            self.between(there, remotes_after)
        self.check_partial(here, local, locals_after)
        self.check_partial(there, remote, remotes_after)
        self.world.remote, self.foreign, self.known = there, {}, {}
        if not self.converge():
            self.world.lose_all_files()
            for name in list(self.world.remote):
                self.world.delete(name)
        self.forget_the_index()

    def check_partial(self, found: Tree, before: Tree, after: list[Tree]) -> None:
        """Each file is as before or as it should become, and nothing is deleted before all copies are there."""
        for name, data in files(found).items():
            allowed = [tree.get(name) for tree in (before, *after)]
            assert data in allowed, f"{name} is {data!r}, allowed is {allowed}"
        lost = files(before).keys() - found.keys()
        if lost:
            done = [
                tree
                for tree in after
                if files(tree).items() <= found.items() and not any(name in tree for name in lost)
            ]
            assert done, f"deleted before the copies were complete: {lost}"

    def converge(self) -> bool:
        """Does what was tried once more; whether both sides may be mirrors of each other at all."""
        local, terms = self.world.local(), self.terms
        if terms.kind == "download":
            expected = self.expected_download()
            if expected is None:
                return False
            self.mirror = self.world.new_mirror()
            self.register()
            self.check_local(expected)
        else:
            outcomes = self.expected_upload(delete=terms.delete_remote)
            if not outcomes:
                return False
            self.mirror = self.world.new_mirror()
            self.register_upload(self.mirror)
            self.mirror.close()
            self.check_local(local)
            self.settle_remote(outcomes)
        self.mirror.close()
        self.mirror = None
        return True


def attempt(call: Callable[[], object]) -> pos3.Pos3Error | None:
    """The error with which ``call`` ended, if it is one that pos3 raises on purpose."""
    try:
        call()
    except pos3.Pos3Error as error:
        return error
    return None


def pick(names: Iterable[str], number: int) -> str:
    """One of the names, "" if there is none."""
    found = sorted(names)
    return found[number % len(found)] if found else ""


def histories_on(site: S3Site, proxy: Proxy, home: Path) -> type[Histories]:
    """The state machine for one server; each history has a prefix and a cache of its own."""
    return type("Histories", (Histories,), {"site": site, "proxy": proxy, "home": home, "steps": 0})
