"""Any version of pos3 as a program: ``pos3_mirror.py download|upload|list URL LOCAL CACHE WORKERS [OPTION...]``."""

import sys

import pos3

action, url, local, cache, workers, *more = sys.argv[1:]
options = dict.fromkeys(more, True)
with pos3.mirror(cache, show_progress=False, max_workers=int(workers)):
    if action == "download":
        pos3.download(url, local, **options)
    elif action == "upload":
        pos3.upload(url, local, interval=None, **options)
    else:
        for found in pos3.ls(url, recursive=True):
            sys.stdout.write(f"{found}\n")
