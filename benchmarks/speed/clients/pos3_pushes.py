"""What a push over a tree costs that S3 already holds: ``pos3_pushes.py URL LOCAL CACHE CHANGED``.

Prints JSON for a push with nothing changed and one with some files changed, which the server counts apart.
"""

import json
import sys
import time

import pos3

url, local, cache, changed = sys.argv[1:]
figures = {}


def push(name: str) -> None:
    began, began_cpu = time.perf_counter(), time.process_time()
    moved = pos3.flush(local)
    figures[name] = {
        "wall_seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - began_cpu,
        "uploaded": moved.uploaded_files,
    }


with pos3.mirror(cache, show_progress=False):
    pos3.upload(url, local, interval=3600)
    pos3.flush(local)
    push("unchanged")
    with open(changed) as names:
        for name in names.read().splitlines():
            with open(f"{local}/{name}", "r+b") as file:
                file.write(str(time.time_ns()).encode())
    push("changed")
    print(json.dumps(figures), flush=True)
