"""The table artifact of a flow run, with the report of each registration."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pos3
from pos3.orchestration.ui.artifacts import RunArtifacts
from pos3.orchestration.ui.markdown import code, printable

_MAX_ROWS = 200
_MAX_REASONS = 20

Row = dict[str, str | int | float]


def is_worth_a_table(registrations: Sequence[pos3.Registered]) -> bool:
    """Whether anything was moved, deleted or failed."""
    return any(item.failure or not item.report.is_empty for item in registrations)


def create_table(artifacts: RunArtifacts, registrations: Sequence[pos3.Registered], total: pos3.Report) -> None:
    """Creates the artifact by one call of the API."""
    artifacts.put(
        "table", artifacts.key_of("transfers"), description(registrations, total), json.dumps(rows(registrations))
    )


def rows(registrations: Sequence[pos3.Registered]) -> list[Row]:
    """One row for each registration, those with transfers first. The last row sums up those that do not fit."""
    ordered = sorted(registrations, key=lambda item: (not item.failure, item.report.is_empty))
    shown = [_row(item) for item in ordered[:_MAX_ROWS]]
    if rest := ordered[_MAX_ROWS:]:
        report = sum((item.report for item in rest), pos3.Report())
        more = pos3.Registered(rest[0].kind, "", "", report=report)
        shown.append({**_row(more), "URL": f"and {len(rest)} more", "direction": ""})
    return shown


def _row(item: pos3.Registered) -> Row:
    report = item.report
    return {
        "URL": printable(item.url),
        "direction": {"download": "S3 → here", "upload": "here → S3", "sync": "both ways"}[item.kind],
        "downloaded": _amount(report.downloaded_files, report.downloaded_bytes),
        "uploaded": _amount(report.uploaded_files, report.uploaded_bytes),
        "unchanged": report.unchanged,
        "deleted": report.deleted_local + report.deleted_remote,
        "kept": len(report.kept),
        "failed": len(report.failures) or int(bool(item.failure)),
        "seconds": round(report.duration_seconds, 1),
    }


def _amount(files: int, size_bytes: int) -> str:
    return f"{files} ({pos3.format_bytes(size_bytes)})" if files else ""


def description(registrations: Sequence[pos3.Registered], total: pos3.Report) -> str:
    """The total, and the reasons for failed and kept files, in Markdown."""
    failed = [f"{code(item.url)}: {code(item.failure)}" for item in registrations if item.failure]
    kept = [
        f"{code(f'{item.url}/{kept.path}')}: {code(kept.reason)}" for item in registrations for kept in item.report.kept
    ]
    return "\n\n".join(
        [f"**{total}**", *_list("Failed", failed), *_list("Left as it is", kept)],
    )


def _list(title: str, reasons: list[str]) -> list[str]:
    if not reasons:
        return []
    lines = [f"- {reason}" for reason in reasons[:_MAX_REASONS]]
    if len(reasons) > _MAX_REASONS:
        lines.append(f"- and {len(reasons) - _MAX_REASONS} more")
    return [f"{title}:", "\n".join(lines)]
