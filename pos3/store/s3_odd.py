"""The bodies of objects through boto3: keys that obstore cannot address, and everything in a forked child."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

from boto3.s3.transfer import TransferConfig

from pos3.entry import Entry
from pos3.errors import IntegrityError
from pos3.etag import part_size
from pos3.keys import segment_problem
from pos3.store import files
from pos3.store.base import OnBytes
from pos3.store.s3_bodies import Delivered
from pos3.store.s3_errors import translating

_WHOLE_BYTES = 8 * 1024 * 1024
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
                    on_bytes(len(block))
                    received += len(block)
                if received != response["ContentLength"]:
                    raise IntegrityError(f"{where}: {received} of {response['ContentLength']} bytes arrived")
            except BaseException:
                on_bytes(-received)
                os.unlink(target)
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
        reader = _Reader(source, size_bytes, on_bytes)
        options = {**self._upload_options, **self._request_options}
        try:
            with translating(f"s3://{self._bucket}/{key}"):
                if size_bytes <= _WHOLE_BYTES:
                    self._client.put_object(Bucket=self._bucket, Key=key, Body=reader.read(), **options)
                else:
                    config = TransferConfig(multipart_chunksize=part_size(size_bytes), max_concurrency=2)
                    self._client.upload_fileobj(reader, self._bucket, key, ExtraArgs=options, Config=config)
        except BaseException:
            on_bytes(-reader.moved)
            raise
        finally:
            reader.close()


class _Reader:
    """The first bytes of a file, counted as they are read. Not seekable, so boto3 reads each byte once."""

    def __init__(self, path: str, limit_bytes: int, on_bytes: OnBytes):
        self._file = open(path, "rb")  # noqa: SIM115 - closed by its owner
        self._left = limit_bytes
        self._on_bytes = on_bytes
        self.moved = 0

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(self._left if size < 0 else min(size, self._left))
        self._on_bytes(len(block))
        self.moved += len(block)
        self._left -= len(block)
        return block

    def close(self) -> None:
        self._file.close()
