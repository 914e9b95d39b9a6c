"""What type checkers and IDEs see of ``pos3_flow``: read by ``test_types.py``, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import assert_type

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner

from pos3.orchestration import pos3_flow


@pos3_flow
def bare(url: str, epochs: int = 3) -> float:
    return float(epochs)


@pos3_flow()
def called(url: str, epochs: int = 3) -> float:
    return float(epochs)


@pos3_flow(name="options", retries=2, task_runner=ThreadPoolTaskRunner(max_workers=2), cache_root="~/cache")
def with_options(url: str, epochs: int = 3) -> float:
    return float(epochs)


@pos3_flow
@flow(name="existing")
def over_a_flow(url: str, epochs: int = 3) -> float:
    return float(epochs)


@pos3_flow(max_workers=3)
@flow
def over_a_flow_with_options(url: str, epochs: int = 3) -> float:
    return float(epochs)


@pos3_flow(retries=1)
async def asynchronous(url: str) -> float:
    return 0.0


@pos3_flow(retries=1)
def generator(url: str) -> Generator[int, None, str]:
    yield 1
    return "done"


@pos3_flow
async def async_generator(url: str) -> AsyncGenerator[int, None]:
    yield 1


class Trainer:
    @pos3_flow
    @staticmethod
    def alone(url: str) -> float:
        return 0.0


for one in (bare, called, with_options, over_a_flow, over_a_flow_with_options):
    assert_type(one("s3://bucket/data"), float)
    assert_type(one("s3://bucket/data", epochs=1, return_state=True), State[float])
    assert_type(one.fn("s3://bucket/data"), float)
    changed = one.with_options(retries=1, mirror={"cache_root": "/data", "max_workers": 3})
    assert_type(changed("s3://bucket/data"), float)
    assert_type(changed.with_options(name="again")("s3://bucket/data"), float)

assert_type(generator("s3://bucket/data"), Generator[int, None, str])
assert_type(async_generator("s3://bucket/data"), AsyncGenerator[int, None])
assert_type(Trainer.alone("s3://bucket/data"), float)


async def wait() -> None:
    assert_type(await asynchronous("s3://bucket/data"), float)


# Each of these must be an error: an ignore that is not needed is reported.
bare(3)  # pyright: ignore[reportArgumentType]
bare("s3://bucket/data", epoch=1)  # pyright: ignore[reportCallIssue]
pos3_flow(retriess=1)  # pyright: ignore[reportCallIssue]
pos3_flow(retries="many")  # pyright: ignore[reportArgumentType]
pos3_flow(mirror=3)  # pyright: ignore[reportArgumentType]
bare.with_options(retriess=1)  # pyright: ignore[reportCallIssue]
