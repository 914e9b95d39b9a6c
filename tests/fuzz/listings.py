"""The one place where the fuzz tests reach the parser of listings."""

from __future__ import annotations

from pos3.store.s3 import listing as s3_listing
from pos3.store.s3.page import Page
from pos3.store.s3.requests import Response


def parse_page(body: bytes, date: str = "") -> Page:
    """What pos3 makes of the body of a listing's answer."""
    head = f"HTTP/1.1 200 OK\r\nDate: {date}\r\n".encode()
    return s3_listing._parse(Response(200, head, [body]), "", "listing s3://bucket/", "http://127.0.0.1:9000")
