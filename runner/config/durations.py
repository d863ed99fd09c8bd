"""Durations such as 1h30m: parsing and formatting."""

from __future__ import annotations

import re

DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
"""Hours, minutes and seconds, each optional: 1h30m, 90m, 2h, 45s."""


def seconds_of(text: str) -> float | None:
    """Return the seconds of a duration such as 1h30m, None if the text is not a duration or is zero."""
    found = DURATION.fullmatch(text.replace(" ", ""))
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0, 0.0, 0.0)
    return hours * 3600 + minutes * 60 + seconds or None


def in_words(seconds: float) -> str:
    """Return a duration in words, rounded to seconds below 90 s and to minutes above."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
