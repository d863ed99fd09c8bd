"""Sources of images: bundled digits, noise, and pictures in a folder, made on demand: channels × size × size."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runner.data_files.arrays import describe_arrays
from runner.data_files.errors import UnreadableData
from runner.data_files.labels import OtherLabels, number_labels
from runner.data_files.pictures import find_pictures, open_picture
from runner.job import Data
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.data.arrays import ArraySamples
from runner.worker.data.datasets import Dataset, Images, Labels, Source, split
from runner.worker.data.preprocessing import Preprocessing
from runner.worker.data.tensors import TensorSpec
from runner.worker.failures import BadInput


class ImageSource(ABC):
    """Base of all sources of images."""

    answers: Sequence[tuple[str, ...]] | None = None
    left_out: frozenset[int] = frozenset()

    def __init__(self, preprocessing: Preprocessing) -> None:
        """Store how pictures are prepared."""
        self.preprocessing = preprocessing

    @property
    def preparation(self) -> str:
        """Sizes, constants, and the version of the code."""
        return self.preprocessing.key

    @abstractmethod
    def image(self, index: int) -> Images:
        """Return one image, 3 × size × size."""

    def batch(self, indices: Sequence[int]) -> Images:
        """Return the images at `indices`, stacked: samples × 3 × size × size."""
        return np.stack([self.image(index) for index in indices])

    def notes(self, indices: Sequence[int]) -> list[str]:  # noqa: ARG002 -- part of the interface
        """Return no notes."""
        return []


class Digits(ImageSource):
    """scikit-learn's bundled handwritten digits: 1,797 real images of 8 × 8 pixels, 10 classes."""

    classes = 10

    def __init__(self, preprocessing: Preprocessing, fetch: Fetch) -> None:
        """Load the digits from the cache; only the process that makes them imports scikit-learn."""
        super().__init__(preprocessing)
        with np.load(fetch(digits_recipe()) / "digits.npz") as stored:
            self._pixels: NDArray[np.uint8] = stored["pixels"]
            self.labels: Labels | None = stored["labels"]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._pixels)

    def image(self, index: int) -> Images:
        """Return one digit, enlarged bicubically and not cropped: 3 × size × size."""
        from PIL import Image

        size = self.preprocessing.size
        enlarged = Image.fromarray(self._pixels[index]).resize((size, size), Image.Resampling.BICUBIC)
        return self.preprocessing.normalise(np.repeat(np.asarray(enlarged)[:, :, None], 3, axis=2))

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

    def __init__(self, preprocessing: Preprocessing, count: int, seed: int) -> None:
        """Store the size, the number of images and the seed."""
        super().__init__(preprocessing)
        self._count, self._seed = count, seed

    def __len__(self) -> int:
        """Return the number of images."""
        return self._count

    def image(self, index: int) -> Images:
        """Return one image of noise."""
        size = self.preprocessing.size
        return np.random.default_rng([self._seed, index]).standard_normal((3, size, size), np.float32)

    def fingerprint(self, index: int) -> bytes:
        """Return what determines the noise: seed, index and size."""
        return f"{self._seed}:{index}:{self.preprocessing.size}".encode()


