"""Any version of pos3 as a program: ``pos3_mirror.py download|upload|list URL LOCAL CACHE WORKERS [OPTION...]``.

WORKERS is a number, or "default". BENCH_LOOPS in the environment changes how many loops move large bodies at the most.
"""

import os
import sys

import pos3

action, url, local, cache, workers, *more = sys.argv[1:]
options = dict.fromkeys(more, True)
settings = {} if workers == "default" else {"max_workers": int(workers)}
if "BENCH_LOOPS" in os.environ:
    from pos3.store.s3 import http

    # Fails where pos3 no longer has it: else the figures would be those of what nobody has changed.
    http._MOST_THREADS.__index__()
    http._MOST_THREADS = int(os.environ["BENCH_LOOPS"])
with pos3.mirror(cache, show_progress=False, **settings):
    if action == "download":
        pos3.download(url, local, **options)
    elif action == "upload":
        pos3.upload(url, local, interval=None, **options)
    else:
        for found in pos3.ls(url, recursive=True):
            sys.stdout.write(f"{found}\n")
