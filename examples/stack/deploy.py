"""Deploys flow.py to the stack of docker/compose.yaml, runs it there, and checks what is in S3 afterwards.

make stack-example
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from prefect import Flow
from prefect.deployments import run_deployment

import pos3

BUCKET = "example"
ROOT = Path(__file__).parents[2]


def main() -> None:
    s3 = boto3.client("s3")
    try:
        s3.create_bucket(Bucket=BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    for number in range(3):
        s3.put_object(Bucket=BUCKET, Key=f"data/part-{number}.txt", Body=b"to be or not to be")

    flow: Any = Flow.from_source(source=str(ROOT), entrypoint="examples/stack/flow.py:train")
    flow.deploy(name="stack", work_pool_name=os.environ["POS3_POOL"], ignore_warnings=True)
    run = run_deployment("train/stack", parameters={"bucket": f"s3://{BUCKET}"}, timeout=120)
    print(f"the run {run.name!r} ended as {run.state_name}, after {run.run_count} attempts")
    with pos3.mirror(cache_root="/tmp/pos3-example", show_progress=False):
        print("in S3:", *pos3.ls(f"s3://{BUCKET}", recursive=True), sep="\n  ")
        log = (pos3.download(f"s3://{BUCKET}/state") / "log.txt").read_text().splitlines()
    if run.state_name != "Completed" or log != [f"step {step}: 18 words" for step in (1, 2, 3)]:
        sys.exit(f"this is not what was to be expected: {run.state_name}, {log}")


if __name__ == "__main__":
    main()
