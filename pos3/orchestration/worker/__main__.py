"""Runs a worker until it is stopped. Exit statuses: 0 stopped, 69 the API cannot be used, 78 wrong settings."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import signal
import sys
import time
from typing import Any

import anyio
import anyio.to_thread
import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.plugins import load_prefect_collections
from prefect.settings import PREFECT_API_URL, get_current_settings
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker

import pos3
from pos3.orchestration.worker.draining import DrainingWorker
from pos3.orchestration.worker.run_locks import RunLocks
from pos3.orchestration.worker.settings import WorkerSettings, WrongSettingError
from pos3.orchestration.worker.states import reschedule

EXIT_UNAVAILABLE = 69
EXIT_WRONG_SETTINGS = 78
_API_SECONDS = 60.0
_API_PAUSE_SECONDS = 2.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Worker = BaseWorker[Any, Any, Any]


class UnavailableError(RuntimeError):
    """The Prefect API cannot be used. The message is one line."""


def main() -> int:
    """Runs a worker to its end, and returns the exit status."""
    log = get_logger("pos3.worker")
    try:
        asyncio.run(_until_stopped(log))
    except WrongSettingError as error:
        log.critical("cannot start: %s", error)
        return EXIT_WRONG_SETTINGS
    except UnavailableError as error:
        log.critical("cannot start: %s", error)
        return EXIT_UNAVAILABLE
    except asyncio.CancelledError:
        log.info("stopped")
    return 0


async def _until_stopped(log: logging.Logger) -> None:
    """Runs a worker. It raises CancelledError after the first SIGTERM or SIGINT; further signals are ignored."""
    settings = WorkerSettings.from_environment()
    if not PREFECT_API_URL.value():
        raise WrongSettingError(
            "PREFECT_API_URL is not set; set it to a URL such as http://prefect.example.com:4200/api"
        )
    worker = _make_worker(settings)
    serving = asyncio.ensure_future(_serve(worker, settings, log))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in _STOP_SIGNALS:
            # The handlers stay, because the default action would end the process during its last pushes.
            loop.add_signal_handler(number, bool)
        serving.cancel()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    await serving


async def _serve(worker: Worker, settings: WorkerSettings, log: logging.Logger) -> None:
    await _check_api(settings, log)
    await _recover_abandoned_runs(settings, log)
    # When the worker is cancelled, DrainingWorker.teardown ends its flow runs first.
    await worker.start(with_healthcheck=True, printer=log.info)


def _make_worker(settings: WorkerSettings) -> Worker:
    arguments: dict[str, Any] = {
        "work_pool_name": settings.pool,
        "work_queues": list(settings.queues),
        "name": settings.name,
        "limit": settings.limit,
        "heartbeat_interval_seconds": int(get_current_settings().worker.heartbeat_seconds),
        "base_job_template": _job_template(settings),
    }
    load_prefect_collections()
    chosen = BaseWorker.get_worker_class_from_type(settings.kind)
    if chosen is None:
        known = ", ".join(sorted(BaseWorker.get_all_available_worker_types()))
        raise WrongSettingError(f"POS3_WORKER_TYPE={settings.kind!r}: expected an installed type: {known}")
    if chosen is ProcessWorker:
        return DrainingWorker(
            **arguments, run_locks=RunLocks(settings.cache_root, settings.name), grace_seconds=settings.grace_seconds
        )
    return chosen(**arguments)


def _job_template(settings: WorkerSettings) -> Any:
    if settings.job_template is None:
        return None
    try:
        return json.loads(settings.job_template.read_text(encoding="utf-8"))
    except ValueError as error:
        path = str(settings.job_template)
        raise WrongSettingError(f"POS3_WORKER_JOB_TEMPLATE={path!r} is not valid JSON: {error}") from None


async def _check_api(settings: WorkerSettings, log: logging.Logger) -> None:
    """Returns when the API answers and the work pool can be used.

    Raises:
        UnavailableError: the API has not answered for a minute.
        WrongSettingError: the API refuses the worker, or the work pool has another type.
    """
    url = PREFECT_API_URL.value()
    deadline = time.monotonic() + _API_SECONDS
    async with get_client() as client:
        while (failure := await client.api_healthcheck()) is not None:
            if time.monotonic() > deadline:
                raise UnavailableError(f"PREFECT_API_URL={url}: no answer in {_API_SECONDS:.0f} s ({failure})")
            log.info("waiting for the API at %s (%s)", url, failure)
            await anyio.sleep(_API_PAUSE_SECONDS)
        try:
            pool = await client.read_work_pool(settings.pool)
        except ObjectNotFound:
            log.info("there is no work pool %r yet; it is created", settings.pool)
            return
        except httpx.HTTPStatusError as error:
            refused = error.response.status_code in (401, 403)
            hint = "; check PREFECT_API_KEY or PREFECT_API_AUTH_STRING" if refused else ""
            text = f"PREFECT_API_URL={url}: {error.response.status_code} {error.response.reason_phrase}{hint}"
            raise (WrongSettingError if refused else UnavailableError)(text) from None
    if pool.type != settings.kind:
        raise WrongSettingError(
            f"POS3_WORKER_TYPE={settings.kind!r}: the work pool {settings.pool!r} has the type {pool.type!r}; "
            "set this type"
        )
    if pool.is_paused:
        log.warning("the work pool %r is paused; nothing runs until it is resumed", settings.pool)


async def _recover_abandoned_runs(settings: WorkerSettings, log: logging.Logger) -> None:
    """Pushes what killed processes have left in the cache, and then reschedules their flow runs."""
    # Recovery never deletes, and what fails is tried at the next start. So no error may keep the worker from starting.
    try:
        trusts = settings.recovers_all
        recover = functools.partial(pos3.recover, settings.cache_root, show_progress=False, trust_endpoints=trusts)
        for found in await anyio.to_thread.run_sync(recover, abandon_on_cancel=True):
            level = logging.INFO if found.error is None else logging.ERROR
            result = found.error or f"{found.outcome} {found.report}"
            log.log(level, "files of a killed process for %s: %s", found.url, result)
    except Exception:
        log.exception("the files of killed processes could not be pushed; the next start of the worker tries again")
    try:
        with RunLocks(settings.cache_root).abandoned() as runs:
            async with get_client() as client:
                for flow_run_id, name in runs.items():
                    why = "its worker was killed"
                    await reschedule(client, flow_run_id, why, log, worker_name=name, restarts=settings.restarts)
    except Exception:
        log.exception("some flow runs of a killed worker could not be rescheduled; the next start tries again")


if __name__ == "__main__":
    sys.exit(main())
