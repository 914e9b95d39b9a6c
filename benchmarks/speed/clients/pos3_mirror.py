"""Any version of pos3 as a program: ``pos3_mirror.py download|upload|list URL LOCAL CACHE WORKERS [OPTION...]``.

WORKERS is a number, or "default".
"""

import sys

import pos3

action, url, local, cache, workers, *more = sys.argv[1:]
options = dict.fromkeys(more, True)
settings = {} if workers == "default" else {"max_workers": int(workers)}
with pos3.mirror(cache, show_progress=False, **settings):
    if action == "download":
        pos3.download(url, local, **options)
    elif action == "upload":
        pos3.upload(url, local, interval=None, **options)
    else:
        for found in pos3.ls(url, recursive=True):
            sys.stdout.write(f"{found}\n")
