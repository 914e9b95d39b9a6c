"""Runs pyright, the type checker of IDEs, on one script that uses pos3."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pos3


def checked_by_pyright(script: Path, directory: Path, **settings: Any) -> Any:
    """What pyright says of the script, as its JSON output has it.

    Args:
        directory: where the file with the settings is written.
        settings: those of a pyrightconfig.json.
    """
    project = directory / "pyrightconfig.json"
    given = {"include": [str(script)], "extraPaths": [str(Path(pos3.__file__).parents[1])], **settings}
    project.write_text(json.dumps(given))
    command = [sys.executable, "-m", "basedpyright", "--outputjson"]
    checked = subprocess.run(
        [*command, "--project", str(project), "--pythonpath", sys.executable], capture_output=True, text=True
    )
    return json.loads(checked.stdout)
