"""What a mirror does without the store: it takes what the cache holds completely, and tells what is not pushed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pos3.entries import WITHOUT_CONTENT, Entry
from pos3.errors import OfflineError
from pos3.jobs.completed import CompletedDownloads
from pos3.jobs.fingerprints import files_with_records, is_as_recorded
from pos3.jobs.job import Job
from pos3.jobs.known_places import indexes_with
from pos3.jobs.requests import DownloadRequest, Request
from pos3.reports import Report, format_bytes
from pos3.state import Index
from pos3.store import OfflineStore, Store
from pos3.transfer import Terms
from pos3.url import Location

_MAX_EXAMPLES = 5


def offline_store(store: Store, location: Location, request: Request, cache_root: str, reason: str) -> OfflineStore:
    """A store that lists what the cache has on record of the objects at and below ``location``, and sends no request.

    Args:
        request: its filters say which of the objects must be on record.
        reason: why no request is sent, for errors.
    """
    return OfflineStore(store, _OnRecord(store.endpoint, location, request, cache_root, reason), reason)


class _OnRecord:
    """The objects of one bucket that complete downloads have brought into any local root that the cache knows."""

    def __init__(self, endpoint: str, location: Location, request: Request, cache_root: str, reason: str):
        self._endpoint = endpoint
        self._location = location
        self._request = request
        self._cache_root = cache_root
        self._reason = reason

    def __call__(self, key: str) -> Iterator[Entry]:
        index, below = self._find(key)
        cut = len(below)
        for record in index.records(below):
            yield Entry(record.path[cut:].lstrip("/"), record.size_bytes, record.modified_ns, record.etag)

    def _find(self, key: str) -> tuple[Index, str]:
        """The index with the latest complete download that has brought the key, and the path of the key in it.

        Raises:
            OfflineError: there is none.
        """
        wanted = replace(self._location, key=key)
        found: list[tuple[float, Index, str]] = []
        for index, below in indexes_with(self._cache_root, self._endpoint, wanted):
            # Filters are relative to the root, so those of another root choose something else.
            request = DownloadRequest(remote=index.place.url) if below else self._request
            completed = CompletedDownloads(index).covering(request)
            if completed is not None:
                found.append((completed.at, index, below))
        if not found:
            raise not_complete(str(wanted), self._reason)
        _, index, below = max(found, key=lambda one: one[0])
        return index, below


def not_complete(url: str, reason: str, why: str = "") -> OfflineError:
    """The error for what the cache does not hold completely."""
    told = why or "no complete download of it with these filters is on record"
    return OfflineError(
        f"{url}: {reason}, and the cache does not hold it completely: {told}. Nothing was changed. "
        "Download it once while the store can be reached",
        url=url,
    )


def check_synced(job: Job, reason: str) -> None:
    """Returns if the local path of a sync comes from a complete download. Later changes are its own.

    Raises:
        OfflineError: there was none.
    """
    if CompletedDownloads(job.index).covering(job.request) is None:
        raise not_complete(job.url, reason)


def take_cached(job: Job, cache_root: str, reason: str, terms: Terms) -> None:
    """Returns if the local path holds all that the last complete download has brought. Nothing is changed.

    Raises:
        OfflineError: files are missing or have changed, or no download was completed.
        RemoteNotFoundError: nothing was at the URL at that time.
    """
    store = offline_store(job.store, job.registration.location, job.request, cache_root, reason)
    cached = Job(job.registration, store, job.index, cache_root, job.owner)
    cached.find_writers = job.find_writers
    cached.active_claim = job.active_claim
    with job.exclusive(terms):
        plan = cached.plan_download(delete=False)
    differing = [action.path for action in plan.every_copy()]
    if differing:
        shown = ", ".join(repr(path or job.registration.local) for path in differing[:_MAX_EXAMPLES])
        more = f" and {len(differing) - _MAX_EXAMPLES} more" if len(differing) > _MAX_EXAMPLES else ""
        raise not_complete(job.url, reason, f"missing or changed since the last download: {shown}{more}")
    terms.count(Report(unchanged=plan.unchanged, kept=plan.kept))


def check_nothing_unpushed(job: Job, reason: str) -> None:
    """Returns if everything at the local path of an upload or sync is in the store, as far as the records tell.

    Raises:
        OfflineError: something is not, and is kept here.
    """
    if not job.local_exists():
        return
    files = size_bytes = deleted = 0
    for file, record in files_with_records(job.index, "", job.request.push_filter.predicate()):
        if file is None:
            deleted += 1
        elif file.unusable not in WITHOUT_CONTENT and not is_as_recorded(file, record):
            files, size_bytes = files + 1, size_bytes + file.size_bytes
    deleted = deleted if job.request.deletes_remote else 0
    if files or deleted:
        told = [f"{files} file{'s' * (files != 1)} ({format_bytes(size_bytes)})"] if files else []
        told += [f"{deleted} delete{'s' * (deleted != 1)}"] if deleted else []
        raise OfflineError(
            f"{job.url}: {reason}; not pushed, and kept in {job.registration.local}: {' and '.join(told)}. "
            "The next mirror that can reach the store pushes the files when it ends, or 'pos3 recover'",
            url=job.url,
        )
