"""What a published Transformers model says about itself: the names of its classes, and how it prepares pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.job import Subject
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.data.preprocessing import IMAGENET_CROP, IMAGENET_MEAN, IMAGENET_STD, Preprocessing, imagenet
from runner.worker.subjects.checkpoints.hub import architecture_config, fetch_model, origin

SETTINGS_VERSION = 1
"""Part of the cache key. Increment it when other files are kept."""
SETTINGS_FILES = ("config.json", "preprocessor_config.json")
SIZE_FILE = "size.json"
DEFAULT_SIZE = 224
"""Height and width of pictures, in pixels, where a configuration has none."""
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's filters by number, as preprocessor_config.json has them."""
MIN_UNCROPPED = 384
"""ConvNeXt's processor crops smaller pictures only: see its documentation of `crop_pct`."""


def settings_recipe(subject: Subject, fetch: Fetch) -> Recipe:
    """Return the recipe of a published model's small files: its configuration, and that of its preprocessing."""
    found = origin(subject, fetch)

    def build(folder: Path) -> None:
        source = fetch_model(subject, found.get("commit"))
        for name in SETTINGS_FILES:
            if (source / name).is_file():
                (folder / name).write_bytes((source / name).read_bytes())

    return Recipe("settings", {**found, "version": SETTINGS_VERSION}, build)


def class_names(subject: Subject, fetch: Fetch) -> Mapping[int, str] | None:
    """Return the names of the classes of a published model, by number; None if its configuration has none.

    Raises:
        Missing: from `fetch`.
    """
    names = _read(fetch(settings_recipe(subject, fetch)), "config.json").get("id2label")
    return {int(number): str(name) for number, name in names.items()} if names else None


def picture_preparation(subject: Subject, fetch: Fetch) -> Preprocessing:
    """Return how pictures are prepared: as preprocessor_config.json says for a published model.

    Raises:
        Missing: from `fetch`.
    """
    if subject.weights != "pretrained":
        size = subject.image_size or _read(fetch(_size_recipe(subject)), SIZE_FILE)["image_size"]
        return imagenet(int(size)).changed(subject.preprocessing)
    folder = fetch(settings_recipe(subject, fetch))
    config, found = _read(folder, "config.json"), _read(folder, "preprocessor_config.json")
    own = _from_config(found) if found else imagenet(_side(config.get("image_size")) or DEFAULT_SIZE)
    return own.at(subject.image_size).changed(subject.preprocessing)


def _size_recipe(subject: Subject) -> Recipe:
    """Return the recipe of the size that an architecture takes by default: a measured process does not import it."""

    def build(folder: Path) -> None:
        size = _side(getattr(architecture_config(subject), "image_size", None)) or DEFAULT_SIZE
        (folder / SIZE_FILE).write_text(json.dumps({"image_size": size}))

    key = {"architecture": subject.architecture, "config": subject.model_config, "version": SETTINGS_VERSION}
    return Recipe("size", key, build)


def _from_config(found: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing that Transformers' image processors do with such a configuration.

    They resize to both sides if these are given, or the shorter side; then they may crop the centre.
    """
    wanted = found.get("size", DEFAULT_SIZE)
    both, shortest = _side(wanted), None
    if isinstance(wanted, Mapping):
        shortest = wanted.get("shortest_edge")
        both = None if shortest else _side(wanted)
    elif found.get("do_center_crop"):  # old configurations: one number is the shorter side where a crop follows
        shortest, both = both, None
    crop = _side(found.get("crop_size")) if found.get("do_center_crop") else None
    resized = int(shortest or both or DEFAULT_SIZE)
    size = crop or resized
    if "crop_pct" in found and shortest:
        size, squash = resized, resized >= MIN_UNCROPPED
        resized = resized if squash else math.floor(resized / (found["crop_pct"] or IMAGENET_CROP))
    else:
        squash = both is not None or crop is None
    normalise = found.get("do_normalize", True)
    return Preprocessing(
        size=size,
        resized=resized,
        squash=squash,
        interpolation=RESAMPLING[int(found.get("resample", 2))],
        mean=tuple(found.get("image_mean", IMAGENET_MEAN)) if normalise else (0.0, 0.0, 0.0),
        std=tuple(found.get("image_std", IMAGENET_STD)) if normalise else (1.0, 1.0, 1.0),
        origin="the model's preprocessor_config.json",
    )


def _side(size: Any) -> int | None:
    """Return a square's side, in any of the ways in which configurations write it."""
    if isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge")
    if isinstance(size, (list, tuple)):
        size = size[-1]
    return int(size) if size else None


def _read(folder: Path, name: str) -> dict[str, Any]:
    file = folder / name
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
