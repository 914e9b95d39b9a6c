"""Type checkers and IDEs see the function's own signature through ``pos3_flow``."""

from __future__ import annotations

from pathlib import Path

from tests.support.pyright import checked_by_pyright

CASES = Path(__file__).with_name("typed_flows.py")


def test_a_type_checker_sees_the_signature_of_the_function(tmp_path: Path) -> None:
    found = checked_by_pyright(CASES, tmp_path, typeCheckingMode="standard", reportUnnecessaryTypeIgnoreComment="error")
    assert found["summary"]["filesAnalyzed"] == 1
    assert found["generalDiagnostics"] == []
