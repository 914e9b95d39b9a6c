"""boto3 with the C runtime of AWS: ``boto3_crt.py ACTION BUCKET PREFIX LOCAL``; a prefix without a slash is one object."""

import os
import sys
from pathlib import Path

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager

action, bucket, prefix, local = sys.argv[1:]
s3 = boto3.client("s3")
manager = create_transfer_manager(s3, TransferConfig(preferred_transfer_client="crt"))
if "crt" not in type(manager).__module__:
    raise SystemExit("boto3 did not take the C runtime")

with manager:
    if not prefix.endswith("/"):
        pairs = [(prefix, Path(local))]
    elif action == "download":
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [item["Key"] for page in pages for item in page.get("Contents", ())]
        pairs = [(key, Path(local, key[len(prefix) :])) for key in found]
    else:
        paths = [Path(at, name) for at, _, names in os.walk(local) for name in names]
        pairs = [(prefix + path.relative_to(local).as_posix(), path) for path in paths]
    futures = []
    for key, path in pairs:
        if action == "download":
            path.parent.mkdir(parents=True, exist_ok=True)
            futures.append(manager.download(bucket, key, str(path)))
        else:
            futures.append(manager.upload(str(path), bucket, key))
    for future in futures:
        future.result()
