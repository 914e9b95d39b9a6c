"""What other tools do with the faults that pos3 is tested with: one table, each cell seen in a real run.

    python tests/stress/peers_matrix [--only NAME...] [--tools NAME...] [--runs 2] [--json FILE] [--page docs/peers.md]

Makes an environment for each tool below ``.peers``, starts an S3 server and a proxy, plays every scenario for every
tool, and prints what was seen. What was seen is kept as JSON; ``--only`` and ``--tools`` play a part anew. The page is
written when there is something of every scenario for every tool. Takes about half an hour. The scenario of a full disk
needs root.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from importlib.metadata import version
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(_ROOT), str(_ROOT / "tests" / "stress")]

from peers_matrix.peers import ENVIRONMENTS, PEERS, Peer  # noqa: E402
from peers_matrix.scenarios import SCENARIOS, Scenario  # noqa: E402
from peers_matrix.stage import Stage  # noqa: E402
from peers_matrix.table import Observed, page  # noqa: E402

from tests.support import MotoServer, Proxy, RcloneServer, Server  # noqa: E402

NOT_PLAYED = "could not be played"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [name for scenarios in SCENARIOS.values() for name in scenarios]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--tools", nargs="+", choices=[peer.name for peer in PEERS], metavar="NAME")
    parser.add_argument("--runs", type=int, default=2, help="of each scenario; a cell shows all that differed")
    parser.add_argument("--json", type=Path, default=ENVIRONMENTS / "observed.json", metavar="FILE")
    parser.add_argument("--page", type=Path, default=_ROOT / "docs" / "peers.md", metavar="FILE")
    return parser.parse_args()


def played(scenario: Scenario, peer: Peer, server: Server) -> str:
    """What was seen, in a few words."""
    if scenario.needs_deletes and not peer.deletes:
        return "–"
    top = Path(tempfile.mkdtemp(prefix="pos3-peers-"))
    # A key that leaves the target twice must still end within what is removed.
    home = top / "home"
    home.mkdir()
    stage = None
    try:
        with Proxy(server, seed=1) as proxy:
            stage = Stage(peer, server, proxy, home)
            return scenario.play(stage)
    except Exception as error:  # noqa: BLE001 - the other scenarios are played all the same
        traceback.print_exc()
        return f"{NOT_PLAYED} ({type(error).__name__})"
    finally:
        if stage is not None:
            server.drop_bucket(stage.bucket)
        shutil.rmtree(top, ignore_errors=True)


def differing(runs: list[str]) -> str:
    """What was seen, with all that came out differently; seconds, sizes and temporary names always do."""
    return "; or ".join({re.sub(r"[\d.,]+ (s|MiB|bytes)\b|`[^`]*`", "", seen): seen for seen in runs}.values())


def version_of(peer: Peer) -> str:
    """The package of a tool, for the page."""
    if peer.requirement:
        package = peer.requirement.replace("==", " ")
        return f"{package} (program {peer.program_version})" if peer.program_version else package
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return f"pos3 {version('pos3')} (this repository{', commit ' + commit if commit else ''})"


def main() -> None:
    options = arguments()
    # Background jobs of a shell ignore SIGINT, and so would the tools.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tools = [peer for peer in PEERS if not options.tools or peer.name in options.tools]
    for peer in tools:
        peer.install()
    observed: Observed = json.loads(options.json.read_text()) if options.json.exists() else {}
    with MotoServer() as moto, RcloneServer() as rclone:
        for title, scenarios in SCENARIOS.items():
            print(f"\n{title}")
            for name, scenario in scenarios.items():
                if options.only and name not in options.only:
                    continue
                print(f"\n  {name}: {scenario.text}")
                for peer in tools:
                    began = time.monotonic()
                    server = rclone if scenario.many_objects else moto
                    runs = [
                        played(scenario, peer, server)
                        for _ in range(1 if scenario.once or scenario.many_objects else options.runs)
                    ]
                    seen = observed.setdefault(name, {})[peer.name] = differing(runs)
                    print(f"    {peer.name:12} {seen}  [{time.monotonic() - began:.1f} s]", flush=True)
    played_ones = {
        name: {tool: seen for tool, seen in cells.items() if NOT_PLAYED not in seen} for name, cells in observed.items()
    }
    options.json.write_text(json.dumps(played_ones, indent=2) + "\n")
    every = [(name, peer.name) for scenarios in SCENARIOS.values() for name in scenarios for peer in PEERS]
    if all(tool in played_ones.get(name, {}) for name, tool in every):
        options.page.write_text(page(played_ones, {peer.name: version_of(peer) for peer in PEERS}), encoding="utf-8")
        print(f"\nwritten to {options.page}")
    elif not (options.only or options.tools):
        sys.exit(f"some scenarios {NOT_PLAYED}; the page is left as it was")


if __name__ == "__main__":
    main()
