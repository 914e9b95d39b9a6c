"""Carries out a plan: copies, then markers and last copies, then deletes, then empty directories.

A download is written beside its target, verified, and renamed over it, so that a reader sees the old bytes or the
new ones. Deletes happen only when every copy succeeded.
"""

from pos3.transfer.execute import execute, growth_bytes
from pos3.transfer.terms import Markers, Outcome, Pair, Rate, Terms

__all__ = ["Markers", "Outcome", "Pair", "Rate", "Terms", "execute", "growth_bytes"]
