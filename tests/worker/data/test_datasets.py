"""Data sets and probe weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runner.analysis.accuracy import compare
from runner.worker.artifacts.cache import Cache
from runner.worker.data.datasets import Dataset
from runner.worker.data.images import open_images
from runner.worker.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, imagenet
from runner.worker.failures import BadInput
from tests.jobs import cache_of, change_job, make_job
from tests.worker.backends.test_backends import PROBE, infer, opened

SIZE = 32


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Cache:
    """The cache of test_backends.py, so that the probe is made once."""
    return cache_of(change_job(PROBE, cache_dir=str(tmp_path_factory.getbasetemp() / "artifacts")))


@pytest.fixture
def open_data(cache):
    """Return a function that opens a data set, small by default."""

    def opened(kind: str = "digits", **changed) -> Dataset:
        few = make_job(data=kind, image_size=SIZE, evaluation_samples=40, calibration_samples=16)
        job = change_job(few, **changed)
        return open_images(job.data, imagenet(job.subject.image_size), job.run.seed, cache.get)

    return opened


def pixels(image: np.ndarray) -> np.ndarray:
    """Return a normalised image as height × width × 3 in 0…255."""
    return (image.transpose(1, 2, 0) * IMAGENET_STD + IMAGENET_MEAN) * 255


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three classes with 3, 2 and 1 images, not created in alphabetical order."""
    for name, count in (("pear", 1), ("apple", 3), ("fig", 2)):
        (tmp_path / name).mkdir()
        for number in range(count):
            colour = (40 * number, 100, 200)
            Image.new("RGB", (20, 30), colour).save(tmp_path / name / f"{number}.png")
    (tmp_path / "apple" / "notes.txt").write_text("not an image")
    (tmp_path / "LICENSE").write_text("not a class")
    return tmp_path


def open_folder(open_data, folder: Path, **changed) -> Dataset:
    """Return an image folder with five evaluation images and one calibration image."""
    few = {"evaluation_samples": 5, "calibration_samples": 1}
    return open_data("image_folder", data_path=str(folder), **(few | changed))


def test_digits(open_data):
    """1,797 labelled images of ten classes, with equal colour channels, of the requested size."""
    data = open_data()
    assert (len(data.source), data.source.classes) == (1797, 10)
    images = data.source.batch(data.evaluation)
    assert (images.shape, images.dtype) == ((40, 3, SIZE, SIZE), np.float32)
    grey = pixels(images[0])
    np.testing.assert_allclose(grey[..., 0], grey[..., 2], atol=1e-3)
    assert grey.min() > -0.01
    assert grey.max() < 255.01
    assert set(data.labels(data.training).tolist()) == set(range(10))


def test_evaluation_is_disjoint_from_training_and_calibration(open_data):
    """No image is in both sets, even if all images are used."""
    data = open_data(evaluation_samples=797, calibration_samples=1000)
    assert (len(data.evaluation), len(data.training), len(data.calibration)) == (797, 1000, 1000)
    assert sorted([*data.evaluation, *data.training]) == list(range(1797))


def test_split_depends_only_on_the_seed(open_data):
    """More evaluation images extend the same list, and do not change training or calibration."""
    small, large = open_data(evaluation_samples=10), open_data(evaluation_samples=700)
    assert large.evaluation[:10] == small.evaluation
    assert (large.training, large.calibration) == (small.training, small.calibration)
    other = open_data(evaluation_samples=10, seed=1)
    assert (other.evaluation, other.training) != (small.evaluation, small.training)


def test_digest_covers_the_used_images(open_data):
    """It changes with the evaluation images, the calibration images and the split, and only then."""
    digests = [
        open_data(**changed).digest
        for changed in ({}, {"evaluation_samples": 41}, {"calibration_samples": 17}, {"seed": 1})
    ]
    assert open_data().digest == digests[0]
    assert len(set(digests)) == 4


