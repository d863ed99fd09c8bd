"""From a picture to a network's input: resize, crop, normalise, with the constants of the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

VERSION = 2
"""Part of digests and cache keys. Increment it when resizing, cropping or normalising changes."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENET_CROP = 0.875
"""Share of the shorter side that the crop keeps, as in the published evaluation of ImageNet models (224 of 256)."""


@dataclass(frozen=True)
class Preprocessing:
    """How a network's library prepares a picture for evaluation. The defaults are the usual ones for ImageNet."""

    size: int
    """Height and width of the input, in pixels."""
    resized: int
    """Length of the picture's shorter side before the crop; of both sides if `squash` is set."""
    squash: bool = False
    """Resize both sides to `resized`, whatever the picture's proportions."""
    interpolation: str = "bicubic"
    """A name of Pillow's Resampling, in lower case."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of red, green and blue, on a scale from 0 to 1."""
    std: tuple[float, ...] = IMAGENET_STD
    origin: str = "ImageNet's constants"
    """Where the constants come from, for readers of the result."""

    @property
    def key(self) -> str:
        """Changes if pictures become other inputs."""
        parts = asdict(self)
        del parts["origin"]
        return f"{parts}, version {VERSION}"

    @property
    def note(self) -> str:
        """One line for readers of the result."""
        mean, std = ([round(float(value), 3) for value in values] for values in (self.mean, self.std))
        how = "both sides" if self.squash else "the shorter side"
        return (
            f"pictures are prepared by {self.origin}: {how} to {self.resized} pixels ({self.interpolation}), "
            f"{self.size} in the centre, mean {mean}, std {std}"
        )

    def at(self, size: int | None) -> Preprocessing:
        """Return the same for another size of the input; None for its own. The share of the crop remains."""
        if size is None or size == self.size:
            return self
        return replace(self, size=size, resized=math.floor(size * self.resized / self.size))

    def changed(self, settings: Mapping[str, Any]) -> Preprocessing:
        """Return the same with the settings of `model.preprocessing`; those that are None change nothing."""
        given = {name: value for name, value in settings.items() if value is not None}
        if not given:
            return self
        if crop := given.pop("crop", None):
            given["resized"] = math.floor(self.size / crop)
        for name in ("mean", "std"):
            if name in given:
                given[name] = tuple(map(float, given[name]))
        return replace(self, **given, origin=f"{self.origin} and model.preprocessing")

    def apply(self, picture: Image) -> NDArray[np.float32]:
        """Return a picture, in RGB, as an input: 3 × size × size."""
        from PIL import Image

        width, height = picture.size
        # As torchvision's Resize, which timm uses too: the longer side is cut to whole pixels.
        wanted = tuple(
            self.resized if self.squash or side == min(width, height) else int(self.resized * side / min(width, height))
            for side in (width, height)
        )
        if wanted != picture.size:
            picture = picture.resize((wanted[0], wanted[1]), Image.Resampling[self.interpolation.upper()])
        # As torchvision's center_crop; beyond the picture Pillow fills with black, as it does.
        left, top = (round((side - self.size) / 2.0) for side in picture.size)
        if picture.size != (self.size, self.size):
            picture = picture.crop((left, top, left + self.size, top + self.size))
        return self.normalise(np.asarray(picture))

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return pixels normalised by mean and standard deviation.

        Args:
            pixels: height × width × 3, values 0…255.

        Returns:
            3 × height × width, float32.
        """
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        scaled = (pixels.astype(np.float32) / 255.0 - mean) / std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def imagenet(size: int) -> Preprocessing:
    """Return the usual preprocessing for ImageNet: for networks whose weights were not trained on pictures."""
    return Preprocessing(size, math.floor(size / IMAGENET_CROP))
