"""Parses the values of options."""

from __future__ import annotations

import argparse
import math
import re

from pos3.errors import InvalidArgumentError
from pos3.plan import parse_max_delete
from pos3.reports import parse_bytes

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def max_delete(text: str) -> str:
    try:
        parse_max_delete(text, 0)
    except InvalidArgumentError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a count such as 100 nor a share such as 50%") from None
    return text


def count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def depth(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def size(text: str) -> int:
    try:
        size_bytes = parse_bytes(text)
    except (ValueError, OverflowError):
        size_bytes = -1
    if size_bytes < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 50GB or 512MiB")
    return size_bytes


def size_above_zero(text: str) -> int:
    size_bytes = size(text)
    if not size_bytes:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return size_bytes


def age(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age such as 30d, 12h, 45m or 2w")
    return float(match[1]) * _UNITS[match[2]]
