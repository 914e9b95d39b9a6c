"""Type checkers and IDEs see the function's own signature through ``pos3_flow``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import basedpyright

import pos3

CASES = Path(__file__).with_name("typed_flows.py")


def test_a_type_checker_sees_the_signature_of_the_function(tmp_path: Path) -> None:
    project = tmp_path / "pyrightconfig.json"
    settings = {
        "include": [str(CASES)],
        "extraPaths": [str(Path(pos3.__file__).parents[1])],
        "typeCheckingMode": "standard",
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    project.write_text(json.dumps(settings))
    command = [sys.executable, "-m", basedpyright.__name__, "--outputjson"]
    checked = subprocess.run(
        [*command, "--project", str(project), "--pythonpath", sys.executable], capture_output=True, text=True
    )
    found = json.loads(checked.stdout)
    assert found["summary"]["filesAnalyzed"] == 1
    assert found["generalDiagnostics"] == []
