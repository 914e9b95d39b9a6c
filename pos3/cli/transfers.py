"""Runs ``pos3 ls``, ``download``, ``upload`` and ``sync``, each in a mirror of its own."""

from __future__ import annotations

import logging
import os
import shlex
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pos3.api import mirror
from pos3.cli.output import (
    flush_stdout,
    note,
    note_kept,
    note_problems,
    note_refusal,
    put_item,
    put_json,
    put_line,
    without_warned,
)
from pos3.cli.statuses import FAILED, OK
from pos3.cli.stopping import StopSignals
from pos3.cli.stores import ask_store
from pos3.cli.suggestions import nothing_there_as_lines
from pos3.errors import InvalidArgumentError, InvalidURLError, Pos3Error
from pos3.jobs import (
    BisyncRequest,
    DownloadRequest,
    Listed,
    Registration,
    Request,
    UploadRequest,
    as_transfer_plan,
    local_root,
)
from pos3.mirrors import Mirror
from pos3.parts import Part, part_or_address
from pos3.plan import Plan
from pos3.profiles import resolve_profile
from pos3.reports import Report, format_bytes
from pos3.store import Store
from pos3.transfer import unsaid
from pos3.url import Location, is_url, local_path, parse, profile_of_all_buckets

logger = logging.getLogger("pos3")

_WATCH_INTERVAL_SECONDS = 300.0


def run_ls(arguments: Namespace) -> int:
    """Prints one URL or local path on each line. If nothing is there, the status is 1."""
    kind = "url" if is_url(arguments.prefix) else "path"
    if arguments.versions and arguments.long:
        raise InvalidArgumentError("--versions shows the sizes and times itself; leave -l out", argument="long")
    with mirror(show_progress=False) as opened:
        if arguments.versions:
            return OK if _print_versions(arguments, opened) else _nothing_there(arguments)
        found: Sequence[str | Listed]
        asked = arguments.prefix, arguments.recursive, arguments.profile
        if arguments.long:
            found = opened.ls(*asked, as_of=arguments.as_of, details=True)
        else:
            found = opened.ls(*asked, as_of=arguments.as_of)
    if kind == "path" and not found and not os.path.exists(local_path(arguments.prefix)):
        raise FileNotFoundError(f"no such local path: {arguments.prefix} (a URL begins with s3://)")
    if not found and _may_be_missing(arguments):
        return _nothing_there(arguments)
    width = max((len(item.storage_class) for item in found if isinstance(item, Listed)), default=0)
    for item in found:
        if arguments.json:
            put_json({kind: item} if isinstance(item, str) else _as_json(kind, item))
        else:
            put_item(item if isinstance(item, str) else _as_line(kind, item, width), ends_with_nul=arguments.null)
    return OK


def _may_be_missing(arguments: Namespace) -> bool:
    """Whether no line is an answer that says too little: not for a local directory, a part, a bucket or all buckets."""
    prefix: str = arguments.prefix
    if isinstance(part_or_address(prefix), Part) or not is_url(prefix) or profile_of_all_buckets(prefix) is not None:
        return False
    location = parse(prefix)
    if not location.key:
        return False
    # An empty directory has an object of its own. Whether it had one at an earlier time is not asked.
    return arguments.as_of is not None or not ask_store(arguments, location, lambda store: _is_prefix(store, location))


def _is_prefix(store: Store, location: Location) -> bool:
    return store.survey(location.key).is_prefix


def _nothing_there(arguments: Namespace) -> int:
    note(arguments.name, *nothing_there_as_lines(arguments))
    return FAILED


def _as_json(kind: str, item: Listed) -> dict[str, object]:
    values = {**asdict(item), "modified": None if item.modified is None else item.modified.isoformat()}
    return {kind: values.pop("url"), **values}


def _as_line(kind: str, item: Listed, class_width: int) -> str:
    """Size, time and storage class, each in a column of its own, and the name."""
    # Buckets and prefixes have no size.
    has_size = kind == "path" or bool(item.etag) or item.size_bytes > 0
    size_text = format_bytes(item.size_bytes) if has_size else ""
    time_text = "" if item.modified is None else item.modified.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{size_text:>10}  {time_text:<19}  {item.storage_class:<{class_width}}  {item.url}"


