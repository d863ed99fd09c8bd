"""Samples and labels: for the calibration of int8 ranges, and for accuracy.

Every data set is split once, by its seed, into evaluation and training samples. They are disjoint; the calibration
samples are the first of the training samples. Samples are images in this module, and texts in
:mod:`runner.worker.data.texts`. Images are float32 arrays, channels × size × size, normalised with ImageNet's mean and
standard deviation, and made on demand.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runner.job import Data
from runner.protocol import BUNDLED_SAMPLES, IMAGE_SUFFIXES
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.failures import BadInput

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)

FITTING_SAMPLES = 1000
"""Maximum number of training images that fit the probe's classifier; 500 cost a ResNet one to two points of top-1."""
CALIBRATION_BATCH = 8
"""Images per calibration batch. Ranges are averaged over batches, so they must not depend on the run's batch size."""

PREPARATION_VERSION = 1
"""Part of digests and cache keys. Increment it when resizing, cropping or normalising changes."""

CENTRE_CROP = 0.875
"""Share of the shorter side that the crop keeps, as in the published evaluation of ImageNet models (224 of 256)."""


class Source(Protocol):
    """A source of single samples; :class:`Dataset` splits and batches them."""

    classes: int
    labels: Labels | None
    """One label per sample; None if the samples have no labels."""
    answers: Sequence[tuple[str, ...]] | None
    """All right answers to each question; None if the samples are not questions."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def batch(self, indices: Sequence[int]) -> Any:
        """Return the samples at `indices` as a network takes them: stacked images, or texts with their tokens."""

    def fingerprint(self, index: int) -> bytes:
        """Return bytes that change if the sample or its label changes."""

    def notes(self, indices: Sequence[int]) -> list[str]:
        """Return remarks on the samples at `indices`, for readers of the result."""

    @property
    def preparation(self) -> str:
        """Changes if the same samples become other tensors: their size, and the way of preparing them."""


class ImageSource(ABC):
    """Base of all sources of images."""

    answers: Sequence[tuple[str, ...]] | None = None
    size: int
    """Height and width of the images, in pixels."""

    @property
    def preparation(self) -> str:
        """The size, and the version of resizing and normalising."""
        return f"{self.size} pixels, version {PREPARATION_VERSION}"

    @abstractmethod
    def image(self, index: int) -> Images:
        """Return one image, 3 × size × size."""

    def batch(self, indices: Sequence[int]) -> Images:
        """Return the images at `indices`, stacked: samples × 3 × size × size."""
        return np.stack([self.image(index) for index in indices])

    def notes(self, indices: Sequence[int]) -> list[str]:  # noqa: ARG002 -- part of the interface
        """Return no notes."""
        return []


@dataclass(frozen=True)
class Dataset:
    """A source of samples, split into evaluation and training samples."""

    source: Source
    evaluation: Sequence[int]
    training: Sequence[int]
    calibration_samples: int
    fixed_batch: int | None = None
    """The batch that the model fixes; None if it takes any."""

    @property
    def calibration(self) -> Sequence[int]:
        """The training samples for the calibration of int8 ranges."""
        return self.training[: self.calibration_samples]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the evaluation and the calibration samples and their labels."""
        return self.digest_of(self.evaluation, self.calibration)

    def digest_of(self, *parts: Sequence[int]) -> str:
        """Return the SHA-256 of parts of the data set, in order: samples, as they are prepared, and labels."""
        digest = hashlib.sha256(self.source.preparation.encode())
        for part in parts:
            for index in part:
                digest.update(self.source.fingerprint(index))
            digest.update(b"|")
        return digest.hexdigest()

    def labels(self, indices: Sequence[int]) -> Labels:
        """Return the labels at `indices`; an empty array if the source has none."""
        if self.source.labels is None:
            return np.empty(0, np.int64)
        return self.source.labels[np.asarray(indices, dtype=np.int64)]

    def calibration_batches(self) -> Iterator[Any]:
        """Yield the calibration samples in batches of CALIBRATION_BATCH; the last one may be smaller.

        The ranges of int8 must depend neither on the run's batch size nor on repeated samples. A model that fixes its
        batch gets full ones only.
        """
        size = self.fixed_batch or CALIBRATION_BATCH
        for start in range(0, len(self.calibration), size):
            part = self.calibration[start : start + size]
            if self.fixed_batch is None or len(part) == size:
                yield self.source.batch(part)

    def batches(self, indices: Sequence[int], batch_size: int) -> Iterator[tuple[Any, int]]:
        """Yield full batches, each with its number of valid samples.

        The last batch is padded by repeating its last sample, so that a compiled model always sees the same shape.

        Args:
            indices: the samples, in order.
            batch_size: samples per batch, padding included.
        """
        for start in range(0, len(indices), batch_size):
            part = list(indices[start : start + batch_size])
            yield self.source.batch(part + [part[-1]] * (batch_size - len(part))), len(part)


def normalise(pixels: NDArray[np.uint8]) -> Images:
    """Return an image normalised for ImageNet models.

    Args:
        pixels: height × width × 3, values 0…255.

    Returns:
        3 × height × width, float32.
    """
    scaled = (pixels.astype(np.float32) / 255.0 - IMAGENET_MEAN) / IMAGENET_STD
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


