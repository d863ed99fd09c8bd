"""From arrays to batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


class Preparation:
    """An .npz with an array for each input by its name, a sample in each row, or an .npy for a single input."""

    def __init__(self, _folder: Path, facts: dict[str, Any]) -> None:
        """Store the model's inputs and outputs."""
        self._facts = facts

    def batches(self, words: list[str]) -> Iterator[dict[str, Any]]:
        """Yield batches of a file's samples.

        Raises:
            ValueError: an input is missing, or its shape does not fit.
        """
        if len(words) != 1:
            raise ValueError(f"received {len(words)} files; allowed: one .npz or .npy")
        loaded = np.load(words[0], allow_pickle=False)
        found = dict(loaded) if hasattr(loaded, "files") else {self._facts["inputs"][0]["name"]: loaded}
        arrays = {one["name"]: self._checked(one, found) for one in self._facts["inputs"]}
        counts = {len(values) for values in arrays.values()}
        if len(counts) != 1 or counts == {0}:
            raise ValueError(f"the arrays have {sorted(counts)} samples; allowed: one number, at least 1")
        size = self._facts["batch_size"]
        for start in range(0, counts.pop(), size):
            yield {name: values[start : start + size] for name, values in arrays.items()}

    def _checked(self, port: dict[str, Any], found: dict[str, Any]) -> Any:
        """Return an input's array, in its type."""
        if port["name"] not in found:
            raise ValueError(f"there is no array {port['name']!r}; received {', '.join(found)}")
        values = found[port["name"]]
        fits = len(values.shape) == len(port["shape"]) and all(
            isinstance(wanted, str) or wanted == given
            for wanted, given in zip(port["shape"][1:], values.shape[1:], strict=True)
        )
        if not fits:
            raise ValueError(f"{port['name']} has the shape {list(values.shape)}; allowed: {port['shape']}")
        changed = np.ascontiguousarray(values, port["dtype"])
        if changed.dtype.kind != "f" and not np.array_equal(changed, values):
            raise ValueError(f"{port['name']} has values that are none of {port['dtype']}")
        return changed

    def describe(self, _words: list[str], outputs: dict[str, Any]) -> list[str]:
        """Return the best class of each sample, or the shapes of outputs of no known meaning."""
        logits, labels = self._facts["logits"], self._facts["labels"]
        if logits is None:
            return [f"{name}: {values.dtype} {list(values.shape)}" for name, values in outputs.items()]
        best = outputs[logits].argmax(axis=1)
        return [f"{row}: {labels[str(number)] if labels else number}" for row, number in enumerate(best)]
