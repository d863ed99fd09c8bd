"""Redact secrets: passwords and keys in settings, environments, command lines and URLs.

Workers receive the real values. Everything stored about a run (launch.json, config.yaml, result.json, plan.json,
MLflow) and every printed server response is redacted here first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "(hidden)"
NAME = re.compile(r"TOKEN(?!S|IZ)|KEY(?!WORD)|SECRET|PASSWORD|PASSWD|CREDENTIAL|CONNECTION_STRING", re.IGNORECASE)
"""Names of secrets. `model.new_tokens` and TOKENIZERS_PARALLELISM do not match."""
CREDENTIALS = re.compile(r"(?<=://)[^/\s]+(?=@)|(?<![^\s=\"'])[^\s/:@=\"']+:[^\s/@]+(?=@[\w.-]+:\d+)")
"""User and password in a URL; also without a scheme (``user:password@proxy:8080``), as curl and pip accept it."""
ASSIGNMENT = re.compile(r"([\w.]+)(=)([^\s,{};]+)")
"""``name=value``, as in an override, in a list of environment variables or in a connection string."""
ENTRY = re.compile(r"([\w.]+)(\s*:\s*)([^\s,{}]+)")
"""``name: value`` in a dictionary within an override; not applied to other text, which may contain colons."""
MIN_SECRET_LENGTH = 8
"""Minimum length, in characters, of a secret that is replaced in any text: short values such as `1` are everywhere."""


_learnt: set[str] = set()
"""Secret values from settings, see :func:`learn`."""
_plain: set[str] = set()
"""Names of models, backends and other choices, which are no secrets. A variable of the environment with one of them
hides nothing: a continuous integration's ``CACHE_KEY=resnet50`` must not hide the model."""


def learn(settings: Mapping[str, Any]) -> None:
    """Register the values of secret settings, so that they are hidden in every text.

    Args:
        settings: flattened, as :func:`runner.config.composition.flatten` returns them.
    """
    for name, value in settings.items():
        if isinstance(value, str) and len(value) >= MIN_SECRET_LENGTH:
            if NAME.search(name):
                _learnt.add(value)
            elif name.endswith(".name"):
                _plain.add(value)


def hide(content: Any, name: str = "") -> Any:
    """Return settings, an environment or a command line without its secrets.

    Args:
        content: JSON values. Numbers are never secrets.
        name: name of the setting or variable that holds the content.
    """
    if isinstance(content, Mapping):
        return {key: hide(value, f"{name}.{key}" if name else str(key)) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [hide(hide_in_override(part) if isinstance(part, str) else part, name) for part in content]
    if not isinstance(content, str):
        return content
    return HIDDEN if content and NAME.search(name) else hide_in_text(content)


def hide_in_override(word: str) -> str:
    """Return a command-line argument, ``name=value`` or ``name={name:value}``, without its secrets."""
    return hide_in_text(ENTRY.sub(_hide_value, word))


def _hide_value(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{HIDDEN}" if NAME.search(found[1]) else found[0]


def hide_in_text(text: str) -> str:
    """Return a text without secrets: assignments, credentials in URLs, values of secret variables and settings."""
    secrets = {value for name, value in os.environ.items() if len(value) >= MIN_SECRET_LENGTH and NAME.search(name)}
    for value in sorted((secrets - _plain) | _learnt, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return ASSIGNMENT.sub(_hide_value, CREDENTIALS.sub(HIDDEN, text))