class Digits(ImageSource):
    """scikit-learn's bundled handwritten digits: 1,797 real images of 8 × 8 pixels, 10 classes."""

    classes = 10

    def __init__(self, size: int, fetch: Fetch) -> None:
        """Load the digits from the cache; only the process that makes them imports scikit-learn."""
        self.size = size
        with np.load(fetch(digits_recipe()) / "digits.npz") as stored:
            self._pixels: NDArray[np.uint8] = stored["pixels"]
            self.labels: Labels | None = stored["labels"]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._pixels)

    def image(self, index: int) -> Images:
        """Return one digit, enlarged bicubically: 3 × size × size."""
        from PIL import Image

        enlarged = Image.fromarray(self._pixels[index]).resize((self.size, self.size), Image.Resampling.BICUBIC)
        return normalise(np.repeat(np.asarray(enlarged)[:, :, None], 3, axis=2))

    def fingerprint(self, index: int) -> bytes:
        """Return the pixels and the label."""
        assert self.labels is not None
        content: bytes = self._pixels[index].tobytes() + bytes([int(self.labels[index])])
        return content


def digits_recipe() -> Recipe:
    """Return the recipe of the digits: ``digits.npz`` with pixels and labels."""

    def build(folder: Path) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)  # scikit-learn's range is 0…16
        np.savez(folder / "digits.npz", pixels=pixels, labels=digits.target.astype(np.int64))

    return Recipe("digits", {}, build)


class Synthetic(ImageSource):
    """Normally distributed noise from a seed. It has no labels: it is for speed only."""

    classes = 10
    labels: Labels | None = None

    def __init__(self, size: int, count: int, seed: int) -> None:
        """Store the size in pixels, the number of images and the seed."""
        self.size, self._count, self._seed = size, count, seed

    def __len__(self) -> int:
        """Return the number of images."""
        return self._count

    def image(self, index: int) -> Images:
        """Return one image of noise."""
        generator = np.random.default_rng([self._seed, index])
        return generator.standard_normal((3, self.size, self.size), np.float32)

    def fingerprint(self, index: int) -> bytes:
        """Return what determines the noise: seed, index and size."""
        return f"{self._seed}:{index}:{self.size}".encode()


class ImageFolder(ImageSource):
    """A folder with one subfolder of images per class. Classes are numbered in the order of the folders' names."""

    def __init__(self, path: Path, size: int) -> None:
        """List the images; :meth:`image` reads them."""
        self.size = size
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
        """Return one image, scaled by its shorter side and cropped at the centre: 3 × size × size."""
        from PIL import Image

        with Image.open(self._files[index]) as opened:
            picture = opened.convert("RGB")
        scale = self.size / CENTRE_CROP / min(picture.size)
        width, height = (max(self.size, round(side * scale)) for side in picture.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        return normalise(np.asarray(picture.crop((left, top, left + self.size, top + self.size))))

    def fingerprint(self, index: int) -> bytes:
        """Return the SHA-256 of the file, and the label."""
        assert self.labels is not None
        return hashlib.sha256(self._files[index].read_bytes()).digest() + str(self.labels[index]).encode()


def open_dataset(data: Data, image_size: int, seed: int, fetch: Fetch) -> Dataset:
    """Return the images of a data set, split by a seed.

    Args:
        data: which images.
        image_size: height and width in pixels.
        seed: of the split, and of synthetic images.
        fetch: gets the digits.

    Raises:
        BadInput: the data set has no images, or fewer than requested.
    """
    source: Source
    if data.name == "digits":
        source = Digits(image_size, fetch)
    elif data.name == "synthetic":
        source = Synthetic(image_size, data.evaluation_samples + data.calibration_samples, seed)
    elif data.name == "image_folder" and data.path is not None:
        source = ImageFolder(Path(data.path), image_size)
    else:
        raise BadInput(f"data={data.name} has no images: take data=digits, synthetic or image_folder")
    return split(source, data, seed)


def split(source: Source, data: Data, seed: int) -> Dataset:
    """Return a source's samples, split by a seed.

    Args:
        source: the samples.
        data: how many of them to use.
        seed: of the order.

    Raises:
        BadInput: the source holds fewer samples than requested.
    """
    order = np.random.default_rng(seed).permutation(len(source)).tolist()
    evaluation, training = order[: data.evaluation_samples], order[data.evaluation_samples :]
    if data.name in BUNDLED_SAMPLES:
        # The training samples do not depend on evaluation_samples, so the probe does not either.
        fixed, _ = BUNDLED_SAMPLES[data.name]
        evaluation, training = order[fixed:][: data.evaluation_samples], order[:fixed]
    if len(evaluation) < data.evaluation_samples or len(training) < data.calibration_samples:
        raise BadInput(
            f"data={data.name} holds {len(source)} samples, fewer than data.evaluation_samples and "
            "data.calibration_samples request: lower them"
        )
    return Dataset(source, evaluation, training, data.calibration_samples)
