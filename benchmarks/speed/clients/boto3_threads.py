"""What people write with boto3: ``boto3_threads.py ACTION BUCKET PREFIX LOCAL THREADS``.

A listing, and a pool of threads. With one thread it is the loop over files that many dataset scripts are.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config

action, bucket, prefix, local, threads = sys.argv[1:]
s3 = boto3.client("s3", config=Config(max_pool_connections=int(threads)))


def keys() -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


def get(key: str) -> None:
    target = Path(local, key[len(prefix) :])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def put(path: Path) -> None:
    s3.put_object(Bucket=bucket, Key=prefix + path.relative_to(local).as_posix(), Body=path.read_bytes())


with ThreadPoolExecutor(int(threads)) as pool:
    if action == "download":
        list(pool.map(get, keys()))
    elif action == "upload":
        list(pool.map(put, (Path(at, name) for at, _, names in os.walk(local) for name in names)))
    elif action == "delete":
        found = keys()
        for start in range(0, len(found), 1000):
            batch = [{"Key": key} for key in found[start : start + 1000]]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
    else:
        for key in keys():
            sys.stdout.write(f"{key}\n")
