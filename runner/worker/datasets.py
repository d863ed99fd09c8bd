"""Images and labels: what int8 ranges are calibrated on, and what accuracy is computed on.

Every data set is split once, by its seed, into evaluation and training images; calibration images are the first of
the training images. The two never share an image. Images are float32, channels × size × size, normalised with
ImageNet's mean and standard deviation, and made when they are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runner.worker.cache import Fetch, Recipe

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)

DIGITS_TRAINING = 1000
"""Of scikit-learn's 1,797 digits, those that the probe is fitted on and calibration is drawn from."""
DIGITS_EVALUATION = 797

FITTING_SAMPLES = 1000
"""Training images that fit the probe's classifier, at most; 500 lose a ResNet one to two points of top-1."""
CALIBRATION_BATCH = 8
"""Images per calibration batch: ranges that are averaged over batches must not depend on the batch that is served."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
CENTRE_CROP = 0.875
"""Share of the shorter side that is kept, as in the published evaluation of ImageNet models (224 of 256)."""


class Source(Protocol):
    """Where single images come from; the split and the batching are :class:`Dataset`'s."""

    classes: int
    labels: Labels | None
    """One label per image, or None where labels would mean nothing."""

    def __len__(self) -> int:
        """Return the number of images."""

    def image(self, index: int) -> Images:
        """Return one image, 3 × size × size."""

    def fingerprint(self, index: int) -> bytes:
        """Return bytes that change when the image or its label changes."""


@dataclass(frozen=True)
class Dataset:
    """A source of images, split into evaluation and training images."""

    source: Source
    evaluation: Sequence[int]
    training: Sequence[int]
    calibration_samples: int

    @property
    def calibration(self) -> Sequence[int]:
        """The training images that int8 ranges are calibrated on."""
        return self.training[: self.calibration_samples]

    @cached_property
    def digest(self) -> str:
        """A hash over the evaluation and the calibration images and their labels."""
        return self.digest_of(self.evaluation, self.calibration)

    def digest_of(self, *parts: Sequence[int]) -> str:
        """Return a hash over parts of the data set: their images and labels, in order."""
        digest = hashlib.sha256()
        for part in parts:
            for index in part:
                digest.update(self.source.fingerprint(index))
            digest.update(b"|")
        return digest.hexdigest()

    def images(self, indices: Sequence[int]) -> Images:
        """Return the images at `indices`, stacked: samples × 3 × size × size."""
        return np.stack([self.source.image(index) for index in indices])

    def labels(self, indices: Sequence[int]) -> Labels:
        """Return the labels at `indices`; an empty array where the source has none."""
        if self.source.labels is None:
            return np.empty(0, np.int64)
        return self.source.labels[np.asarray(indices, dtype=np.int64)]

    def batches(self, indices: Sequence[int], batch_size: int) -> Iterator[tuple[Images, int]]:
        """Yield full batches and how many of their images count.

        The last batch is filled up by repeating its last image, so that a compiled model sees one shape only.
        """
        for start in range(0, len(indices), batch_size):
            part = list(indices[start : start + batch_size])
            yield self.images(part + [part[-1]] * (batch_size - len(part))), len(part)


def normalise(pixels: NDArray[np.uint8]) -> Images:
    """Return height × width × 3 pixels in 0…255 as a normalised 3 × height × width image."""
    scaled = (pixels.astype(np.float32) / 255.0 - IMAGENET_MEAN) / IMAGENET_STD
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


class Digits:
    """scikit-learn's bundled handwritten digits: 1,797 real images of 8 × 8 pixels, 10 classes."""

    classes = 10

    def __init__(self, size: int, fetch: Fetch) -> None:
        """Load the digits from the cache, so that scikit-learn is imported only once."""
        self._size = size
        with np.load(fetch(digits_recipe()) / "digits.npz") as stored:
            self._pixels: NDArray[np.uint8] = stored["pixels"]
            self.labels: Labels | None = stored["labels"]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._pixels)

    def image(self, index: int) -> Images:
        """Return one digit, enlarged bicubically to 3 × size × size."""
        from PIL import Image

        enlarged = Image.fromarray(self._pixels[index]).resize((self._size, self._size), Image.Resampling.BICUBIC)
        return normalise(np.repeat(np.asarray(enlarged)[:, :, None], 3, axis=2))

    def fingerprint(self, index: int) -> bytes:
        """Return the pixels and the label."""
        assert self.labels is not None
        content: bytes = self._pixels[index].tobytes() + bytes([int(self.labels[index])])
        return content


