"""From pictures to batches, as the model's own library prepares them for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

ARRAYS = (".npz", ".npy")


class Preparation:
    """Pictures, or one .npz or .npy with prepared ones: samples × 3 × height × width."""

    def __init__(self, _folder: Path, facts: dict[str, Any]) -> None:
        """Store how pictures are prepared."""
        self._facts, self._how = facts, facts["pictures"]
        self._name = facts["inputs"][0]["name"]

    def batches(self, words: list[str]) -> Iterator[dict[str, Any]]:
        """Yield batches of the pictures.

        Raises:
            OSError, ValueError: a file is no picture, or arrays have another shape.
        """
        size, side = self._facts["batch_size"], self._how["size"]
        prepared = None
        if len(words) == 1 and words[0].endswith(ARRAYS):
            loaded = np.load(words[0], allow_pickle=False)
            prepared = np.ascontiguousarray(loaded[self._name] if hasattr(loaded, "files") else loaded, np.float32)
            if prepared.shape[1:] != (3, side, side) or not len(prepared):
                raise ValueError(f"received the shape {list(prepared.shape)}; allowed: [samples, 3, {side}, {side}]")
        for start in range(0, len(words if prepared is None else prepared), size):
            if prepared is not None:
                yield {self._name: prepared[start : start + size]}
            else:
                yield {self._name: np.stack([self._prepare(word) for word in words[start : start + size]])}

    def _prepare(self, path: str) -> Any:
        """Return a picture as 3 × size × size, float32."""
        with Image.open(path) as opened:
            picture = _to_rgb(ImageOps.exif_transpose(opened))
        size, resized = self._how["size"], self._how["resized"]
        shorter = min(picture.size)
        wanted = [
            resized if self._how["squash"] or side == shorter else int(resized * side / shorter)
            for side in picture.size
        ]
        if tuple(wanted) != picture.size:
            how = Image.Resampling[self._how["interpolation"].upper()]
            picture = picture.resize((wanted[0], wanted[1]), how)
        left, top = (round((side - size) / 2.0) for side in picture.size)
        if picture.size != (size, size):
            picture = picture.crop((left, top, left + size, top + size))
        mean, std = np.array(self._how["mean"], np.float32), np.array(self._how["std"], np.float32)
        scaled = (np.asarray(picture).astype(np.float32) / 255.0 - mean) / std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))

    def describe(self, words: list[str], outputs: dict[str, Any]) -> list[str]:
        """Return the best class of each picture with its softmax, or the shapes of outputs of no known meaning."""
        logits, labels = self._facts["logits"], self._facts["labels"]
        if logits is None:
            return [f"{name}: {values.dtype} {list(values.shape)}" for name, values in outputs.items()]
        scores = np.exp(outputs[logits] - outputs[logits].max(axis=1, keepdims=True))
        shares = scores / scores.sum(axis=1, keepdims=True)
        names = words if len(words) == len(shares) else [str(row) for row in range(len(shares))]
        found = zip(names, shares.argmax(axis=1), shares.max(axis=1), strict=True)
        return [f"{name}: {labels[str(number)] if labels else number} ({share:.1%})" for name, number, share in found]


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture in RGB with 8 bits per channel. Pillow itself would clip larger values to 255."""
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture).astype(np.float64)
        whole = 255.0 if values.max(initial=0.0) <= 255.0 else 65535.0
        full = 65535.0 if picture.mode.startswith("I;16") else whole
        if picture.mode == "F" and values.max(initial=0.0) <= 1.0:
            full = 1.0
        picture = Image.fromarray(np.clip(np.round(values / full * 255.0), 0, 255).astype(np.uint8))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")
