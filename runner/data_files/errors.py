"""The error of files of data."""

from __future__ import annotations


class UnreadableData(Exception):
    """A file of data, or a part of it, cannot be read. The message is one line: what is wrong, and the remedy."""