def _print_versions(arguments: Namespace, opened: Mirror) -> bool:
    """Prints the time, the size, the version and the URL of each version, as they come. Returns whether there is one.

    A bucket is there also without any.
    """
    versions = opened.ls_versions(arguments.prefix, arguments.recursive, arguments.profile)
    has_any = not parse(arguments.prefix).key
    for url, version in versions:
        has_any = True
        shown: dict[str, object] = {"url": url}
        line = url
        if version is not None:
            modified = datetime.fromtimestamp(version.modified_ns // 10**9, UTC).isoformat().replace("+00:00", "Z")
            shown |= {
                "version_id": version.version_id,
                "modified": modified,
                "size_bytes": version.size_bytes,
                "storage_class": version.storage_class,
                "is_latest": version.is_latest,
                "is_deleted": version.is_delete,
            }
            size = "deleted" if version.is_delete else str(version.size_bytes)
            line = f"{modified}  {size:>12}  {version.version_id}  {url}"
        if arguments.json:
            put_json(shown)
        else:
            put_item(line, ends_with_nul=arguments.null)
    return has_any


def run_download(arguments: Namespace) -> int:
    """Prints the local path, or with ``--json`` the path and the report."""
    began = time.monotonic()
    check_url(arguments)
    request = request_of(DownloadRequest, arguments)
    with mirror.of(arguments.options) as opened:
        opened.show_line = unsaid
        if arguments.dry_run:
            _print_plan(arguments, *opened.download_plan_of(request))
            return OK
        path = opened.download_of(request)
    _print_report(arguments, path, _with_duration_since(began, opened.report()))
    _print_path(arguments, path)
    return OK


def run_upload(arguments: Namespace) -> int:
    """Prints nothing, or with ``--json`` the path and the report."""
    began = time.monotonic()
    check_url(arguments)
    source = local_side(arguments)
    if not os.path.exists(source):
        raise FileNotFoundError(f"source path does not exist: {source}")
    request = replace(request_of(UploadRequest, arguments), local=source, interval=None)
    with mirror.of(arguments.options) as opened:
        opened.show_line = unsaid
        if arguments.dry_run:
            _print_plan(arguments, *opened.upload_plan_of(request))
            return OK
        opened.upload_of(request)
    _print_report(arguments, Path(source), _with_duration_since(began, opened.report()))
    return OK


def run_sync(arguments: Namespace) -> int:
    """Prints the local path when both sides are up to date, or with ``--json`` the path and the report at the end."""
    began = time.monotonic()
    check_url(arguments)
    request = request_of(BisyncRequest, arguments)
    interval_seconds: float | None = arguments.interval
    if interval_seconds is None and arguments.watch:
        interval_seconds = _WATCH_INTERVAL_SECONDS
    with mirror.of(arguments.options) as opened:
        opened.show_line = unsaid
        if arguments.dry_run:
            plans = opened.bisync_plan_of(request)
            _print_plan(arguments, plans.registration, plans.download, plans.upload)
            return OK
        if interval_seconds is None:
            path = opened.bisync_of(request)
        else:
            path = opened.begin_bisync(request, watch=arguments.watch)
            _push_until_stopped(arguments, opened, path, interval_seconds)
    report = opened.report()
    # With an interval, the command mostly waits, so only the time of the transfers is reported.
    _print_report(arguments, path, _with_duration_since(began, report) if interval_seconds is None else report)
    if interval_seconds is None:
        _print_path(arguments, path)
    return OK


R = TypeVar("R", bound=Request)


def request_of(kind: type[R], arguments: Namespace) -> R:
    """The request of a command. Each option of the command has the name of the argument that it gives."""
    given = {item.name: getattr(arguments, item.name) for item in fields(kind) if item.name in arguments}
    return kind(**{"remote": arguments.url, **given})


def _push_until_stopped(arguments: Namespace, opened: Mirror, path: Path, interval_seconds: float) -> None:
    with StopSignals() as signals:
        _print_path(arguments, path)
        while not signals.wait(interval_seconds):
            try:
                opened.flush()
            except (Pos3Error, OSError) as error:
                logger.warning("a push failed, the next one is in %g s: %s", interval_seconds, error)
    if not arguments.quiet:
        note(arguments.name, "stopping; one last push")


def check_url(arguments: Namespace) -> None:
    """Returns if the command was given a URL.

    Raises:
        InvalidURLError: it was given a local path in its place.
    """
    if not is_url(arguments.url):
        correct = shlex.join([*arguments.name.split(), "s3://BUCKET/KEY", "--local", arguments.url])
        raise InvalidURLError(
            f"url must be an s3:// URL, got: {arguments.url}; a local path goes with --local: {correct}"
        )


def local_side(arguments: Namespace) -> str:
    """The local path of a transfer: that of ``--local``, or the one in the cache."""
    location = parse(arguments.url)
    chosen = arguments.profile or arguments.options.or_environment().default_profile
    profile = resolve_profile(chosen, url_profile=location.profile)
    return local_root(location, arguments.local, arguments.cache_root, profile)


# Results


def _print_path(arguments: Namespace, path: Path) -> None:
    if not arguments.json:
        if arguments.null:
            put_item(str(path), ends_with_nul=True)
        else:
            # The path is not escaped, because the caller has named it and a shell may use it.
            put_line(str(path), as_it_is=True)
        flush_stdout()


def _with_duration_since(began: float, report: Report) -> Report:
    """The report with the duration of the whole command."""
    return replace(report, duration_seconds=time.monotonic() - began)


def _print_report(arguments: Namespace, path: Path, report: Report) -> None:
    note_kept(arguments.name, report.kept if arguments.name == "pos3 download" else without_warned(report.kept))
    if arguments.json:
        put_json({"url": shown_url(arguments), "path": str(path), "report": report.as_dict()})
    if not arguments.quiet:
        note(arguments.name, str(report))


def shown_url(arguments: Namespace) -> str:
    """The URL of a command as output names it: without the profile, but a part as its text."""
    address = part_or_address(arguments.url)
    return str(address) if isinstance(address, Part) else str(parse(arguments.url))


@dataclass(frozen=True)
class _Actions:
    """The actions of one plan as URLs and paths."""

    copies: list[tuple[str, str, str]]
    deletes: list[tuple[str, str]]
    directories: list[str]


def _actions(registration: Registration, plan: Plan) -> _Actions:
    public_plan = as_transfer_plan(registration, plan)

    def target(path: str) -> str:
        if plan.direction == "upload":
            return registration.location.child(path)
        return os.path.join(registration.local, path)

    return _Actions(
        [(source, destination, public_plan.reasons[destination]) for source, destination in public_plan.to_copy],
        [(target(path), "makes way") for path in plan.obstacles]
        + [(target_name, public_plan.reasons[target_name]) for target_name in public_plan.to_delete],
        [target(action.path) for action in plan.directories],
    )


def _print_plan(arguments: Namespace, registration: Registration, *plans: Plan) -> None:
    """Prints the actions of the plans in their order. On stderr, it says what the real run would refuse, and why."""
    plans_and_actions = [(plan, _actions(registration, plan)) for plan in plans]
    kept = tuple({item.path: item for plan in plans for item in plan.kept}.values())
    note_kept(arguments.name, kept)
    if arguments.json:
        put_json(
            {
                "url": shown_url(arguments),
                "path": registration.local,
                "copy": [
                    {"source": source, "destination": destination, "reason": reason}
                    for _, actions in plans_and_actions
                    for source, destination, reason in actions.copies
                ],
                "delete": [
                    {"target": target, "reason": reason}
                    for _, actions in plans_and_actions
                    for target, reason in actions.deletes
                ],
                "create": [target for _, actions in plans_and_actions for target in actions.directories],
                "kept": [{"path": item.path, "reason": item.reason} for item in kept],
                "problems": [problem for plan in plans for problem in plan.not_pushed],
                "refusal": "\n".join(plan.refusal for plan in plans if plan.refusal),
            }
        )
    else:
        lines = [
            f"{plan.direction}: {source} to {destination}  ({reason})"
            for plan, actions in plans_and_actions
            for source, destination, reason in actions.copies
        ]
        for _, actions in plans_and_actions:
            lines += [f"delete: {target}  ({reason})" for target, reason in actions.deletes]
            lines += [f"create: {target}  (empty directory)" for target in actions.directories]
        for line in lines:
            put_item(line, ends_with_nul=arguments.null)
    flush_stdout()
    note_problems(arguments.name, [problem for plan in plans for problem in plan.not_pushed])
    for plan in plans:
        note_refusal(arguments.name, plan.refusal)
