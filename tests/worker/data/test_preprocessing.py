"""Pictures are prepared as the network's own library prepares them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from runner.job import Subject
from runner.worker.data.preprocessing import Preprocessing, imagenet
from runner.worker.subjects import timm, torchvision
from runner.worker.subjects.checkpoints.published import _from_config
from runner.worker.subjects.network import preprocessing_of


@pytest.fixture(scope="module", params=[(500, 375), (333, 500), (640, 640)], ids=str)
def picture(request) -> Image.Image:
    """A smooth picture with some noise."""
    width, height = request.param
    x, y = np.meshgrid(np.linspace(0, 9, width), np.linspace(0, 9, height))
    smooth = np.stack([np.sin(x) * np.cos(y), np.cos(x + y), np.sin(2 * y)], axis=2) * 90 + 128
    noise = np.random.default_rng(0).normal(0, 10, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    "name", ["resnet50", "resnet18", "inception_v3", "efficientnet_v2_s", "vit_b_16", "swin_v2_t", "regnet_y_400mf"]
)
def test_as_torchvision(picture, name):
    """Size, filter, crop and constants are those of ``weights.transforms()``."""
    own = torchvision._published(name).transforms()(picture).numpy()
    np.testing.assert_allclose(torchvision.preprocessing(name).apply(picture), own, atol=1e-5)


OF_TIMM = [
    *("resnet50", "vit_base_patch16_224", "convnext_tiny", "efficientnet_b3", "mobilevit_s", "beit_base_patch16_384"),
    *("inception_v3.tv_in1k", "tf_efficientnet_lite0", "eva02_tiny_patch14_336"),
]


@pytest.mark.parametrize("name", OF_TIMM)
def test_as_timm(picture, name):
    """The same as create_transform makes of the pretrained_cfg."""
    torchvision.declare_torchvision_operators()  # timm imports torchvision
    from timm.data import create_transform, resolve_data_config

    own = create_transform(**resolve_data_config(pretrained_cfg=timm._settings(name)))(picture).numpy()
    np.testing.assert_allclose(timm.preprocessing(name).apply(picture), own, atol=1e-5)


PROCESSORS = {
    "vit": (
        "ViTImageProcessor",
        {"size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    ),
    "convnext": ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3}),
    "convnext_large": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3}),
    "clip": ("CLIPImageProcessor", {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}),
    "mobilenet": (
        "MobileNetV2ImageProcessor",
        {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROCESSORS)
def test_as_transformers(picture, kind, tmp_path):
    """The same as the image processor makes of preprocessor_config.json."""
    torchvision.declare_torchvision_operators()
    import transformers

    name, settings = PROCESSORS[kind]
    processor = getattr(transformers, name)(**settings)
    processor.save_pretrained(tmp_path)
    own = processor(picture, return_tensors="np")["pixel_values"][0]
    found = _from_config(json.loads((tmp_path / "preprocessor_config.json").read_text()))
    np.testing.assert_allclose(found.apply(picture), own, atol=1e-4)


@pytest.fixture
def fetch(tmp_path):
    """Makes every artifact anew."""

    def made(recipe):
        folder = tmp_path / recipe.kind
        folder.mkdir(exist_ok=True)
        recipe.build(folder)
        return folder

    return made


def test_weights_decide(fetch):
    """The library's constants for trained weights; ImageNet's usual ones for those that have seen no pictures."""
    trained = preprocessing_of(
        timm, Subject(source="timm", name="vit_base_patch16_224", image_size=None, weights="file"), fetch
    )
    assert (trained.mean, trained.resized, trained.origin) == ((0.5, 0.5, 0.5), 248, "timm's pretrained_cfg")
    probe = preprocessing_of(
        timm, Subject(source="timm", name="vit_base_patch16_224", image_size=None, weights="probe"), fetch
    )
    assert probe == imagenet(224)


def test_the_networks_own_size(fetch):
    """Unless the configuration gives another; the share of the crop remains."""
    own = Subject(source="torchvision", name="inception_v3", image_size=None, weights="file")
    assert preprocessing_of(torchvision, own, fetch).size == 299
    other = Subject(source="torchvision", name="resnet50", image_size=160, weights="file")
    found = preprocessing_of(torchvision, other, fetch)
    assert (found.size, found.resized) == (160, 165)  # 160 × 232 / 224


def test_settings_override():
    """One by one; the note says so."""
    found = imagenet(224).changed({"crop": 1.0, "mean": [0, 0, 0], "interpolation": "bilinear"})
    assert (found.resized, found.mean, found.std) == (224, (0.0, 0.0, 0.0), imagenet(224).std)
    assert found.note == (
        "pictures are prepared by ImageNet's constants and model.preprocessing: the shorter side to 224 pixels "
        "(bilinear), 224 in the centre, mean [0.0, 0.0, 0.0], std [0.229, 0.224, 0.225]"
    )
    assert found.key != imagenet(224).key


def test_a_picture_smaller_than_the_crop():
    """It is enlarged; where it still is too small, the border is black, as in torchvision."""
    found = Preprocessing(size=8, resized=4).apply(Image.new("RGB", (2, 2), (255, 255, 255)))
    assert found.shape == (3, 8, 8)
    assert found[0, 0, 0] < 0 < found[0, 4, 4]
