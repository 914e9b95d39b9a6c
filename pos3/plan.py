"""PURE. From listings to a plan: what would be copied and deleted, each with its reason.

Three streams, each sorted by path in code-point order (which is also the byte order of UTF-8, S3's own), are
walked at once: the local listing, the remote listing, and the records of the last sync. Memory grows with
what differs, not with what exists.

Whether a file that exists on both sides is copied, ``compare="auto"``:

======  ===========  ============  ==================  ==========================================
record  local file   object        download            upload
======  ===========  ============  ==================  ==========================================
yes     as recorded  as recorded   unchanged           unchanged
yes     differs      as recorded   copy, unless        copy, unless proven equal (it was touched)
                                   proven equal
yes     as recorded  differs       copy                copy; kept if another writer changed it
                                                       while this mirror was open
yes     differs      differs       copy                copy, unless proven equal (it was sent by
                                                       a mirror that died before it noted that)
no      other size                 copy                copy
no      same size, proven equal    unchanged           unchanged
no      same size, not equal MD5   copy                copy
no      same size, no MD5 to tell  copy, unless the    copy, if the file is newer than the object
                                   times are equal
======  ===========  ============  ==================  ==========================================

``compare="size"`` looks at sizes only; ``compare="checksum"`` takes only proven equality for unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pos3.entry import Entry, Record
from pos3.errors import InvalidArgumentError, PlanRefusedError, UnsafeKeysError
from pos3.keys import PathChecker
from pos3.report import Kept

Direction = Literal["download", "upload"]
Compare = Literal["auto", "size", "checksum"]
SYMLINK = "a symbolic link"
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Action:
    """One file to copy or delete. ``source`` is the entry to copy, or the entry that will be deleted."""

    path: str
    reason: str
    source: Entry


@dataclass(frozen=True)
class Plan:
    """What a transfer would do. Nothing has been done yet.

    ``copies`` come first, then ``last_copies``, then ``deletes``, then ``directories`` (empty ones to create). In an
    upload, the markers of directories come before the deletes, but for those whose reason is ``EMPTIED``.
    ``obstacles`` are local paths of the wrong kind (a directory where a file goes) that make way for copies.
    ``confirmed`` are new records of pairs that were found equal without a transfer; ``forgotten`` are paths of records
    that have nothing left on either side.
    """

    direction: Direction
    copies: tuple[Action, ...] = ()
    last_copies: tuple[Action, ...] = ()
    deletes: tuple[Action, ...] = ()
    directories: tuple[Action, ...] = ()
    obstacles: tuple[str, ...] = ()
    confirmed: tuple[Record, ...] = ()
    forgotten: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    unchanged: int = 0
    source_files: int = 0
    destination_files: int = 0

    @property
    def copy_bytes(self) -> int:
        return sum(action.source.size_bytes for action in (*self.copies, *self.last_copies))

    @property
    def copy_files(self) -> int:
        return len(self.copies) + len(self.last_copies)

    @property
    def overwrites(self) -> bool:
        """Whether something that exists at the destination would be replaced."""
        return any(action.reason != NEW for action in (*self.copies, *self.last_copies)) or bool(self.obstacles)

    @property
    def is_empty(self) -> bool:
        return not (self.copies or self.last_copies or self.deletes or self.directories)


@dataclass(frozen=True)
class TransferPlan:
    """What a download or upload would do, as URLs and paths.

    ``to_copy`` holds (source, destination) pairs, ``to_delete`` what ``delete=True`` would remove at the destination,
    and ``reasons`` the reason for each destination.
    """

    to_copy: list[tuple[str, str]]
    to_delete: list[str]
    reasons: dict[str, str] = field(default_factory=dict, compare=False)


NEW = "new"
EMPTIED = "empty once the deletes are done"


def _never(_path: str) -> bool:
    return False


def _unprotected(_remote: Entry, _record: Record | None) -> str:
    return ""


def _never_outranked(_local: Entry, _remote: Entry, _record: Record | None) -> str:
    return ""


def _unproven(_local: Entry, _remote: Entry) -> bool:
    return False


@dataclass(frozen=True)
class Policy:
    """The rules of one plan.

    ``proven_equal`` may read the local file. ``protects`` gives the reason why an object that this mirror did not
    write must stay as it is, or ""; ``outranks`` the reason why an object stays although the local file differs from
    it. ``overwrite`` and ``last`` are predicates of a path. ``where`` names the remote side in errors. ``fold_names``
    says that the local disk ignores case.
    """

    direction: Direction
    where: str
    delete: bool = False
    compare: Compare = "auto"
    proven_equal: Callable[[Entry, Entry], bool] = _unproven
    protects: Callable[[Entry, Record | None], str] = _unprotected
    outranks: Callable[[Entry, Entry, Record | None], str] = _never_outranked
    overwrite: Callable[[str], bool] = _never
    last: Callable[[str], bool] = _never
    fold_names: bool = False
    key_prefix: str = ""


def march(
    local: Iterable[Entry], remote: Iterable[Entry], records: Iterable[Record]
) -> Iterator[tuple[str, Entry | None, Entry | None, Record | None]]:
    """Each path that any of the three sorted streams holds, once, with what each of them holds there."""
    locals_, remotes, recorded = iter(local), iter(remote), iter(records)
    here, there, record = next(locals_, None), next(remotes, None), next(recorded, None)
    while here is not None or there is not None or record is not None:
        path = min(head.path for head in (here, there, record) if head is not None)
        found: tuple[Entry | None, Entry | None, Record | None] = (None, None, None)
        if here is not None and here.path == path:
            found, here = (here, None, None), next(locals_, None)
        if there is not None and there.path == path:
            found, there = (found[0], there, None), next(remotes, None)
        if record is not None and record.path == path:
            found, record = (found[0], found[1], record), next(recorded, None)
        yield path, *found


def differs(local: Entry, remote: Entry, record: Record | None, policy: Policy) -> str:
    """The reason why the two need a copy, or "" when they count as equal. See the table above."""
    if local.size_bytes != remote.size_bytes:
        return "different size"
    if policy.compare == "size":
        return ""
    if policy.compare == "checksum":
        return "" if policy.proven_equal(local, remote) else "content not proven equal"
    if record is not None and record.etag:
        if record.etag != remote.etag:
            sent_before = policy.direction == "upload" and not record.matches_local(local)
            return "" if sent_before and policy.proven_equal(local, remote) else "changed remotely"
        return "" if record.matches_local(local) or policy.proven_equal(local, remote) else "changed locally"
    if policy.proven_equal(local, remote):
        return ""
    if "-" not in remote.etag:
        return "different content"
    if policy.direction == "download":
        return "" if local.modified_ns // _NS == remote.modified_ns // _NS else "different modification time"
    return "newer than the object" if local.modified_ns // _NS > remote.modified_ns // _NS else ""


@dataclass
class _Draft:
    copies: list[Action] = field(default_factory=list)
    last_copies: list[Action] = field(default_factory=list)
    deletes: list[Action] = field(default_factory=list)
    directories: list[Action] = field(default_factory=list)
    emptied: list[Action] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    confirmed: list[Record] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    unchanged: int = 0
    source_files: int = 0
    destination_files: int = 0

    def confirm(self, local: Entry, etag: str, record: Record | None, policy: Policy) -> None:
        """Notes a pair that was found equal, unless that is on record; equal sizes alone are no such finding."""
        known = record is not None and record.matches_local(local) and record.etag == etag
        if known or policy.compare == "size":
            return
        # Found equal, not transferred: unless it was before, such a pair belongs to no mirror.
        owner = record.owner if record is not None and record.etag == etag else ""
        self.confirmed.append(Record(local.path, local.size_bytes, local.modified_ns, local.inode, etag, owner))

    def plan(self, direction: Direction, problems: list[str], where: str) -> Plan:
        if problems:
            raise UnsafeKeysError(where, problems)
        if not self.source_files and self.deletes:
            self.kept += [Kept(action.path, "the source is empty") for action in self.deletes]
            self.deletes = []
            self.emptied = []
        return Plan(
            direction,
            tuple(self.copies),
            tuple(self.last_copies),
            tuple(self.deletes),
            (*self.directories, *self.emptied),
            tuple(self.obstacles),
            tuple(self.confirmed),
            tuple(self.forgotten),
            tuple(self.kept),
            self.unchanged,
            self.source_files,
            self.destination_files,
        )


class _Above:
    """The names of a sorted walk that the current path may lie below. All paths lie below the root, ""."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def find(self, path: str) -> str | None:
        """The innermost pushed name that ``path`` lies below, or None."""
        self._leave(path)
        for name in reversed(self._names):
            below = name if not name or name.endswith("/") else f"{name}/"
            if path != name and path.startswith(below):
                return name
        return None

    def push(self, name: str) -> None:
        self._leave(name)
        self._names.append(name)

    def _leave(self, path: str) -> None:
        # Nothing that sorts after ``path`` can lie below a name that ``path`` does not start with.
        while self._names and not path.startswith(self._names[-1]):
            self._names.pop()


