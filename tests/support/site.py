"""One test's corner of a server: a bucket of its own, and URLs into it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.servers import Server, Stored


@dataclass(frozen=True)
class S3Site:
    """A server and one fresh bucket on it that no other test sees."""

    server: Server
    bucket: str

    def url(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{key}" if key else f"s3://{self.bucket}"

    def put(self, key: str, data: bytes = b"") -> str:
        return self.server.put(self.bucket, key, data)

    def put_all(self, objects: dict[str, bytes]) -> None:
        self.server.put_all(self.bucket, objects)

    def get(self, key: str) -> bytes:
        return self.server.get(self.bucket, key)

    def delete(self, key: str) -> None:
        self.server.delete(self.bucket, key)

    def keys(self, prefix: str = "") -> dict[str, Stored]:
        return self.server.keys(self.bucket, prefix)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object below `prefix` with its content; the keys relative to `prefix`.

        What is deleted after it was listed is left out.
        """
        found = {}
        for key in self.keys(prefix):
            try:
                found[key[len(prefix) :]] = self.get(key)
            except KeyError:
                if key in self.keys(key):
                    raise
        return found
