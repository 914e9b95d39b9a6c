"""A flow that imports a module beside it; prefect.yaml brings both to S3."""

from __future__ import annotations

from words import count

import pos3
from pos3.orchestration import pos3_flow


@pos3_flow(log_prints=True)
def count_words(data: str, results: str) -> int:
    total = sum(count(file) for file in pos3.download(data).rglob("*.txt"))
    (pos3.upload(results) / "total.txt").write_text(f"{total}\n")
    print(f"{total} words")
    return total
