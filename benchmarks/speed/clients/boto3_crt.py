"""boto3's transfers by the C runtime of AWS: ``boto3_crt.py ACTION BUCKET PREFIX LOCAL``.

A prefix without a slash is one object. boto3 itself takes the C runtime over TLS and with the system's authorities
only, so its parts are put together here.
"""

import os
import sys
from pathlib import Path

import boto3
import botocore.session
from s3transfer.crt import (
    BotocoreCRTCredentialsWrapper,
    BotocoreCRTRequestSerializer,
    CRTTransferManager,
    create_s3_crt_client,
)

action, bucket, prefix, local = sys.argv[1:]
endpoint, region = os.environ["AWS_ENDPOINT_URL"], os.environ["AWS_REGION"]
s3 = boto3.client("s3")
session = botocore.session.Session()
runtime = create_s3_crt_client(
    region,
    BotocoreCRTCredentialsWrapper(session.get_credentials()).to_crt_credentials_provider(),
    use_ssl=endpoint.startswith("https"),
    verify=os.environ.get("AWS_CA_BUNDLE"),
)
settings = {"endpoint_url": endpoint, "region_name": region}
manager = CRTTransferManager(runtime, BotocoreCRTRequestSerializer(session, settings))

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
