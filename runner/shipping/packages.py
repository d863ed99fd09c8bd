"""The packages that a folder needs, with their versions and licences, as they are installed here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""The index with PyTorch's builds for CPUs alone."""


def closure(names: Iterable[str]) -> list[Distribution]:
    """Return the distributions that some packages need, with themselves, by name.

    Raises:
        importlib.metadata.PackageNotFoundError: one is not installed.
    """
    found: dict[str, Distribution] = {}
    open_names = [canonicalize_name(name) for name in names]
    while open_names:
        name = open_names.pop()
        if name in found:
            continue
        found[name] = distribution(name)
        needed = [Requirement(text) for text in found[name].requires or ()]
        open_names += [
            canonicalize_name(one.name) for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return [found[name] for name in sorted(found)]


def requirements(packages: Iterable[Distribution]) -> str:
    """Return a requirements.txt with the exact versions of packages."""
    lines = [f"{canonicalize_name(one.metadata['Name'])}=={one.version}" for one in packages]
    index = [f"--extra-index-url {CPU_INDEX}"] if any(line.endswith("+cpu") for line in lines) else []
    return "\n".join([*index, *lines]) + "\n"


def licences(packages: Iterable[Distribution]) -> str:
    """Return the licences of packages as a table in Markdown, as far as they are declared."""
    rows = [f"| {one.metadata['Name']} | {one.version} | {licence_of(one)} |" for one in packages]
    head = [
        "# Licences",
        "",
        "Of the packages of requirements.txt, as they declare them. The licence of the model and its ",
    ]
    head[-1] += "weights is that of where they come from: REPORT.md names the source."
    return "\n".join([*head, "", "| package | version | licence |", "|---|---|---|", *rows]) + "\n"


def licence_of(package: Distribution) -> str:
    """Return a package's licence: its SPDX expression, else its classifiers, else the first line of its text."""
    fields: Any = package.metadata  # a Message, whose stub has no get
    if expression := fields.get("License-Expression"):
        return str(expression)
    known = [one.split(" :: ")[-1] for one in fields.get_all("Classifier") or () if one.startswith("License ::")]
    text = (fields.get("License") or "").strip().splitlines()
    return ", ".join(known) or (text[0][:80] if text else "not declared")
