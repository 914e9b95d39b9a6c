"""What one registration would do: the plans of its transfers, from both sides, the records, and the policy."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice

from pos3.entries import UNPLACED, Entry, Record
from pos3.errors import ConflictError, NotPushedError, PlanRefusedError, RemoteNotFoundError, UnsafeKeysError
from pos3.etags import matches_content, part_size
from pos3.filters import Filter, entry_matcher, everything, matcher, nothing
from pos3.jobs.guards import Guard, Guards, Left
from pos3.jobs.registration import Registration
from pos3.local import (
    STATE_DIRECTORY,
    Scan,
    blocks,
    existing_parent,
    has_temporary_name,
    ignores_case,
    lies_in_cache,
    lies_in_state,
    local_entries,
    path_room_bytes,
)
from pos3.plan import IN_STATE, NEW, Compare, Plan, Policy, plan_download, plan_push, plan_upload
from pos3.reports import Kept
from pos3.state import HeldClaim, Index, NoClaim
from pos3.store import Store, Survey, twice_if_unsorted
from pos3.transfer import Markers, Pair

FILLED = "filled"
UNFINISHED = "its name is that of an unfinished file of pos3, so it takes no part"
STATE = "it lies where pos3 keeps its own state, so it takes no part"
_NS = 1_000_000_000


@dataclass
class _LeftOut:
    """Paths of objects that never take part, for one reason."""

    reason: str
    first: str = ""
    count: int = 0

    def add(self, path: str) -> None:
        self.first = self.first or path
        self.count += 1

    def told(self) -> tuple[Kept, ...]:
        if not self.count:
            return ()
        return (Kept(self.first, f"{self.reason}, like {self.count - 1} others" if self.count > 1 else self.reason),)


class Planner:
    """The plans of a :class:`pos3.jobs.link.Link`, and what is checked before they are carried out. Changes nothing."""

    complete_only = False
    """Whether a download of a part is of no use."""

    def __init__(self, registration: Registration, store: Store, index: Index, cache_root: str, owner: str):
        self.registration = registration
        self.pair = Pair(registration.local, store, registration.location)
        self.index = index
        self.markers: Markers = {}
        self.survey: Survey | None = None
        self.clock_ahead_seconds = 0.0
        self.owner = owner
        self.held: HeldClaim = NoClaim()
        self.find_guards: Callable[[], list[Guard]] = list
        self.left_to_others: tuple[Kept, ...] = ()
        self._left_out: tuple[_LeftOut, ...] = ()
        self._pushes_alone = True
        # What a push sees, and the download of the same registration leaves alone, is not gone because it is not here.
        self._is_downloaded = everything if registration.upload_exclude is None else registration.filter.predicate()
        self._url = str(registration.location)
        self._in_cache = lies_in_cache(registration.local, cache_root)
        self._own_state = os.path.relpath(os.path.join(cache_root, STATE_DIRECTORY), registration.local)

    def __str__(self) -> str:
        return str(self.registration)

    # Both sides, the records and the policy

    @property
    def _store(self) -> Store:
        return self.pair.store

    def take_stock(self) -> Survey:
        """Asks once what lies at the URL. Proves access, and fixes the moment from which others' writes are theirs."""
        if self.survey is None:
            survey = self._store.survey(self.registration.location.key)
            self.survey = survey if survey.server_time else replace(survey, server_time=time.time())
            self.clock_ahead_seconds = time.time() - self.survey.server_time
        return self.survey

    def _local(
        self, chosen: Filter, *, follow_symlinks: bool, leftovers: list[os.DirEntry[str]] | None = None
    ) -> Iterator[Entry]:
        keep = leftovers.append if leftovers is not None else lambda entry: None
        return local_entries(self.registration.local, Scan(follow_symlinks, chosen.predicate(), chosen.prunes(), keep))

    def _relative(self, path: str) -> str:
        return path[len(self.registration.local) + 1 :]

    def _objects(self, *, is_prefix: bool, to_push: bool = False) -> Iterator[Entry]:
        """All objects but those that look like unfinished files: no local file of such a name is ever content.

        Nor does a push look at keys that lie in a state directory; a download is not to pass them over.
        """
        landmarks = self.index.landmarks()
        takes_part = self.registration.filter.predicate()
        unfinished, state = _LeftOut(UNFINISHED), _LeftOut(STATE)
        self._left_out = (unfinished, state)
        for entry in self._store.entries(self.registration.location.key, is_prefix=is_prefix, landmarks=landmarks):
            path = entry[0]
            if STATE_DIRECTORY in path:
                if path == self._own_state and not to_push:
                    raise UnsafeKeysError(self._url, [f"{path!r}: {IN_STATE}"])
                which = unfinished if has_temporary_name(path) else state if to_push and lies_in_state(path) else None
                if which is not None:
                    if takes_part(path):
                        which.add(path)
                    continue
            yield entry

    def _with_left_out(self, plan: Plan) -> Plan:
        """The plan, which says in a line for each reason what :meth:`_objects` left out."""
        told = tuple(kept for left_out in self._left_out for kept in left_out.told())
        return replace(plan, kept=(*plan.kept, *told)) if told else plan

    def _remote(
        self, chosen: Filter, *, is_prefix: bool, only_object: bool = False, to_push: bool = False
    ) -> Iterator[Entry]:
        takes_part = chosen.predicate()
        entries = self._objects(is_prefix=is_prefix, to_push=to_push)
        if only_object:
            entries = (entry for entry in islice(entries, 1) if not entry.path)
        return entries if takes_part is everything else (entry for entry in entries if takes_part(entry.path))

    def _records(self, chosen: Filter) -> Iterator[Record]:
        takes_part = chosen.predicate()
        records = self.index.records()
        return records if takes_part is everything else (record for record in records if takes_part(record.path))

    def _records_to_push(self) -> Iterator[Record]:
        """The records, and among them the markers that this mirror has put, so that the same rules hold for both."""
        records = self._records(self.registration.push_filter)
        if not self.markers:
            return records
        # No directory is listed with such a time, so none of them passes for a file as recorded.
        put = [Record(path, 0, -1, 0, etag, self.owner) for path, etag in sorted(self.markers.items())]
        return merge(records, put)

    def _policy(self, *, delete: bool) -> Policy:
        registration = self.registration
        return Policy(
            "upload",
            f"{registration}",
            delete=delete,
            compare=registration.compare,
            proven_equal=self._proven_equal,
            protects=self._protects,
            overwrite=entry_matcher(registration.overwrite),
            last=matcher(registration.upload_last),
            key_prefix=f"{registration.location.key}/" if registration.location.key else "",
            local_root=registration.local,
        )

    def _proven_equal(self, local: Entry, remote: Entry) -> bool:
        path = self.pair.local_path(local.path)
        try:
            return matches_content(remote.etag, local.size_bytes, blocks(path), [part_size(local.size_bytes)])
        except OSError:
            return False

    def _writes_alone(self) -> bool:
        """Whether no other open registration touches the local path."""
        return all(isinstance(guard, Left) for guard in self.find_guards())

    def _lost(self, local: Entry, record: Record) -> bool:
        """Whether an earlier mirror had the file in the store at this endpoint, and no link leads to it."""
        path = self.pair.local_path(local.path)
        return record.owner not in (self.owner, UNPLACED) and os.path.realpath(path) == path

    def _protects(self, remote: Entry, record: Record | None) -> str:
        if record is None and not self._pushes_alone:
            return "another open mirror pushes from the same local path"
        survey = self.take_stock()
        if record is not None and record.owner == self.owner and record.etag == remote.etag:
            return ""
        if not self._is_downloaded(remote.path):
            return "exclude hides it"
        if (remote.path, remote.etag) in survey.recent:
            return ""
        set_back_seconds = self._store.clock_set_back_seconds
        if remote.modified_ns < int(survey.server_time - set_back_seconds) * _NS:
            return ""
        if remote.modified_ns < int(survey.server_time) * _NS:
            return "the store's clock went back, so another writer may have put it there while this mirror was open"
        return "another writer put it there while this mirror was open"

    def keeps_at_end(self, path: str, remote: Entry, record: Record | None) -> bool:
        """Whether the last push would leave an object that has no local file."""
        if not self.registration.upload_delete or not self.registration.filter.predicate()(path):
            return True
        return bool(self._protects(remote._replace(path=path), record))

    # Plans

    def plan_download(
        self, *, delete: bool, leftovers: list[os.DirEntry[str]] | None = None, compare: Compare | None = None
    ) -> Plan:
        """
        Raises:
            RemoteNotFoundError: nothing is at the URL.
            ConflictError: it would change what somebody else writes.
            UnsafeKeysError and the store's errors.
        """
        guards = Guards(self.registration.local, self.find_guards())
        is_prefix = self.registration.location.is_prefix
        # A dry run leaves no trace, so it does not try out the disk.
        fold_names = leftovers is not None and ignores_case(existing_parent(self.registration.local))
        policy = replace(self._policy(delete=delete), direction="download", fold_names=fold_names, overwrite=nothing)
        policy = replace(policy, delete_argument=self.registration.delete_argument, spares=guards.spares)
        room_bytes = path_room_bytes(self.registration.local)
        policy = replace(policy, compare=compare or policy.compare, room_bytes=room_bytes)

        def plan() -> Plan:
            guards.reset()
            chosen = self.registration.filter
            local = self._local(chosen, follow_symlinks=False, leftovers=leftovers)
            remote = self._remote(chosen, is_prefix=is_prefix)
            return self._with_left_out(plan_download(local, remote, self._records(chosen), policy))

        made = self._without_never_pushed(twice_if_unsorted(plan))
        guards.check(self._url, may_keep=not self.complete_only)
        self.left_to_others = guards.kept
        made = replace(made, kept=(*made.kept, *guards.kept), written=guards.written)
        is_empty = not made.source_files and not made.directories
        if is_empty and not (guards.are_own and made.destination_files) and not self._is_there():
            # Plans and restored paths have no such argument.
            is_asked = leftovers is not None and not self.registration.is_restored
            raise RemoteNotFoundError(
                f"{self._url}: no object and no prefix with objects; nothing was changed. "
                f"Check the URL{', or pass missing_ok=True if it may be missing' if is_asked else ''}",
                url=self._url,
            )
        return made

    def _without_never_pushed(self, plan: Plan) -> Plan:
        """The plan without deletes of files that are never pushed, and so cannot be in the store."""
        if not plan.deletes or self.registration.upload_exclude is None:
            return plan
        is_pushed = self.registration.push_filter.predicate()
        recorded = {record.path for record in self.index.records()}
        kept = {action.path for action in plan.deletes if not (is_pushed(action.path) or action.path in recorded)}
        return replace(
            plan,
            deletes=tuple(action for action in plan.deletes if action.path not in kept),
            kept=(*plan.kept, *(Kept(path, "upload_exclude hides it from the push") for path in sorted(kept))),
        )

    def _is_there(self) -> bool:
        location = self.registration.location
        survey = self._store.survey(location.key)
        return survey.is_prefix or (survey.is_object and not location.is_prefix)

    def plan_upload(self, *, delete: bool) -> Plan:
        """An empty plan if the local side does not exist.

        Raises:
            the store's errors.
        """
        local = self.registration.local
        if not self.local_exists():
            return Plan("upload")
        is_directory = os.path.isdir(local)
        self.check_kinds()
        policy = self._policy(delete=delete)
        if self.registration.drops_lost and self._in_cache and self._writes_alone():
            policy = replace(policy, lost=self._lost)
        links = self.registration.follow_symlinks

        def plan() -> Plan:
            chosen = self.registration.push_filter
            own: list[os.DirEntry[str]] = []
            local = self._local(chosen, follow_symlinks=links, leftovers=own)
            remote = self._remote(chosen, is_prefix=is_directory, only_object=not is_directory, to_push=True)
            made = self._with_left_out(plan_upload(local, remote, self._records_to_push(), policy))
            state = [Kept(self._relative(entry.path), STATE) for entry in own if entry.name == STATE_DIRECTORY]
            return replace(made, kept=(*made.kept, *state))

        made = twice_if_unsorted(plan)
        return made if delete else made.without_deletes()

    def local_exists(self) -> bool:
        """Whether there is a local side.

        Raises:
            NotPushedError: nobody knows, since a directory above it may not be entered. That must not pass for "no".
        """
        local = self.registration.local
        try:
            os.stat(local)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            told = f"{error.strerror} (allow to enter the directories above it)"
            raise NotPushedError(error.errno, told, local) from error
        return True

    def check_kinds(self) -> None:
        """
        Raises:
            ConflictError: a file is to be pushed to a directory, or a directory to an object.
        """
        local, location, survey = self.registration.local, self.registration.location, self.take_stock()
        if os.path.isfile(local) and location.is_prefix:
            raise ConflictError(f"{local} is a file, but {self._url}/ means a directory; name the object's key")
        if os.path.isfile(local) and survey.is_prefix and not survey.is_object:
            raise ConflictError(f"{local} is a file, but objects lie below {self._url}/; name another key")
        if os.path.isdir(local) and survey.is_object and not location.is_prefix:
            raise ConflictError(
                f"{self._url} is an object, but {local} is a directory; '{self._url}/' means the prefix"
            )

    def _plan_push(self) -> Plan:
        """The plan of a background push, by the records alone where there are some."""
        chosen = self.registration.push_filter
        if not self.index.has_records():
            found = self._local(chosen, follow_symlinks=True)
            is_worth_asking = any(e.is_unreadable or not (e.unusable or e.is_directory) for e in found)
            return self.plan_upload(delete=False) if is_worth_asking else Plan("upload")
        local = self._local(chosen, follow_symlinks=self.registration.follow_symlinks)
        delete = self.registration.upload_delete
        records = self._records_to_push()
        plan = self._without_replaced(plan_push(local, records, self.owner, self._policy(delete=delete)))
        if plan.copy_files and self.registration.compare != "auto":
            # Records alone cannot tell what another way of comparing says of a new file.
            return replace(self.plan_upload(delete=False), deletes=plan.deletes)
        return plan

    def _plan_additions(self) -> Plan:
        """The plan of a push that deletes nothing, by the records alone where there are some.

        Records of files that are gone stay, so that a later push deletes their objects.
        """
        if not self.index.has_records():
            return self._plan_push()
        local = self._local(self.registration.push_filter, follow_symlinks=self.registration.follow_symlinks)
        plan = plan_push(local, self._records_to_push(), self.owner, self._policy(delete=False))
        return self.plan_upload(delete=False) if plan.copy_files and self.registration.compare != "auto" else plan

    def _without_replaced(self, plan: Plan) -> Plan:
        """The plan without deletes of objects that somebody else has replaced or deleted; asks only if there are any.

        What is not to be deleted any more is remembered, so that the next push does not ask again.
        """
        if not plan.deletes:
            return plan
        wanted = {action.path for action in plan.deletes}

        def etags() -> dict[str, str]:
            is_prefix = os.path.isdir(self.registration.local)
            remote = self._remote(self.registration.push_filter, is_prefix=is_prefix, to_push=True)
            return {entry.path: entry.etag for entry in remote if entry.path in wanted}

        there = twice_if_unsorted(etags)
        gone = [action.source for action in plan.deletes]
        replaced = [file for file in gone if there.get(file.path, file.etag) != file.etag]
        # The file may come back as it was: then only the record tells that somebody has changed the object since.
        others = (
            Record(file.path, file.size_bytes, file.modified_ns, file.inode, file.etag)
            for file in replaced
            if not file.is_directory
        )
        forgotten = {file.path for file in replaced if file.is_directory} | (wanted - there.keys())
        return replace(
            plan,
            deletes=tuple(action for action in plan.deletes if there.get(action.path) == action.source.etag),
            confirmed=(*plan.confirmed, *others),
            forgotten=(*plan.forgotten, *sorted(forgotten)),
        )

    # Checks of plans

    def check_can_be_emptied(self) -> None:
        """
        Raises:
            ConflictError: somebody writes in the local path, or died before all of it was pushed.
        """
        guards = Guards(self.registration.local, self.find_guards())
        for entry in self._local(Filter(), follow_symlinks=False):
            if not entry.is_directory and guards.spares(entry.path, entry, None):
                raise ConflictError(
                    f"fresh=True would empty {self.registration.local}, but {guards.reason}; nothing was changed. Wait "
                    "until that is pushed, or leave fresh out"
                )

    def check_target(self, plan: Plan) -> None:
        """One object goes to a file; whoever names a directory most likely means a file in it.

        Raises:
            ConflictError: it is so.
        """
        local = self.registration.local
        is_object = any(not action.path for action in plan.copies)
        is_taken = os.path.isdir(local) and not self._in_cache and not self.index.root.noted(FILLED)
        if is_object and (is_taken or self.registration.local_is_directory):
            name = self.registration.location.key.rpartition("/")[2]
            told = "is a directory" if is_taken else "is given as a directory"
            raise ConflictError(f"{self._url} is one object, but {local} {told}; name the file, such as {local}/{name}")

    def check_adoption(self, plan: Plan) -> None:
        """A directory that pos3 has never filled may be a home directory or a typo.

        Raises:
            PlanRefusedError: it is such a directory, and the plan deletes or replaces something in it.
        """
        local = self.registration.local
        if self._in_cache:
            return
        if self.index.root.noted(FILLED) or self.index.is_known:
            return
        if (os.path.isdir(local) and (plan.deletes or plan.overwrites)) or (os.path.isfile(local) and plan.obstacles):
            raise PlanRefusedError(self._choices(plan))

    def _never_filled(self) -> str:
        if self.index.root.exists and not self.index.root.is_usable:
            return f"what pos3 remembers of it in {self.index.root.path} cannot be used (a warning says why)"
        return "pos3 has never filled it"

    def _choices(self, plan: Plan) -> str:
        """What a download into a strange place would do, and what the caller can choose."""
        local, delete = self.registration.local, f"{self.registration.delete_argument}=False"
        if not os.path.isdir(local):
            return (
                f"{local} is a file that pos3 has not put there, and {self._url} is a directory; nothing was changed. "
                "Name another place with local=..., or pass adopt=True to have the file replaced"
            )
        copies = [*plan.copies, *plan.last_copies]
        replaced = sum(action.reason != NEW for action in copies) + len(plan.obstacles)
        deleted = sum(not action.path.endswith("/") for action in plan.deletes)
        would = [
            f"replace {_files(replaced)}" if replaced else "",
            f"delete {_files(deleted)}" if deleted else "",
            "remove empty directories" if len(plan.deletes) > deleted else "",
            f"add {_files(sum(action.reason == NEW for action in copies))}" if copies else "",
        ]
        still = f"but what has the same name is replaced all the same ({_files(replaced)})"
        return (
            f"{local} is not empty, and {self._never_filled()}; nothing was changed. The download of {self._url} "
            f"would {', '.join(part for part in would if part)}. Choose: local=... is another place; exclude=[...] "
            f"leaves alone what it matches; with {delete} nothing is deleted, "
            f"{still if replaced else 'and what is missing is added'}; adopt=True replaces and deletes as said, and "
            "makes the directory a mirror of the URL"
        )


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
