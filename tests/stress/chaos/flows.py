"""The flows of the chaos, and the process that runs one of them as a worker's would.

A run's plan says what happens in each of its attempts; each attempt begins with empty output directories, writes its
own content, and says in the run's diary how far it came. The diary is written at once, so that a killed process has
told everything that it did.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from chaos.plan import PARTS, RETRY_DELAY_SECONDS, Diary, Plan, fill, put
from prefect import Flow, task
from prefect.cache_policies import INPUTS, RUN_ID
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.runtime import task_run
from prefect.states import Failed
from prefect.task_runners import ProcessPoolTaskRunner

import pos3
from pos3.orchestration import pos3_flow


@task(retries=1)
def produce(plan: Plan, diary_path: str, attempt: int, part: int) -> str:
    diary = Diary(Path(diary_path))
    data = pos3.download(plan.url("in"))
    found = {f"in/{path.name}": path.read_bytes() for path in data.iterdir()}
    if found != {key: content for key, content in plan.before().items() if key.startswith("in/")}:
        diary.say("wrong", what=f"task {part} of attempt {attempt} read {sorted(found)}")
    place = f"parts/{part}"
    root = pos3.upload(plan.url(place), interval=0.3)
    if task_run.run_count == 1 and plan.task_fails_at_first(attempt, part):
        fill(root, {"half": b"half"})
        diary.say("task-failed", attempt=attempt)
        raise RuntimeError("the first try of a task fails")
    fill(root, plan.written(place, attempt))
    if plan.ending(attempt) == "its task fails" and part == 0:
        raise RuntimeError("a task fails for good")
    return str(root)


@task(persist_result=True, cache_policy=INPUTS + RUN_ID)
def remember(plan: Plan) -> str:
    """Runs in the first attempt that comes so far. Later ones find its result, and do not write its file again."""
    root = pos3.upload(plan.url("memo"), interval=None)
    fill(root, plan.written("memo", 1))
    return str(root)


def begin(plan: Plan, diary: Diary) -> int:
    attempt = len(diary.attempts("begins")) + 1
    diary.say("begins", attempt=attempt)
    log = pos3.upload(plan.url("log"), interval=None, sync_on_error=True)
    fill(log, plan.written("log", attempt))
    diary.say("log-written", attempt=attempt)
    fill(pos3.upload(plan.url("out"), interval=0.3), plan.written("out", attempt))
    fill(pos3.upload(plan.url("keep"), interval=0.5, delete=False), plan.written("keep", attempt))
    pair = pos3.upload(plan.pair_url, interval=0.4, delete=False)
    for name, content in plan.written("pair", attempt).items():
        put(pair, name, content)
    checkpoint = pos3.sync(plan.url("ckpt"), interval=0.2)
    step_before = int((checkpoint / "step").read_text())
    if step_before >= attempt:
        diary.say("wrong", what=f"attempt {attempt} finds the checkpoint of {step_before}")
    put(checkpoint, "step", str(attempt).encode())
    return attempt


def work(plan: Plan, diary_path: str, attempt: int) -> list[Any]:
    return [
        *(produce.submit(plan, diary_path, attempt, part) for part in range(PARTS)),
        remember.submit(plan),
    ]


def end(plan: Plan, diary: Diary, attempt: int, parts: list[Any]) -> Any:
    for part in parts:
        part.result()
    match plan.ending(attempt):
        case "raises":
            diary.say("raises", attempt=attempt)
            raise RuntimeError("the flow fails")
        case "returns Failed":
            diary.say("returns-failed", attempt=attempt)
            return Failed(message="judged bad")
    diary.say("body-ended", attempt=attempt)
    return None


def sync_flow(plan_fields: dict[str, Any], diary_path: str) -> Any:
    plan, diary = Plan(**plan_fields), Diary(Path(diary_path))
    attempt = begin(plan, diary)
    parts = work(plan, diary_path, attempt)
    time.sleep(plan.seconds(attempt))
    return end(plan, diary, attempt, parts)


async def async_flow(plan_fields: dict[str, Any], diary_path: str) -> Any:
    plan, diary = Plan(**plan_fields), Diary(Path(diary_path))
    attempt = begin(plan, diary)
    parts = work(plan, diary_path, attempt)
    await asyncio.sleep(plan.seconds(attempt))
    return end(plan, diary, attempt, parts)


def generator_flow(plan_fields: dict[str, Any], diary_path: str) -> Any:
    plan, diary = Plan(**plan_fields), Diary(Path(diary_path))
    attempt = begin(plan, diary)
    yield attempt
    parts = work(plan, diary_path, attempt)
    time.sleep(plan.seconds(attempt))
    yield attempt
    return end(plan, diary, attempt, parts)


def flow_of(plan: Plan) -> Flow[..., Any]:
    def write_in_hook(_flow: Any, _run: Any, _state: Any) -> None:
        fill(pos3.upload(plan.url("hook"), interval=None), plan.written("hook", 1))

    functions: dict[str, Any] = {"sync": sync_flow, "async": async_flow, "generator": generator_flow}
    return pos3_flow(
        name="chaos",
        validate_parameters=False,
        retries=plan.retries,
        retry_delay_seconds=RETRY_DELAY_SECONDS,
        task_runner=ProcessPoolTaskRunner(max_workers=PARTS) if plan.in_processes else None,
        on_completion=[write_in_hook],
    )(functions[plan.style])


def left_behind() -> list[str]:
    """Threads and sockets of pos3 in this process."""
    # A busy Prefect server takes its time for the last artifacts.
    deadline = time.monotonic() + 30
    while True:
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("pos3")]
        if not threads or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    sockets = [each.laddr for each in psutil.Process().net_connections("unix") if "/pos3-" in str(each.laddr)]
    return [*threads, *sockets]


def main() -> None:
    """Runs one flow run: ``python -m chaos.flows FLOW_RUN_ID PLAN DIARY``."""
    plan, diary_path = Plan(**json.loads(sys.argv[2])), sys.argv[3]
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(UUID(sys.argv[1]))
    arguments = {"plan_fields": asdict(plan), "diary_path": diary_path}
    try:
        ran = run_flow(flow_of(plan), flow_run=flow_run, parameters=arguments, return_type="result")
        if plan.style == "async":
            asyncio.run(ran)
        elif plan.style == "generator":
            list(ran)
    finally:
        if left := left_behind():
            Diary(Path(diary_path)).say("wrong", what=f"left behind: {left}")


if __name__ == "__main__":
    main()
