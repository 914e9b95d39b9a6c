"""The page that shows what was observed."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

from peers_matrix.peers import PEERS
from peers_matrix.scenarios import SCENARIOS

Observed = dict[str, dict[str, str]]
"""By scenario and tool."""

_INTRODUCTION = """# The same faults, other tools

This page shows what pos3 and five other tools do when something goes wrong. Each cell is the result of a test run with
`make peers`. The tools use a real S3 server: moto, or rclone for many objects. A proxy in front of the server makes the
fault that the row names. The tools run with their default options, and with deletes. Most tests run twice. If the
results differ, the cell shows both.

- **Bold** results lose or damage data, or leave a part of a file where a whole file is expected.
- "Status" is the exit status of the command.
- A dash means that the tool has no deletes.
- If a row flips bits, the tool has uploaded the object itself, so it could store its own checksums.

Options change some cells. `aws s3 sync --exact-timestamps` compares times in both directions, and `rclone --checksum`
compares content. `rclone --max-delete` limits deletes, and `rclone --backup-dir` moves deleted files to another
directory. In rows with a signal, another run can have another result, because the moment of the signal matters.
"""


def page(observed: Observed, versions: dict[str, str]) -> str:
    tools = [peer for peer in PEERS if peer.name in versions]
    lines = [_INTRODUCTION]
    for title, scenarios in SCENARIOS.items():
        lines += [f"## {title}\n", "| | " + " | ".join(peer.name for peer in tools) + " |"]
        lines.append("|---" * (len(tools) + 1) + "|")
        lines += [
            f"| {scenario.text} | " + " | ".join(observed.get(name, {}).get(peer.name, "") for peer in tools) + " |"
            for name, scenario in scenarios.items()
        ]
        lines.append("")
    lines += ["## The commands\n", "| | package | download | upload |", "|---|---|---|---|"]
    lines += [
        f"| {peer.name} | {versions[peer.name]} | `{peer.shown('down')}` | `{peer.shown('up')}` |" for peer in tools
    ]
    where = f"{platform.system()} with Python {platform.python_version()} on {datetime.now(UTC):%Y-%m-%d}"
    lines += [
        "",
        f"The tests ran on {where}. `make peers` makes an environment for each tool, and",
        "writes this page again. The tests are in `tests/stress/peers_matrix`.",
        "",
    ]
    return "\n".join(lines)
