"""The classes of published weights, by which folders and words become labels."""

from __future__ import annotations

import pytest

from runner.data_files.labels import number_labels
from runner.worker.subjects import timm, torchvision


@pytest.mark.parametrize(("library", "name"), [(timm, "resnet50"), (torchvision, "resnet50")])
def test_folders_of_imagenet(library, name):
    """Ten of its thousand classes, by their WordNet ids: their numbers are those of the thousand."""
    names = library.class_names(name)
    assert (len(names), names[0], names[999]) == (1000, "n01440764", "n15075141")
    folders = ["n01440764", "n02102040", "n03888257"]  # tench, English springer, parachute
    assert number_labels(folders, names, folders).numbers == (0, 217, 701)


def test_other_classes_have_numbers():
    """timm does not name those of other data sets."""
    names = timm.class_names("vit_base_patch16_224.augreg_in21k")
    assert len(names) > 20_000
    assert number_labels(["20000", "3"], names).numbers == (20000, 3)
