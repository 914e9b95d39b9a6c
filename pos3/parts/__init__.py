"""Parts of a URL, for machines and processes that share the work on it.

A part is a range of the paths below a URL, as a small value that travels as text. This package says what a part is, and
where the listing of a URL is cut so that its parts have about the same number of bytes. It lists and transfers nothing:
:mod:`pos3.jobs` does.
"""

from pos3.parts.balance import Block, cut_by_count, cut_by_size
from pos3.parts.part import Part, part_or_address

__all__ = ["Block", "Part", "cut_by_count", "cut_by_size", "part_or_address"]
