"""PURE. The two sides as the model knows them: names to contents, a name that ends in "/" for an empty directory."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

Tree = dict[str, bytes]


@dataclass(frozen=True)
class Choice:
    """An ``exclude`` argument, and what it hides, said in another way."""

    exclude: tuple[str, ...]
    hides: Callable[[str], bool]

    def view(self, tree: Tree) -> Tree:
        """What takes part."""
        return {name: data for name, data in tree.items() if not self.hides(name)}

    def rest(self, tree: Tree) -> Tree:
        """What takes no part, and must stay as it is on both sides."""
        return {name: data for name, data in tree.items() if self.hides(name)}

    def __repr__(self) -> str:
        return f"exclude={list(self.exclude)}"


CHOICES = (
    Choice((), lambda name: False),
    Choice(("*.tmp",), lambda name: name.endswith(".tmp")),
    Choice(("/raw", "d/*.tmp"), lambda name: name.startswith("raw/") or (name.startswith("d/") and ".tmp" in name)),
)


def above(name: str) -> list[str]:
    """The directories above a name, outermost first, without slashes at their ends."""
    parts = name.rstrip("/").split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def files(tree: Tree) -> Tree:
    return {name: data for name, data in tree.items() if not name.endswith("/")}


def settled(tree: Tree) -> Tree:
    """The tree without the markers of directories that are not empty, which mean nothing."""
    filled = {f"{directory}/" for name in tree for directory in above(name)}
    return {name: data for name, data in tree.items() if name not in filled}


def without(tree: Tree, gone: set[str]) -> Tree:
    """The local side without these files, and without directories that only held such."""
    return {name: data for name, data in tree.items() if name not in gone}


def _directories(name: str) -> list[str]:
    """The names that must be directories for this one to exist."""
    return [*above(name), name.rstrip("/")] if name.endswith("/") else above(name)


def clashes(one: Iterable[str], other: Iterable[str] | None = None) -> bool:
    """Whether a name of one tree is a file where the other, or itself, has a directory."""
    ones = set(one)
    others = ones if other is None else set(other)
    return any(
        directory in files_there
        for names, files_there in ((ones, others), (others, ones))
        for name in names
        for directory in _directories(name)
    )


def downloaded(local: Tree, remote: Tree, choice: Choice, *, delete: bool) -> Tree:
    """The local side after a download that succeeds."""
    theirs = choice.view(remote)
    kept = choice.rest(local) if delete and files(theirs) else local
    return settled(kept | theirs)


def downloaded_part(local: Tree, remote: Tree, choice: Choice, within: Container[str], *, delete: bool) -> Tree:
    """The local side after a download of one part. What is not ``within`` it stays."""
    theirs = {name: data for name, data in choice.view(remote).items() if name in within}
    deletes = delete and bool(files(theirs))
    kept = {name: data for name, data in local.items() if not deletes or choice.hides(name) or name not in within}
    return settled(kept | theirs)


def uploaded(local: Tree, remote: Tree, choice: Choice, stays: set[str], *, delete: bool) -> Tree:
    """The remote side after a full comparison; what is in ``stays`` is neither replaced nor deleted."""
    ours, theirs = choice.view(local), choice.view(remote)
    deletes = delete and bool(files(ours))
    kept = {name: data for name, data in theirs.items() if name in stays or not (deletes or name in ours)}
    # A directory that is empty is no reason to refuse, where an object of its name stays; its marker is not put then.
    placed = {
        name: data
        for name, data in ours.items()
        if not name.endswith("/") or name in theirs or not clashes([name], files(kept))
    }
    return choice.rest(remote) | placed | kept
