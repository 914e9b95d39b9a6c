"""The page that shows what was observed."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

from peers_matrix.peers import PEERS
from peers_matrix.scenarios import SCENARIOS

Observed = dict[str, dict[str, str]]
"""By scenario and tool."""

_INTRODUCTION = """# The same faults, other tools

What pos3 and five other tools do when things go wrong: each cell is what was seen when `make peers` ran. The tools
talk to a real S3 server (moto's, and rclone's for many objects) through a proxy that breaks what the row says, with
their default options plus deletes. Most scenarios are played twice; where the two differed, the cell shows both.
"Status" is the exit status of the command. **Bold** is what loses or spoils data, or leaves half a file where a whole
one is expected. A dash means that the tool never deletes. Before bits are flipped, each tool uploads the object
itself, so that it may store what checksums it likes.

Options change some cells: `aws s3 sync --exact-timestamps` compares times both ways, `rclone --checksum` compares
content, `rclone --max-delete` and `--backup-dir` bound deletes and keep what they take. A row that depends on the
moment of a signal may come out differently another time.
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
    lines += ["## The commands\n", "| | version | download | upload |", "|---|---|---|---|"]
    lines += [
        f"| {peer.name} | {versions[peer.name]} | `{peer.shown('down')}` | `{peer.shown('up')}` |" for peer in tools
    ]
    where = f"{platform.system()} with Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    lines += [
        "",
        f"Run on {where}. `make peers` makes an environment for each tool and writes this page anew;",
        "the scenarios are in `tests/stress/peers_matrix`.",
        "",
    ]
    return "\n".join(lines)
