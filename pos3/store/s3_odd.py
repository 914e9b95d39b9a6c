"""The bodies of objects through boto3: keys that obstore cannot address, and everything in a forked child."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

from pos3.entry import Entry
from pos3.errors import IntegrityError
from pos3.keys import segment_problem
from pos3.store import files
from pos3.store.base import OnBytes
from pos3.store.s3_bodies import Delivered
from pos3.store.s3_errors import translating

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_odd(key: str) -> bool:
    """Whether obstore cannot address the key as it stands."""
    return not key or key.endswith("/") or bool(_CONTROL.search(key)) or bool(segment_problem(key))


class OddBodies:
    """Reads and writes the objects of one bucket, one request after the other."""

    def __init__(self, client: Any, bucket: str, upload_options: dict[str, Any], request_options: dict[str, Any]):
        self._client = client
        self._bucket = bucket
        self._upload_options = upload_options
        self._request_options = request_options

    def download(self, key: str, target: str, on_bytes: OnBytes) -> Delivered:
        """See :meth:`pos3.store.base.Store.download`; the checksum is the caller's to verify."""
        where = f"s3://{self._bucket}/{key}"
        received = 0
        digest = hashlib.md5(usedforsecurity=False)
        with translating(where):
            response = self._client.get_object(Bucket=self._bucket, Key=key, **self._request_options)
            descriptor = files.create(target)
            try:
                for block in response["Body"].iter_chunks(files.BLOCK_BYTES):
                    files.write_all(descriptor, block)
                    digest.update(block)
                    received += len(block)
                    on_bytes(len(block))
                if received != response["ContentLength"]:
                    raise IntegrityError(f"{where}: {received} of {response['ContentLength']} bytes arrived")
            except BaseException:
                on_bytes(-received)
                raise
            finally:
                os.close(descriptor)
                response["Body"].close()
        modified = response["LastModified"]
        modified_ns = int(modified.timestamp()) * 1_000_000_000
        entry = Entry("", received, modified_ns, response["ETag"].strip('"'))
        return Delivered(entry, digest.hexdigest())

    def upload(self, key: str, source: str, size_bytes: int, on_bytes: OnBytes) -> None:
        """Stores the object; boto3 splits large files and aborts what fails."""
        moved = 0

        def count(size: int) -> None:
            nonlocal moved
            moved += size
            on_bytes(size)

        try:
            with translating(f"s3://{self._bucket}/{key}"):
                self._client.upload_file(
                    source,
                    self._bucket,
                    key,
                    Callback=count,
                    ExtraArgs={**self._upload_options, **self._request_options},
                )
        except BaseException:
            on_bytes(-moved)
            raise
