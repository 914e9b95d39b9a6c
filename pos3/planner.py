"""What one registration would do: the plans of its transfers, from both sides, the records, and the policy."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice

from pos3.entry import Entry, Record
from pos3.errors import ConflictError, PlanRefusedError, RemoteNotFoundError
from pos3.etag import matches_content, part_size
from pos3.filters import everything, matcher
from pos3.index import Index
from pos3.listing import Scan, existing_parent, ignores_case, local_entries, path_room_bytes
from pos3.plan import Compare, Plan, Policy, plan_download, plan_push, plan_upload
from pos3.registration import Registration
from pos3.report import Kept
from pos3.store import Store, Survey, twice_if_unsorted
from pos3.store.files import blocks
from pos3.temporary import has_temporary_name
from pos3.transfer import Markers, Pair

FILLED = "filled"
UNFINISHED = "its name is that of an unfinished file of pos3, so it takes no part"
_NS = 1_000_000_000


@dataclass
class _Unfinished:
    """Paths of objects that look like unfinished files."""

    first: str = ""
    count: int = 0

    def add(self, path: str) -> None:
        self.first = self.first or path
        self.count += 1

    def told(self) -> tuple[Kept, ...]:
        if not self.count:
            return ()
        return (Kept(self.first, f"{UNFINISHED}, like {self.count - 1} others" if self.count > 1 else UNFINISHED),)


class Planner:
    """The plans of a :class:`pos3.link.Link`, and what is checked before they are carried out. Changes nothing."""

    def __init__(self, registration: Registration, store: Store, index: Index, cache_root: str, owner: str):
        self.registration = registration
        self.pair = Pair(registration.local, store, registration.location)
        self.index = index
        self.markers: Markers = {}
        self.survey: Survey | None = None
        self.clock_ahead_seconds = 0.0
        self._unfinished = _Unfinished()
        self._owner = owner
        self._url = str(registration.location)
        self._in_cache = f"{registration.local}/".startswith(f"{cache_root}/")

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

    def _local(self, *, follow_symlinks: bool, leftovers: list[os.DirEntry[str]] | None = None) -> Iterator[Entry]:
        chosen = self.registration.filter
        keep = leftovers.append if leftovers is not None else lambda entry: None
        return local_entries(self.registration.local, Scan(follow_symlinks, chosen.predicate(), chosen.prunes(), keep))

    def _objects(self, *, is_prefix: bool) -> Iterator[Entry]:
        """All objects but those that look like unfinished files: no local file of such a name is ever content."""
        landmarks = self.index.landmarks(self._url)
        takes_part = self.registration.filter.predicate()
        self._unfinished = unfinished = _Unfinished()
        for entry in self._store.entries(self.registration.location.key, is_prefix=is_prefix, landmarks=landmarks):
            if ".pos3-" not in entry[0] or not has_temporary_name(entry[0]):
                yield entry
            elif takes_part(entry[0]):
                unfinished.add(entry[0])

    def _with_unfinished(self, plan: Plan) -> Plan:
        """The plan, which says in one line what :meth:`_objects` left out."""
        told = self._unfinished.told()
        return replace(plan, kept=(*plan.kept, *told)) if told else plan

    def _remote(self, *, is_prefix: bool, only_object: bool = False) -> Iterator[Entry]:
        takes_part = self.registration.filter.predicate()
        entries = self._objects(is_prefix=is_prefix)
        if only_object:
            entries = (entry for entry in islice(entries, 1) if not entry.path)
        return entries if takes_part is everything else (entry for entry in entries if takes_part(entry.path))

    def _records(self) -> Iterator[Record]:
        takes_part = self.registration.filter.predicate()
        records = self.index.records(self._url)
        return records if takes_part is everything else (record for record in records if takes_part(record.path))

    def _records_and_markers(self) -> Iterator[Record]:
        """The records, and among them the markers that this mirror has put, so that the same rules hold for both."""
        if not self.markers:
            return self._records()
        # No directory is listed with such a time, so none of them passes for a file as recorded.
        put = [Record(path, 0, -1, 0, etag, self._owner) for path, etag in sorted(self.markers.items())]
        return merge(self._records(), put)

    def _policy(self, *, delete: bool) -> Policy:
        registration = self.registration
        return Policy(
            "upload",
            f"{registration}",
            delete=delete,
            compare=registration.compare,
            proven_equal=self._proven_equal,
            protects=self._protects,
            overwrite=matcher(registration.overwrite),
            last=matcher(registration.upload_last),
            key_prefix=f"{registration.location.key}/" if registration.location.key else "",
        )

    def _proven_equal(self, local: Entry, remote: Entry) -> bool:
        path = self.pair.local_path(local.path)
        try:
            return matches_content(remote.etag, local.size_bytes, blocks(path), [part_size(local.size_bytes)])
        except OSError:
            return False

    def _protects(self, remote: Entry, record: Record | None) -> str:
        survey = self.take_stock()
        mine = record is not None and record.owner == self._owner and record.etag == remote.etag
        if mine or (remote.path, remote.etag) in survey.recent:
            return ""
        set_back_seconds = self._store.clock_set_back_seconds
        if remote.modified_ns < int(survey.server_time - set_back_seconds) * _NS:
            return ""
        if remote.modified_ns < int(survey.server_time) * _NS:
            return "the store's clock went back, so another writer may have put it there while this mirror was open"
        return "another writer put it there while this mirror was open"

    # Plans

    def plan_download(
        self, *, delete: bool, leftovers: list[os.DirEntry[str]] | None = None, compare: Compare | None = None
    ) -> Plan:
        """
        Raises:
            RemoteNotFoundError: nothing is at the URL.
            UnsafeKeysError and the store's errors.
        """
        is_prefix = self.registration.location.is_prefix
        # A dry run leaves no trace, so it does not try out the disk.
        fold_names = leftovers is not None and ignores_case(existing_parent(self.registration.local))
        policy = replace(self._policy(delete=delete), direction="download", fold_names=fold_names)
        room_bytes = path_room_bytes(self.registration.local)
        policy = replace(policy, compare=compare or policy.compare, room_bytes=room_bytes)

        def plan() -> Plan:
            local = self._local(follow_symlinks=False, leftovers=leftovers)
            made = plan_download(local, self._remote(is_prefix=is_prefix), self._records(), policy)
            return self._with_unfinished(made)

        made = twice_if_unsorted(plan)
        if not made.source_files and not made.directories and not self._is_there():
            raise RemoteNotFoundError(
                f"{self._url}: no object and no prefix with objects; nothing was changed. "
                "Check the URL, or pass missing_ok=True if it may be missing"
            )
        return made

    def _is_there(self) -> bool:
        location = self.registration.location
        survey = self._store.survey(location.key)
        return survey.is_prefix or (survey.is_object and not location.is_prefix)

    def plan_upload(self, *, delete: bool) -> Plan:
        """An empty plan if the local side does not exist.

        Raises:
            UnsafeKeysError and the store's errors.
        """
        local = self.registration.local
        if not os.path.exists(local):
            return Plan("upload")
        is_directory = os.path.isdir(local)
        self.check_kinds()
        policy = self._policy(delete=delete)
        links = self.registration.follow_symlinks

        def plan() -> Plan:
            remote = self._remote(is_prefix=is_directory, only_object=not is_directory)
            made = plan_upload(self._local(follow_symlinks=links), remote, self._records_and_markers(), policy)
            return self._with_unfinished(made)

        return twice_if_unsorted(plan)

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
        if not self.index.has_records(self._url):
            files = (entry for entry in self._local(follow_symlinks=True) if not (entry.unusable or entry.is_directory))
            return self.plan_upload(delete=False) if any(True for _ in files) else Plan("upload")
        local = self._local(follow_symlinks=self.registration.follow_symlinks)
        delete = self.registration.upload_delete
        records = self._records_and_markers()
        plan = self._without_replaced(plan_push(local, records, self._owner, self._policy(delete=delete)))
        if plan.copy_files and self.registration.compare != "auto":
            # Records alone cannot tell what another way of comparing says of a new file.
            return replace(self.plan_upload(delete=False), deletes=plan.deletes)
        return plan

    def _without_replaced(self, plan: Plan) -> Plan:
        """The plan without deletes of objects that somebody else has replaced or deleted; asks only if there are any.

        What is not to be deleted any more is remembered, so that the next push does not ask again.
        """
        if not plan.deletes:
            return plan
        wanted = {action.path for action in plan.deletes}

        def etags() -> dict[str, str]:
            remote = self._remote(is_prefix=os.path.isdir(self.registration.local))
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

    def check_target(self, plan: Plan) -> None:
        """One object goes to a file; whoever names a directory most likely means a file in it.

        Raises:
            ConflictError: it is so.
        """
        local = self.registration.local
        is_object = any(not action.path for action in plan.copies)
        is_taken = os.path.isdir(local) and not self._in_cache and not self.index.noted(FILLED)
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
        if self.index.noted(FILLED) or (self.index.exists and self.index.state().url == self._url):
            return
        if (os.path.isdir(local) and (plan.deletes or plan.overwrites)) or (os.path.isfile(local) and plan.obstacles):
            raise PlanRefusedError(
                f"{local} is in use and pos3 has never filled it: the download of {self._url} would delete "
                f"{len(plan.deletes)} and replace or add {plan.copy_files} files; nothing was changed. "
                "Pass delete=False to keep what is there, or adopt=True if the directory is meant to become a mirror"
            )
