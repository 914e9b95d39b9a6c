"""A user's script, which type checkers read in their strictest modes. It is never run."""

from __future__ import annotations

from pathlib import Path

import pos3

pos3.register_profile("lab", "https://storage.example.com", region="eu-north-1", addressing_style="path", verify=False)
pos3.register_profile("lab", None, aws_profile="research", access_key=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
pos3.register_profile("lab", None, aws_profil="research")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

version: str = pos3.__version__

with pos3.mirror(cache_root="cache", max_workers=8) as opened:
    data: Path = pos3.download("s3://bucket/data", exclude=["*.tmp"], max_delete="5%")
    logs: Path = opened.upload("s3://bucket/logs", interval=30)
    names: list[str] = pos3.ls("s3://bucket/data", recursive=True)
    sizes: int = sum(item.size_bytes for item in pos3.ls("s3://bucket/data", details=True))
    plan: pos3.TransferPlan = pos3.plan_download("s3://bucket/data")
    reasons: dict[str, str] = dict(plan.reasons)
    report: pos3.Report = pos3.flush(timeout=5)
    pos3.download(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pos3.download("s3://bucket/data", exlude="*.tmp")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    current = pos3.current_mirror()
    same: Path = current.download("s3://bucket/data", compare="checksum")
    also: list[str] = current.ls("s3://bucket/data")
    listed: list[pos3.Listed] = current.ls("s3://bucket/data", details=True)
    parts: list[pos3.Part] = current.partition("s3://bucket/data", parts=4)
    current.upload("s3://bucket/logs", interval="soon")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    current.fetch("s3://bucket/data")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


@pos3.with_mirror(cache_root="cache")
def train(epochs: int) -> float:
    return epochs / 2


loss: float = train(3)
train("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def follow() -> None:
    with pos3.mirror() as opened:
        found: Path = opened.sync("s3://bucket/state", interval=60)
        print(found)


def failed(error: pos3.TransferError) -> list[str]:
    return [str(failure) for failure in error.failures]