def plan_download(local: Iterable[Entry], remote: Iterable[Entry], records: Iterable[Record], policy: Policy) -> Plan:
    """The plan that makes the local side equal to the remote one.

    Raises:
        UnsafeKeysError: some remote keys cannot be files below the target, or something local is in their way.
    """
    planner = _DownloadPlanner(policy)
    for (path, here, there, record), following in _with_next(march(local, remote, records)):
        if there is not None:
            planner.visit_remote(here, there, record)
        elif here is not None:
            planner.visit_local_only(here, following)
        else:
            planner.draft.forgotten.append(path)
    return planner.draft.plan("download", planner.checker.problems, policy.where)


class _DownloadPlanner:
    def __init__(self, policy: Policy):
        self.policy = policy
        self.draft = _Draft()
        self.checker = PathChecker(fold_names=policy.fold_names)
        self._files_here, self._unusable_here, self._files_there = _Above(), _Above(), _Above()

    def visit_remote(self, here: Entry | None, there: Entry, record: Record | None) -> None:
        path = there.path
        if here is not None:
            self._note_local(here)
        if not self.checker.check(path):
            return
        if there.is_directory and there.size_bytes:
            self.checker.add(f"{path!r}: an object with content, but its name means a directory")
        self._make_way_for(path, here)
        if there.is_directory:
            if here is None:
                self.draft.directories.append(Action(path, NEW, there))
            return
        self.draft.source_files += 1
        self._files_there.push(path)
        usable = here if here is not None and not here.unusable else None
        reason = _download_reason(usable, here, there, record, self.policy)
        if reason:
            self.draft.copies.append(Action(path, reason, there))
            return
        self.draft.unchanged += 1
        if usable is not None:
            self.draft.confirm(usable, there.etag, record, self.policy)

    def visit_local_only(self, here: Entry, following: str) -> None:
        self._note_local(here)
        if here.unusable:
            self.draft.kept.append(Kept(here.path, here.unusable))
            return
        above = self._files_there.find(here.path)
        if above is not None:
            self._make_way(above)
        will_be_filled = here.is_directory and following.startswith(here.path)
        if self.policy.delete and not will_be_filled:
            self.draft.deletes.append(Action(here.path, "not in the source", here))

    def _note_local(self, here: Entry) -> None:
        self.draft.destination_files += not here.is_directory
        if here.unusable not in ("", SYMLINK):
            self._unusable_here.push(here.path)
        elif not here.is_directory:
            self._files_here.push(here.path)

    def _make_way_for(self, path: str, here: Entry | None) -> None:
        """Notes what lies where ``path``, or a directory above it, has to go."""
        blocking = self._unusable_here.find(path)
        if here is not None and here.unusable not in ("", SYMLINK):
            blocking = path
        replaced = self._files_here.find(path)
        if blocking is not None:
            self.checker.add(f"{path!r}: {blocking!r} is in the way locally and cannot be replaced")
        elif replaced is not None:
            self._make_way(replaced)

    def _make_way(self, obstacle: str) -> None:
        if not self.policy.delete:
            name = repr(obstacle) if obstacle else "the target itself"
            self.checker.add(f"{name}: a file on one side and a directory on the other, and delete is off")
        elif obstacle not in self.draft.obstacles[-1:]:
            self.draft.obstacles.append(obstacle)


