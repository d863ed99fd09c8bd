"""The model names that are parsed from the sources of the libraries."""

from __future__ import annotations

from runner.config import model_catalog


def test_sources_are_the_modules_that_open_models():
    """Other modules of the folder are not listed."""
    assert model_catalog.sources() == ["file", "python", "timm", "torchvision", "transformers"]


def test_model_names_are_those_of_the_libraries():
    """The parsed names include every name that the libraries register."""
    from runner.worker.libraries import declare_torchvision_operators

    declare_torchvision_operators()
    import timm
    from torchvision import models

    assert set(timm.list_models()) <= model_catalog.model_names("timm")
    assert set(models.list_models(module=models)) <= model_catalog.model_names("torchvision")
