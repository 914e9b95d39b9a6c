#!/usr/bin/env bash
# Packs all objects below a prefix into one archive in S3:
#   tar_archive.sh s3://bucket/data s3://bucket/archives/data.tar.gz
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

data=$(pos3 download "$1") # prints the local path
tar -czf "$work/archive.tar.gz" -C "$data" .
pos3 upload "$2" --local "$work/archive.tar.gz"
