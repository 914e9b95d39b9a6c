"""The one place where the fuzz tests reach the parser of listings."""

from __future__ import annotations

from pos3.store import s3_listing
from pos3.store.s3_listing import Page


def parse_page(body: bytes, date: str = "") -> Page:
    """What pos3 makes of the body of a listing's answer."""
    response = {"Pos3Page": body, "ResponseMetadata": {"HTTPHeaders": {"date": date}}}
    return s3_listing._parse(response, "", "listing s3://bucket/")