def _download_reason(
    usable: Entry | None, here: Entry | None, there: Entry, record: Record | None, policy: Policy
) -> str:
    if usable is None and here is not None:
        as_pushed = record is not None and record.matches_local(here) and record.etag == there.etag
        return "" if as_pushed else f"replaces {here.unusable}"
    if usable is None:
        return NEW
    if policy.overwrite(there.path):
        return "always overwritten"
    return differs(usable, there, record, policy)


def plan_upload(local: Iterable[Entry], remote: Iterable[Entry], records: Iterable[Record], policy: Policy) -> Plan:
    """The plan that makes the remote side equal to the local one.

    Markers are planned only for directories that are empty on both sides. The remote twin of something that
    cannot be read locally is kept, with all that lies below it.

    Raises:
        UnsafeKeysError: some local names cannot be keys.
    """
    planner = _UploadPlanner(policy)
    for path, here, there, record in march(local, remote, records):
        if here is not None:
            planner.visit_local(here, there, record)
        elif there is not None:
            planner.visit_remote_only(there, record)
        elif planner.unusable_here.find(path) is None:
            planner.draft.forgotten.append(path)
    planner.hollow.leave("")
    return planner.draft.plan("upload", planner.problems, policy.where)


class _Hollow:
    """What is to be done with directories of a sorted walk in which nothing turns out to stay."""

    def __init__(self) -> None:
        self._open: list[tuple[Action, list[Action]]] = []

    def enter(self, action: Action, actions: list[Action]) -> None:
        """``action`` is to join ``actions`` unless something stays below its path."""
        self._open.append((action, actions))

    def leave(self, path: str) -> None:
        """Decides on the directories that do not hold ``path``, the next one of the walk."""
        while self._open and not path.startswith(self._open[-1][0].path):
            action, actions = self._open.pop()
            actions.append(action)

    def fill(self) -> None:
        """Something stays at the current path."""
        self._open.clear()

    def empty(self, actions: list[Action], emptied: list[Action]) -> None:
        """Something at the current path is to go: what was to join ``actions`` joins ``emptied``, for that reason."""
        self._open = [
            (Action(action.path, EMPTIED, action.source), emptied) if wanted is actions else (action, wanted)
            for action, wanted in self._open
        ]


