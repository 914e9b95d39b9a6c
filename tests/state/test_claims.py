"""Claims as the parts of pos3 use them; what they are for is in tests/behaviour."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pos3.state.ownership import Claims
from pos3.state.root_index import Place


@pytest.mark.timeout(60)
def test_threads_of_one_mirror_never_wait_for_each_others_locks(tmp_path: Path) -> None:
    claims = Claims(str(tmp_path), str(tmp_path / "journal"))
    place = Place("http://x", "s3://bucket/key")

    def begin_and_end() -> None:
        for _ in range(150):
            claims.begin("upload", str(tmp_path / "local"), place, "me", lambda: None).end()

    def look() -> None:
        for _ in range(600):
            claims.other_writers(str(tmp_path / "local"))

    threads = [threading.Thread(target=work, daemon=True) for work in (begin_and_end, look, begin_and_end, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()
    claims.end()
