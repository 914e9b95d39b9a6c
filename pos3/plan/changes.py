"""PURE. Decides whether a file that exists on both sides is copied. The table is for ``compare="auto"``:

======  ===========  ============  ==================  ==========================================
record  local file   object        download            upload
======  ===========  ============  ==================  ==========================================
yes     as recorded  as recorded   unchanged           unchanged
yes     differs      as recorded   copy, unless        copy, unless proven equal (it was touched)
                                   proven equal
yes     as recorded  differs       copy                copy; kept if another writer changed it
                                                       while this mirror was open
yes     differs      differs       copy                copy, unless proven equal (its mirror was
                                                       killed before it wrote the record)
no      different sizes            copy                copy
no      same size, proven equal    unchanged           unchanged
no      same size, not equal MD5   copy                copy
no      same size, no MD5 known    copy, unless the    copy, if the file is newer than the object
                                   times are equal
======  ===========  ============  ==================  ==========================================

A file is proven equal by the recorded checksum of the object, if there is one and the object is as recorded, else
by its ETag. ``compare="size"`` compares sizes only. With ``compare="checksum"``, a file is unchanged only if it is
proven equal.

Two modules decide a part of it earlier. :mod:`pos3.plan.merge` passes over whole ranges of the first row, unless
``Policy.trusts_records`` is false. A background push compares the local side alone, by :func:`is_as_recorded`.
"""

from __future__ import annotations

from pos3.entries import Entry, Record
from pos3.etags import is_plain
from pos3.plan.model import Policy

_NS = 1_000_000_000


def differs(local: Entry, remote: Entry, record: Record | None, policy: Policy) -> str:
    """The reason to copy the file, or "" if both sides count as equal. See the table above."""
    if local.size_bytes != remote.size_bytes:
        return "different size"
    if policy.compare == "size":
        return ""
    if policy.compare == "checksum":
        return "" if _is_proven_equal(local, remote, record, policy) else "content not proven equal"
    if record is not None and record.etag:
        if record.etag != remote.etag:
            was_sent_before = policy.direction == "upload" and not record.matches_local(local)
            return "" if was_sent_before and _is_proven_equal(local, remote, record, policy) else "changed remotely"
        return (
            "" if record.matches_local(local) or _is_proven_equal(local, remote, record, policy) else "changed locally"
        )
    if _is_proven_equal(local, remote, record, policy):
        return ""
    if is_plain(remote.etag):
        return "different content"
    if policy.direction == "download":
        return "" if local.modified_ns // _NS == remote.modified_ns // _NS else "different modification time"
    return "newer than the object" if local.modified_ns // _NS > remote.modified_ns // _NS else ""


def is_as_recorded(local: Entry, record: Record, policy: Policy) -> bool:
    """Whether the file is as recorded, or proven to have the recorded content."""
    if record.matches_local(local):
        return True
    recorded = Entry(record.path, record.size_bytes, etag=record.etag)
    return local.size_bytes == record.size_bytes and _is_proven_equal(local, recorded, record, policy)


def _is_proven_equal(local: Entry, remote: Entry, record: Record | None, policy: Policy) -> bool:
    if record is not None and record.checksum and record.etag == remote.etag:
        has_checksum = policy.has_checksum(local, record.checksum)
        if has_checksum is not None:
            return has_checksum
    return policy.proven_equal(local, remote)
