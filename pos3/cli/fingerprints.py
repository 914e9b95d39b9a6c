"""Runs ``pos3 fingerprint``."""

from __future__ import annotations

from argparse import Namespace

from pos3.api import mirror
from pos3.cli.output import put_json, put_line
from pos3.cli.statuses import OK
from pos3.cli.transfers import shown_url
from pos3.errors import InvalidURLError, RemoteNotFoundError
from pos3.url import is_url


def run_fingerprint(arguments: Namespace) -> int:
    """Prints the fingerprint of the objects at a URL, or of a part of them."""
    if not is_url(arguments.url):
        raise InvalidURLError(f"url must be an s3:// URL, got: {arguments.url}")
    url = shown_url(arguments)
    with mirror(show_progress=False) as opened:
        fingerprint = opened.fingerprint(
            arguments.url, include=arguments.include, exclude=arguments.exclude, profile=arguments.profile
        )
    if fingerprint is None:
        raise RemoteNotFoundError(f"{url}: there are no objects; check the URL and the filters")
    if arguments.json:
        put_json({"url": url, "fingerprint": fingerprint})
    else:
        put_line(fingerprint)
    return OK
