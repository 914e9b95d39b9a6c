"""s3fs: ``s3fs_tree.py ACTION BUCKET PREFIX LOCAL``."""

import sys

import s3fs

action, bucket, prefix, local = sys.argv[1:]
s3 = s3fs.S3FileSystem()
url = f"{bucket}/{prefix}"
if action == "download":
    s3.get(url, local, recursive=url.endswith("/"))
elif action == "upload":
    # With its slash, the directory itself is not copied, only what it holds.
    s3.put(f"{local}/" if url.endswith("/") else local, url, recursive=url.endswith("/"))
elif action == "delete":
    s3.rm(url, recursive=True)
else:
    for key in s3.find(url):
        sys.stdout.write(f"{key}\n")
