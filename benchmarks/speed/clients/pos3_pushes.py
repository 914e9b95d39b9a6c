"""What a push over a tree costs that S3 already holds: ``pos3_pushes.py URL LOCAL CACHE CHANGED COUNTS``.

Prints JSON: the figures of one push, after the files that are named in the file CHANGED have been rewritten. COUNTS is
the URL at which the server tells the requests since it was last asked.
"""

import json
import os
import sys
import time
import urllib.request

import pos3

url, local, cache, changed, counts = sys.argv[1:]


def asked() -> dict[str, int]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(counts, timeout=60) as answer:
        return dict(json.load(answer)["requests"])


with pos3.mirror(cache, show_progress=False):
    pos3.upload(url, local, interval=3600)
    pos3.flush(local)
    with open(changed) as names:
        for name in names.read().splitlines():
            path = f"{local}/{name}"
            before = os.stat(path)
            with open(path, "r+b") as file:
                file.write(str(time.time_ns()).encode())
            os.utime(path, (before.st_atime, before.st_mtime + 1))
    asked()
    began, began_cpu = time.perf_counter(), time.process_time()
    moved = pos3.flush(local)
    figures = {"wall_seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - began_cpu}
    print(json.dumps({**figures, "requests": asked(), "uploaded": moved.uploaded_files}), flush=True)