class _UploadPlanner:
    def __init__(self, policy: Policy):
        self.policy = policy
        self.draft = _Draft()
        self.problems: list[str] = []
        self.unusable_here = _Above()
        self._files_here, self._objects_there = _Above(), _Above()
        self._staying: set[str] = set()
        self.hollow = _Hollow()

    def visit_local(self, here: Entry, there: Entry | None, record: Record | None) -> None:
        path = here.path
        self.hollow.leave(path)
        self.hollow.fill()
        self.draft.destination_files += there is not None
        blocking = self._objects_there.find(path)
        if here.unusable:
            self.unusable_here.push(path)
            self.draft.kept.append(Kept(path, here.unusable))
        elif problem := _key_problem(path, self.policy.key_prefix):
            self.problems.append(f"{path!r}: {problem}")
        elif here.is_directory:
            if blocking is not None and blocking in self._staying:
                self.draft.kept.append(Kept(path, f"{blocking!r} is an object there"))
            elif there is None:
                self.hollow.enter(Action(path, NEW, here), self.draft.directories)
        elif blocking is not None and blocking in self._staying:
            self.problems.append(f"{path!r}: {blocking!r} is an object there, and it stays")
        else:
            self._files_here.push(path)
            self.draft.source_files += 1
            _plan_file(self.draft, here, there, record, self.policy)

    def visit_remote_only(self, there: Entry, record: Record | None) -> None:
        path = there.path
        self.hollow.leave(path)
        self.draft.destination_files += 1
        if not there.is_directory:
            # The marker of a directory is in nobody's way.
            self._objects_there.push(path)
        reason = self._reason_to_stay(there, record)
        if reason:
            self._staying.add(path)
            if (blocked := self._files_here.find(path)) is not None:
                self.problems.append(f"{blocked!r}: objects lie below that name there, and they stay")
        delete = Action(path, "not in the source", there)
        if reason:
            self.hollow.fill()
            if self.policy.delete:
                self.draft.kept.append(Kept(path, reason))
            return
        self.hollow.empty(self.draft.directories, self.draft.emptied)
        if there.is_directory:
            self.hollow.enter(delete, self.draft.deletes)
        else:
            self.draft.deletes.append(delete)

    def _reason_to_stay(self, there: Entry, record: Record | None) -> str:
        if not self.policy.delete:
            return "delete is off"
        if self.unusable_here.find(there.path) is not None:
            return "its local twin cannot be read"
        return self.policy.protects(there, record)


def _plan_file(draft: _Draft, here: Entry, there: Entry | None, record: Record | None, policy: Policy) -> None:
    if there is None:
        reason = NEW
    elif policy.overwrite(here.path):
        reason = "always overwritten"
    else:
        reason = differs(here, there, record, policy)
    if there is not None and reason and (kept := _reason_to_keep(here, there, record, policy)):
        draft.kept.append(Kept(here.path, kept))
    elif reason:
        (draft.last_copies if policy.last(here.path) else draft.copies).append(Action(here.path, reason, here))
    else:
        draft.unchanged += 1
        if there is not None:
            draft.confirm(here, there.etag, record, policy)


def _reason_to_keep(here: Entry, there: Entry, record: Record | None, policy: Policy) -> str:
    changed_there_only = record is not None and record.matches_local(here) and record.etag != there.etag
    return (policy.protects(there, record) if changed_there_only else "") or policy.outranks(here, there, record)