def digits_recipe() -> Recipe:
    """Return how the digits get into the cache."""

    def build(folder: Path) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)  # scikit-learn's range is 0…16
        np.savez(folder / "digits.npz", pixels=pixels, labels=digits.target.astype(np.int64))

    # Not keyed by versions: an interpreter with other packages uses the same images. What is in them has a digest.
    return Recipe("digits", {}, build)


class Synthetic:
    """Normally distributed noise of a seed: for speed only, so it has no labels."""

    classes = 10
    labels: Labels | None = None

    def __init__(self, size: int, count: int, seed: int) -> None:
        """Keep the size, the number of images and the seed."""
        self._size, self._count, self._seed = size, count, seed

    def __len__(self) -> int:
        """Return the number of images."""
        return self._count

    def image(self, index: int) -> Images:
        """Return one image of noise."""
        generator = np.random.default_rng([self._seed, index])
        return generator.standard_normal((3, self._size, self._size), np.float32)

    def fingerprint(self, index: int) -> bytes:
        """Return what the noise is made from."""
        return f"{self._seed}:{index}:{self._size}".encode()


class ImageFolder:
    """A folder with one folder of images per class; classes are numbered in the order of their names."""

    def __init__(self, path: Path, size: int) -> None:
        """List the images; none is read yet."""
        self._size = size
        folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
        found = [
            (file, label)
            for label, folder in enumerate(folders)
            for file in sorted(folder.iterdir())
            if file.suffix.lower() in IMAGE_SUFFIXES
        ]
        self.classes = len(folders)
        self._files = [file for file, _ in found]
        self.labels: Labels | None = np.array([label for _, label in found], np.int64)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._files)

    def image(self, index: int) -> Images:
        """Return one image: its shorter side scaled, the centre cropped to 3 × size × size."""
        from PIL import Image

        with Image.open(self._files[index]) as opened:
            picture = opened.convert("RGB")
        scale = self._size / CENTRE_CROP / min(picture.size)
        width, height = (max(self._size, round(side * scale)) for side in picture.size)
        left, top = (width - self._size) // 2, (height - self._size) // 2
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        return normalise(np.asarray(picture.crop((left, top, left + self._size, top + self._size))))

    def fingerprint(self, index: int) -> bytes:
        """Return a hash of the file, and the label."""
        assert self.labels is not None
        return hashlib.sha256(self._files[index].read_bytes()).digest() + str(self.labels[index]).encode()


def open_dataset(
    kind: str,
    *,
    path: str | None,
    size: int,
    evaluation_samples: int,
    calibration_samples: int,
    seed: int,
    fetch: Fetch,
) -> Dataset:
    """Return the data set of a kind, split by the seed.

    Raises:
        ValueError: the kind is unknown, or the source holds fewer images than asked for.
    """
    source: Source
    if kind == "digits":
        source = Digits(size, fetch)
    elif kind == "synthetic":
        source = Synthetic(size, evaluation_samples + calibration_samples, seed)
    elif kind == "image_folder" and path is not None:
        source = ImageFolder(Path(path), size)
    else:
        raise ValueError(f"unknown data {kind!r}")
    order = np.random.default_rng(seed).permutation(len(source)).tolist()
    evaluation, training = order[:evaluation_samples], order[evaluation_samples:]
    if kind == "digits":  # the same training images, however many are evaluated: the probe does not change with it
        evaluation, training = order[DIGITS_TRAINING:][:evaluation_samples], order[:DIGITS_TRAINING]
    if len(evaluation) < evaluation_samples or len(training) < calibration_samples:
        raise ValueError(f"{kind} holds {len(source)} images, fewer than evaluation and calibration ask for")
    return Dataset(source, evaluation, training, calibration_samples)
