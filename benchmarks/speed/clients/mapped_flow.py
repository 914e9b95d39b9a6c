"""One flow whose 50 mapped tasks download the same prefix, twice: ``mapped_flow.py URL CACHE TASKS COUNTS``.

Prints JSON: how many requests S3 saw, and how long the calls took while the first of them downloaded, and afterwards.
"""

import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request

home = tempfile.mkdtemp(prefix="pos3-bench-flow-")
os.environ |= {"PREFECT_HOME": home, "PREFECT_LOGGING_LEVEL": "ERROR", "DO_NOT_TRACK": "1"}
os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}

from prefect import task  # noqa: E402
from prefect.testing.utilities import prefect_test_harness  # noqa: E402

import pos3  # noqa: E402
from pos3.orchestration import pos3_flow  # noqa: E402

url, cache, tasks, counts = sys.argv[1:]


def asked() -> dict[str, int]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(counts, timeout=60) as answer:
        return dict(json.load(answer)["requests"])


@task
def use(_number: int) -> float:
    began = time.perf_counter()
    pos3.download(url)
    return time.perf_counter() - began


@pos3_flow(cache_root=cache)
def mapped() -> dict[str, object]:
    asked()
    began = time.perf_counter()
    first = use.map(range(int(tasks))).result()
    first_seconds = time.perf_counter() - began
    requests = asked()
    began = time.perf_counter()
    further = use.map(range(int(tasks))).result()
    return {
        "requests": requests,
        "first_seconds": first_seconds,
        "first_longest_call_seconds": max(first),
        "further_seconds": time.perf_counter() - began,
        "further_call_seconds": statistics.median(further),
        "further_longest_call_seconds": max(further),
        "further_requests": sum(asked().values()),
    }


with prefect_test_harness(server_startup_timeout=120):
    print(json.dumps(mapped()), flush=True)