def plan_push(local: Iterable[Entry], records: Iterable[Record], owner: str, policy: Policy) -> Plan:
    """The plan of a background push: the local side against the records alone, without asking the store.

    Deletes only objects that ``owner``, this mirror, transferred itself and whose file is gone.

    Raises:
        UnsafeKeysError: some local names cannot be keys.
    """
    draft = _Draft()
    problems: list[str] = []
    unusable_here = _Above()
    for path, here, _, record in march(local, (), records):
        if here is not None and here.unusable:
            unusable_here.push(path)
            draft.kept.append(Kept(path, here.unusable))
        elif here is not None and not here.is_directory:
            draft.source_files += 1
            changed = record is None or not _is_as_recorded(here, record, policy)
            if problem := _key_problem(path, policy.key_prefix):
                problems.append(f"{path!r}: {problem}")
            elif changed or policy.overwrite(path):
                reason = NEW if record is None else "changed locally" if changed else "always overwritten"
                (draft.last_copies if policy.last(path) else draft.copies).append(Action(path, reason, here))
            else:
                draft.unchanged += 1
                if record is not None:
                    draft.confirm(here, record.etag, record, policy)
        elif here is None and record is not None and record.owner == owner and policy.delete:
            if unusable_here.find(path) is not None:
                continue
            gone = Entry(path, record.size_bytes, etag=record.etag)
            draft.deletes.append(Action(path, "deleted locally", gone))
    return draft.plan("upload", problems, policy.where)


def _is_as_recorded(local: Entry, record: Record, policy: Policy) -> bool:
    """Whether the file is the recorded one, or at least proven to have its content."""
    if record.matches_local(local):
        return True
    recorded = Entry(record.path, record.size_bytes, etag=record.etag)
    return local.size_bytes == record.size_bytes and policy.proven_equal(local, recorded)


def _with_next(
    steps: Iterable[tuple[str, Entry | None, Entry | None, Record | None]],
) -> Iterator[tuple[tuple[str, Entry | None, Entry | None, Record | None], str]]:
    """Each step, in order, with the path of the next one that exists on a side, or "" at the end.

    Sorted order puts "dir/" right before what lies in it, so one step ahead tells whether it is empty.
    """
    waiting: list[tuple[str, Entry | None, Entry | None, Record | None]] = []
    for step in steps:
        if step[1] is not None or step[2] is not None:
            for earlier in waiting:
                yield earlier, step[0]
            waiting.clear()
        waiting.append(step)
    for earlier in waiting:
        yield earlier, ""


def _key_problem(path: str, key_prefix: str) -> str:
    try:
        length = len(key_prefix) + len(path.encode())
    except UnicodeEncodeError:
        return "a name that is not valid UTF-8 and so cannot be a key"
    return "a key longer than 1,024 bytes" if length > 1024 else ""


def check_max_delete(plan: Plan, max_delete: int | str | None) -> None:
    """Refuses a plan that deletes more than allowed.

    Args:
        max_delete: a count of files, a share of the destination such as "50%", or None for no limit.

    Raises:
        PlanRefusedError: with the plan's figures.
        InvalidArgumentError: the limit is neither of the three.
    """
    limit = parse_max_delete(max_delete, plan.destination_files)
    if limit is not None and len(plan.deletes) > limit:
        examples = ", ".join(repr(action.path) for action in plan.deletes[:3])
        raise PlanRefusedError(
            f"the {plan.direction} would delete {len(plan.deletes)} of {plan.destination_files} files "
            f"(among them {examples}) and copy {plan.copy_files}, but max_delete={max_delete!r} allows {limit}; "
            "nothing was deleted. Raise max_delete, or find out why the source has so few files."
        )


def parse_max_delete(max_delete: int | str | None, destination_files: int) -> int | None:
    """The largest number of deletes that ``max_delete`` allows; None for no limit."""
    if max_delete is None:
        return None
    if isinstance(max_delete, int) and not isinstance(max_delete, bool) and max_delete >= 0:
        return max_delete
    if isinstance(max_delete, str):
        text = max_delete.strip()
        if text.isascii() and text.isdigit():
            return int(text)
        share = text[:-1].replace(".", "", 1)
        if text.endswith("%") and share.isascii() and share.isdigit() and float(text[:-1]) <= 100:
            return int(destination_files * float(text[:-1]) / 100)
    raise InvalidArgumentError(f"max_delete={max_delete!r}: expected a count such as 100 or a share such as '50%'")