@pytest.mark.parametrize(("samples", "counts"), [(8, [4, 4]), (9, [4, 4, 1]), (3, [3])])
def test_batches_are_padded_and_report_their_valid_images(open_data, samples, counts):
    """The last batch repeats its last image; every image is counted exactly once."""
    data = open_data(evaluation_samples=samples)
    batches = list(data.batches(data.evaluation, 4))
    assert [count for _, count in batches] == counts
    assert {images.shape for images, _ in batches} == {(4, 3, SIZE, SIZE)}
    counted = np.concatenate([images[:count] for images, count in batches])
    np.testing.assert_array_equal(counted, data.source.batch(data.evaluation))
    images, count = batches[-1]
    for filled in images[count:]:
        np.testing.assert_array_equal(filled, images[count - 1])


def test_synthetic_depends_on_the_seed_and_has_no_labels(open_data):
    """The same noise for the same seed, different noise for another; evaluation and training are disjoint."""
    first, again, other = open_data("synthetic"), open_data("synthetic"), open_data("synthetic", seed=1)
    np.testing.assert_array_equal(first.source.batch(first.evaluation), again.source.batch(again.evaluation))
    assert first.digest == again.digest != other.digest
    assert not np.array_equal(first.source.image(0), other.source.image(0))
    assert first.source.image(0).dtype == np.float32
    assert first.labels(first.evaluation).shape == (0,)
    assert (len(first.evaluation), len(first.calibration)) == (40, 16)
    assert not set(first.evaluation) & set(first.training)


def test_image_folder_numbers_classes_by_name(open_data, folder):
    """Apple 0, fig 1, pear 2, independent of the order on disk; other files are ignored."""
    data = open_folder(open_data, folder)
    assert (len(data.source), data.source.classes) == (6, 3)
    np.testing.assert_array_equal(data.labels(range(6)), [0, 0, 0, 1, 1, 2])
    for index, red in enumerate([0, 40, 80, 0, 40, 0]):  # each image has its own label
        np.testing.assert_allclose(pixels(data.source.image(index))[0, 0], [red, 100, 200], atol=0.01)
    assert sorted([*data.evaluation, *data.training]) == list(range(6))


@pytest.mark.parametrize("shape", [(200, 100), (100, 200), (100, 100)])
def test_image_folder_crops_the_centre(open_data, tmp_path, shape):
    """The middle 87.5 % of the shorter side, square, undistorted: red increases with x, green with y."""
    width, height = shape
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(width)[None, :], np.arange(height)[:, None]
    (tmp_path / "ramp").mkdir()
    Image.fromarray(ramp).save(tmp_path / "ramp" / "a.png")
    data = open_folder(open_data, tmp_path, evaluation_samples=1, calibration_samples=0, image_size=64)
    image = data.source.image(0)
    assert (image.shape, image.dtype) == ((3, 64, 64), np.float32)
    seen = pixels(image)
    step = 87.5 / 64  # pixels of the picture per pixel of the crop
    for side, found in ((width, seen[32, :, 0]), (height, seen[:, 32, 1])):
        expected = side / 2 + (np.arange(64) - 31.5) * step - 0.5
        np.testing.assert_allclose(found, expected, atol=1.5)


def test_image_folder_converts_images_to_rgb(open_data, tmp_path):
    """Grey, transparent and palette images get three channels."""
    (tmp_path / "one").mkdir()
    Image.new("L", (10, 10), 77).save(tmp_path / "one" / "grey.png")
    Image.new("RGBA", (10, 10), (10, 20, 30, 255)).save(tmp_path / "one" / "transparent.png")
    Image.new("P", (10, 10), 0).save(tmp_path / "one" / "palette.PNG")
    data = open_folder(open_data, tmp_path, evaluation_samples=2)
    found = [pixels(data.source.image(index))[5, 5].round().astype(int).tolist() for index in range(3)]
    assert found == [[77, 77, 77], [0, 0, 0], [10, 20, 30]]


