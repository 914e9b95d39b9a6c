"""What the promises say, as dictionaries: what each side must hold after a step, and what pos3 then remembers.

The model knows the promises and not the code. Where they leave something open, it allows both outcomes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.model.trees import CHOICES, Choice, Tree, clashes, downloaded, files, uploaded, without
from tests.model.world import Stamp, World


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


@dataclass
class Model:
    """What can be known of a world: what was equal once, what others have put there since the mirror was opened."""

    world: World
    terms: Terms = field(default_factory=lambda: Terms("download", CHOICES[0], True, True, False))
    known: dict[str, Known] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)
    """Directories whose markers the open mirror has put itself; all markers are alike."""
    foreign: Tree = field(default_factory=dict)
    at_opening: Tree = field(default_factory=dict)
    brought: tuple[Choice, Tree] | None = None
    """What the last download has brought, if it is known that all of it was, and no push was begun since."""

    def begin(self, terms: Terms) -> None:
        """A mirror is opened; nothing is its own yet."""
        self.terms = terms
        self.known = {name: replace(known, mine=False) for name, known in self.known.items()}
        self.foreign, self.at_opening, self.marked = {}, dict(self.world.remote), set()

    def doubt(self) -> None:
        """A mirror has failed, so nobody knows what it has remembered."""
        self.known = {name: replace(known, mine=None) for name, known in self.known.items()}
        self.foreign, self.marked, self.brought = {}, set(), None

    def forget(self) -> None:
        self.known, self.marked, self.brought = {}, set(), None

    # What a step must come to

    def after_download(self) -> Tree | None:
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
            if self.foreign.get(name) != data or mine or same or name in self.marked:
                continue
            edited = known is None or known.stamp != self.world.stamp(name)
            if name not in local or (not edited and known is not None and known.data != data):
                found.add(name)
        return found

    def lost(self, local: Tree, remote: Tree, *, or_maybe: bool = False) -> set[str]:
        """Files that an earlier mirror had synced, and whose objects others have deleted: they are not pushed again."""
        terms, choice = self.terms, self.terms.choice
        if not terms.delete_remote or (terms.kind == "sync" and not terms.delete_local):
            return set()
        if not self.known.keys() & files(choice.view(remote)).keys():
            return set()
        unchanged = {name for name, known in self.known.items() if known.stamp == self.world.stamp(name)}
        gone = unchanged & files(choice.view(local)).keys() - remote.keys()
        return {name for name in gone if self.known[name].mine is False or (self.known[name].mine is None and or_maybe)}

    def after_upload(self, *, delete: bool) -> list[Tree]:
        """What the bucket may hold after a full comparison; nothing if it must be refused."""
        local, remote, choice = self.world.local(), self.world.remote, self.terms.choice
        outcomes = []
        for is_maybe in (False, True):
            stays = self.protected(local, remote, or_maybe=is_maybe)
            pushed = without(local, self.lost(local, remote, or_maybe=is_maybe))
            after = uploaded(pushed, remote, choice, stays, delete=delete)
            kept = {name for name in after if name not in local and not choice.hides(name)}
            if not clashes(files(choice.view(local)), kept):
                outcomes.append(after)
        return outcomes

    def after_clean_end(self) -> list[Tree]:
        """What the local side may hold after the last push of an upload or sync."""
        local, remote = self.world.local(), self.world.remote
        return [without(local, self.lost(local, remote, or_maybe=is_maybe)) for is_maybe in (False, True)]

    def after_push(self) -> list[Tree]:
        """What the bucket may hold after a background push."""
        local, remote, choice = self.world.local(), self.world.remote, self.terms.choice
        ours = files(choice.view(local))
        if not self.known:
            return self.after_upload(delete=False) if ours else [remote]
        changed = {name: data for name, data in ours.items() if not self.is_as_known(name, data)}
        least, most = remote | changed, remote | changed
        for name, known in self.known.items():
            gone = name not in local and not choice.hides(name) and remote.get(name) == known.data
            if gone and ours and self.terms.delete_remote:
                if known.mine or known.mine is None:
                    del most[name]
                if known.mine:
                    del least[name]
        if ours and self.terms.delete_remote:
            for name in self.marked & remote.keys() - local.keys():
                del least[name], most[name]
        return [least, most]

    def is_as_known(self, name: str, data: bytes) -> bool:
        known = self.known.get(name)
        return known is not None and (known.stamp == self.world.stamp(name) or known.data == data)

    # What is remembered when it has come to that

    def know_downloaded(self, before: Tree) -> None:
        theirs = files(self.terms.choice.view(self.world.remote))
        self._know(theirs, before, only_there=lambda name: False)
        self.brought = (self.terms.choice, theirs) if theirs else None

    def know_uploaded(self, local: Tree, remote: Tree) -> None:
        stays = self.protected(local, remote)
        ours, after = files(self.terms.choice.view(local)), self.world.remote
        self._know(
            {name: data for name, data in ours.items() if name not in stays and name in after},
            remote,
            only_there=lambda name: name in after,
        )
        self._know_markers(local, remote)

    def _know_markers(self, local: Tree, before: Tree) -> None:
        """After both sides were compared."""
        after = self.world.remote
        put = {name for name in after.keys() - before.keys() if name.endswith("/")}
        self.marked = (self.marked | put) & (after.keys() | local.keys())

    def _know(self, equal: Tree, destination_before: Tree, only_there: Callable[[str], bool]) -> None:
        local = self.world.local()
        for name in list(self.known):
            if name not in local and not only_there(name) and not self.terms.choice.hides(name):
                del self.known[name]
        for name, data in equal.items():
            known = self.known.get(name)
            # What was found equal without a transfer is nobody's, unless it was somebody's before.
            mine = known.mine if known is not None and known.data == data else False
            moved = destination_before.get(name) != data
            self.known[name] = Known(self.world.stamp(name), data, True if moved else mine)

    def know_pushed(self, local: Tree, before: Tree) -> None:
        ours = files(self.terms.choice.view(local))
        if not self.known:
            if ours:
                self._know_markers(local, before)
            for name, data in ours.items():
                self.known[name] = Known(self.world.stamp(name), data, None)
            return
        if ours and self.terms.delete_remote:
            self.marked &= self.world.remote.keys() | local.keys()
        for name, data in ours.items():
            known = self.known.get(name)
            mine = known.mine if known is not None and self.is_as_known(name, data) else True
            self.known[name] = Known(self.world.stamp(name), data, mine)
        for name in list(self.known):
            if name not in local and not self.terms.choice.hides(name) and name not in self.world.remote:
                known = self.known[name]
                if known.mine is not False and ours and self.terms.delete_remote:
                    del self.known[name]
