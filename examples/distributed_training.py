"""Distributed training: each rank downloads its part of the dataset, and what all ranks need is downloaded once a node.

    torchrun --nproc-per-node 4 examples/distributed_training.py s3://bucket/dataset s3://bucket/vocabulary.json
    python examples/distributed_training.py

torchrun starts one process for each rank, with RANK and WORLD_SIZE in its environment. Without them, this program puts
a dataset into a bucket, starts four such processes itself, and checks what they have done. It needs no S3 and no torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from local_s3 import local_s3

import pos3

RANKS, FILES = 4, 40


def train(dataset: str, vocabulary: str) -> dict[str, Any]:
    """What one rank does. Returns what it has read."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with pos3.mirror(show_progress=False) as mirror:
        # All ranks of a node call this at the same time: one downloads, and the others wait and find it there.
        words = json.loads(pos3.download(vocabulary).read_text())
        shared_files = mirror.report().downloaded_files
        # Each rank lists the dataset, and all of them find the same parts, as long as nobody changes it meanwhile.
        # Otherwise one rank calls partition(), and str(part) goes to the others.
        part = pos3.partition(dataset, parts=world_size)[rank]
        # The ranks of a node share the local path, so a rank tells its files from those of the others.
        data = pos3.download(part)
        shards = sorted(file for file in data.rglob("*") if file.is_file() and file.relative_to(data) in part)
        samples = sum(len(shard.read_bytes()) // len(words) for shard in shards)
    return {"rank": rank, "samples": samples, "files": [shard.name for shard in shards], "shared": shared_files}


def launch(dataset: str, vocabulary: str, cache: str) -> list[dict[str, Any]]:
    """Does what torchrun does on one node, and returns what each rank has read."""
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, dataset, vocabulary],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(RANKS), "POS3_CACHE_ROOT": cache},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(RANKS)
    ]
    told = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise SystemExit("a rank has failed")
    return [json.loads(text) for text in told]


def check(holds: bool, what: str) -> None:
    print(f"{'yes' if holds else 'NO ':3}  {what}")
    if not holds:
        raise SystemExit(1)


def main() -> None:
    if "RANK" in os.environ:
        print(json.dumps(train(*sys.argv[1:])))
        return
    with local_s3() as bucket, tempfile.TemporaryDirectory(prefix="pos3-example-cache-") as cache:
        names = [f"shard-{number:03}.bin" for number in range(FILES)]
        for name in names:
            bucket.put(f"dataset/{name}", b"sample" * 100)
        bucket.put("vocabulary.json", json.dumps(list("sample")).encode())
        ranks = launch(bucket.url("dataset"), bucket.url("vocabulary.json"), cache)
        for told in ranks:
            print(f"rank {told['rank']}: {told['samples']} samples in {len(told['files'])} files")
        print("checks:")
        check([name for told in ranks for name in told["files"]] == names, "each file was read by exactly one rank")
        check({len(told["files"]) for told in ranks} == {FILES // RANKS}, "each rank had the same number of bytes")
        check(sum(told["samples"] for told in ranks) == FILES * 100, "no sample was missed")
        check(sum(told["shared"] for told in ranks) == 1, "what all ranks need was downloaded once")


if __name__ == "__main__":
    main()