def test_image_folder_digest_covers_the_bytes_of_the_files(open_data, folder):
    """Changing one pixel of one evaluation image changes it."""
    data = open_folder(open_data, folder)
    before = data.digest
    assert open_folder(open_data, folder).digest == before
    name = data.source._pictures.files[data.evaluation[2]]
    with Image.open(name) as picture:
        picture.putpixel((3, 3), (1, 2, 3))
        picture.save(name)
    assert open_folder(open_data, folder).digest != before


def test_arrays_of_images_are_taken_as_they_are(open_data, tmp_path):
    """With their labels; of another size than the network's they are refused."""
    values = np.random.default_rng(0).standard_normal((60, 3, SIZE, SIZE)).astype(np.float32)
    np.savez(tmp_path / "a.npz", images=values, labels=np.arange(60) % 4)
    data = open_data("arrays", data_path=str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(data.source.batch([5, 7]), values[[5, 7]])
    assert (data.source.classes, data.labels([5, 7]).tolist()) == (4, [1, 3])
    with pytest.raises(BadInput, match=r"has the shape \[60, 3, 32, 32\], and the input images takes \[samples, 3, 48"):
        open_data("arrays", data_path=str(tmp_path / "a.npz"), image_size=48)


def test_digest_covers_the_size_of_the_images(open_data, folder):
    """The same files at another size are other tensors."""
    digests = {open_folder(open_data, folder, image_size=size).digest for size in (32, 48)}
    assert len(digests) == 2


def test_calibration_batches_are_never_padded(open_data):
    """18 samples in batches of 8: the last one has two, and none is repeated."""
    data = open_data(calibration_samples=18)
    batches = list(data.calibration_batches())
    assert [len(batch) for batch in batches] == [8, 8, 2]
    np.testing.assert_array_equal(np.concatenate(batches), data.source.batch(data.calibration))


def test_too_few_images_are_rejected(open_data, folder):
    """A run never uses fewer images than its configuration states."""
    reason = "data=image_folder holds 6 samples, fewer than data.evaluation_samples and data.calibration_samples"
    with pytest.raises(BadInput, match=reason):
        open_folder(open_data, folder, evaluation_samples=6)


@pytest.mark.slow
def test_probe_classifies_digits(tmp_path_factory):
    """Top-1 of at least 0.90 on 200 held-out digits, with a probe made by another process."""
    job = change_job(PROBE, evaluation_samples=200, cache_dir=str(tmp_path_factory.getbasetemp() / "artifacts"))
    parts = opened(job)
    data = parts.dataset
    logits = infer(parts)
    assert compare(logits, logits, data.labels(data.evaluation)).top1 >= 0.90


def test_probe_is_reproducible(open_data):
    """Bit for bit equal for the same seed, so that caches of several machines agree; different for another seed."""
    import torch

    from runner.worker.subjects import torchvision
    from runner.worker.subjects.probes.image_probe import make_probe

    def make(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(5)
        return make_probe(torchvision.build("resnet18", SIZE, 10), open_data(), 10, seed)

    first, again, other = make(3), make(3), make(4)
    assert list(first) == list(again)
    assert [name for name in first if not torch.equal(first[name], again[name])] == []
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert all(bool(tensor.isfinite().all()) for tensor in first.values())


def test_probe_rejects_a_network_without_a_linear_classifier():
    """The last layer with one output per class is the classifier; without one, the error names the remedy."""
    from torch import nn

    from runner.worker.subjects.probes.image_probe import find_classifiers

    head = nn.Conv2d(4, 10, 1)
    assert find_classifiers(nn.Sequential(nn.Conv2d(3, 4, 3), head), 10) == [head]
    with pytest.raises(ValueError, match="needs a linear classifier with 10 outputs: take weights=random"):
        find_classifiers(nn.Sequential(nn.Conv2d(3, 10, 3), nn.Linear(10, 9)), 10)