class ImageFolder(ImageSource):
    """Pictures in a folder, with labels by folder or by table, or without; see :mod:`runner.data_files.pictures`."""

    def __init__(self, data: Data, preprocessing: Preprocessing, model: Mapping[int, str] | None) -> None:
        """List the pictures; :meth:`image` reads them.

        Args:
            data: the folder, a table of labels, and the broken pictures that the host found.
            preprocessing: of the pictures.
            model: names of the model's classes by number; None for a model that takes those of the data.

        Raises:
            BadInput: the folder cannot be used.
        """
        super().__init__(preprocessing)
        assert data.path is not None
        try:
            self._pictures = found = find_pictures(Path(data.path), Path(data.labels) if data.labels else None)
        except (UnreadableData, OSError) as error:
            raise BadInput(f"data.path={data.path}: {error}") from error
        left_out = set(data.left_out)
        self.left_out = frozenset(index for index in range(len(found.files)) if found.name(index) in left_out)
        self._notes = [*found.notes, preprocessing.note]
        if left_out:
            shown = ", ".join(data.left_out[:3]) + (", …" if len(left_out) > 3 else "")
            self._notes.append(f"left out because they cannot be read, {len(left_out)} in all: {shown}")
        self.labels: Labels | None = None
        self.classes = len(model) if model else 0
        if found.labels is not None:
            self._number(found.labels, found.classes, model)

    def _number(self, labels: Sequence[object], folders: Sequence[str], model: Mapping[int, str] | None) -> None:
        """Turn labels into classes; those of another kind than the model's are left out, and a note says so."""
        try:
            numbered = number_labels(labels, model, folders)
        except OtherLabels as error:
            self._notes.append(f"accuracy is agreement with fp32: {error}")
        except UnreadableData as error:
            raise BadInput(f"data.path={self._pictures.root}: {error}") from error
        else:
            self.labels = np.array(numbered.numbers, np.int64)
            self.classes = numbered.classes
            self._notes += numbered.notes

    def __len__(self) -> int:
        """Return the number of pictures, broken ones too."""
        return len(self._pictures.files)

    def image(self, index: int) -> Images:
        """Return one picture: 3 × size × size.

        Raises:
            BadInput: it cannot be read.
        """
        file = self._pictures.files[index]
        try:
            return self.preprocessing.apply(open_picture(file))
        except UnreadableData as error:
            raise BadInput(f"data.path: {file} {error}: repair or remove it") from error

    def fingerprint(self, index: int) -> bytes:
        """Return the SHA-256 of the file, and the label."""
        label = "" if self.labels is None else str(self.labels[index])
        return hashlib.sha256(self._pictures.files[index].read_bytes()).digest() + label.encode()

    def notes(self, indices: Sequence[int]) -> list[str]:  # noqa: ARG002 -- part of the interface
        """Return how labels were found, and how pictures are prepared."""
        return self._notes


class ArrayImages(ImageSource):
    """Images in a file of arrays, prepared already: samples × 3 × size × size; see :mod:`runner.data_files.arrays`."""

    def __init__(self, data: Data, preprocessing: Preprocessing, model: Mapping[int, str] | None) -> None:
        """Read the images and their labels.

        Args:
            data: the file.
            preprocessing: gives the size; nothing else of it is applied.
            model: names of the model's classes by number; None for a model that takes those of the data.

        Raises:
            BadInput: the file cannot be used.
        """
        super().__init__(preprocessing)
        size = preprocessing.size
        specs = [TensorSpec("images", "float32", (None, 3, size, size))]
        try:
            self._samples = ArraySamples(
                describe_arrays(Path(data.path or "")), specs, model, new_classes=model is None
            )
        except (UnreadableData, OSError) as error:
            raise BadInput(f"data.path={data.path}: {error}") from error
        self.labels, self.classes = self._samples.labels, self._samples.classes

    @property
    def preparation(self) -> str:
        """The size: the arrays are taken as they are."""
        return f"arrays of {self.preprocessing.size} pixels"

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._samples)

    def image(self, index: int) -> Images:
        """Return one image, 3 × size × size."""
        image: Images = self._samples.batch([index])["images"][0]
        return image

    def fingerprint(self, index: int) -> bytes:
        """Return the values and the label."""
        return self._samples.fingerprint(index)

    def notes(self, indices: Sequence[int]) -> list[str]:
        """Return how labels became classes, and that nothing was prepared."""
        return [*self._samples.notes(indices), "images are taken from the arrays as they are, without preprocessing"]


def open_images(
    data: Data, preprocessing: Preprocessing, seed: int, fetch: Fetch, model: Mapping[int, str] | None = None
) -> Dataset:
    """Return the images of a data set, split by a seed.

    Args:
        data: which images.
        preprocessing: of the network.
        seed: of the split, and of synthetic images.
        fetch: gets the digits.
        model: names of the model's classes by number; None for a model that takes those of the data.

    Raises:
        BadInput: the data set has no images, or fewer than requested.
    """
    source: Source
    if data.name == "digits":
        source = Digits(preprocessing, fetch)
    elif data.name == "synthetic":
        source = Synthetic(preprocessing, data.evaluation_samples + data.calibration_samples, seed)
    elif data.name == "image_folder" and data.path is not None:
        source = ImageFolder(data, preprocessing, model)
    elif data.name == "arrays" and data.path is not None:
        source = ArrayImages(data, preprocessing, model)
    else:
        raise BadInput(f"data={data.name} has no images: take data=digits, synthetic, image_folder or arrays")
    return split(source, data, seed)
