"""What must not be written down: passwords and keys in settings, in environments, in commands and in addresses.

Workers get the real values; what is stored of a run (launch.json, config.yaml, result.json, plan.json, MLflow) and
what is printed of a server's answer goes through here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "(hidden)"
NAME = re.compile(r"TOKEN(?!S|IZ)|KEY(?!WORD)|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
"""Names of secrets; `model.new_tokens` and TOKENIZERS_PARALLELISM are none."""
CREDENTIALS = re.compile(r"(?<=://)[^/\s]+(?=@)")
"""User and password in an address."""
ASSIGNMENT = re.compile(r"([\w.]+)(=)([^\s,{}]+)")
"""A name and its value, as in an override or among variables."""
ENTRY = re.compile(r"([\w.]+)(\s*:\s*)([^\s,{}]+)")
"""The same in a dictionary within an override; anywhere else a colon is only a colon."""
MIN_SECRET_LENGTH = 8
"""Characters of an environment's secret at least for its value to be hidden anywhere: a `1` is found everywhere."""


_learnt: set[str] = set()


def learn(settings: Mapping[str, Any]) -> None:
    """Remember the values of settings that are secrets, so that they are hidden in every text."""
    _learnt.update(
        value
        for name, value in settings.items()
        if isinstance(value, str) and len(value) >= MIN_SECRET_LENGTH and NAME.search(name)
    )


def hide(content: Any, name: str = "") -> Any:
    """Return settings, an environment or a command line without its secrets.

    Args:
        content: JSON values. A number is never a secret.
        name: of the setting or variable that holds the content.
    """
    if isinstance(content, Mapping):
        return {key: hide(value, f"{name}.{key}" if name else str(key)) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [hide(hide_in_override(part) if isinstance(part, str) else part, name) for part in content]
    if not isinstance(content, str):
        return content
    return HIDDEN if content and NAME.search(name) else hide_in_text(content)


def hide_in_override(word: str) -> str:
    """Return a word of a command line, ``name=value`` or ``name={name:value}``, without its secrets."""
    return hide_in_text(ENTRY.sub(_hide_value, word))


def _hide_value(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{HIDDEN}" if NAME.search(found[1]) else found[0]


def hide_in_text(text: str) -> str:
    """Return a text without secrets: variables, credentials in addresses, values of the environment's own secrets."""
    secrets = {value for name, value in os.environ.items() if len(value) >= MIN_SECRET_LENGTH and NAME.search(name)}
    for value in sorted(secrets | _learnt, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return ASSIGNMENT.sub(_hide_value, CREDENTIALS.sub(HIDDEN, text))
