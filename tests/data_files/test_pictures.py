"""Pictures as people have them: every kind is read as it is seen, and what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runner.data_files.errors import UnreadableData
from runner.data_files.pictures import find_broken, find_pictures, open_picture

RAMP = np.arange(0, 200, 10, dtype=np.uint8).reshape(4, 5)


def save(folder: Path, name: str, picture: Image.Image, **options: object) -> Path:
    """Return the file of a picture."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, **options)
    return file


@pytest.mark.parametrize(
    ("name", "values", "scale"),
    [
        ("grey.png", RAMP, 1.0),
        ("grey.TIFF", RAMP, 1.0),
        ("grey.gif", RAMP, 1.0),
        ("deep.png", RAMP.astype(np.uint16) * 257, 1.0),
        ("deep.tif", RAMP.astype(np.uint16) * 257, 1.0),
        ("fraction.tif", RAMP.astype(np.float32) / 255, 1.0),
    ],
)
def test_grey_of_any_depth(tmp_path, name, values, scale):
    """16 bits and fractions are scaled to 8 bits, not clipped to white."""
    opened = open_picture(save(tmp_path, name, Image.fromarray(values)))
    assert opened.mode == "RGB"
    np.testing.assert_allclose(np.asarray(opened)[..., 1], RAMP * scale, atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "1"])
@pytest.mark.filterwarnings("error")
def test_other_modes(tmp_path, mode):
    """Each has three channels afterwards."""
    name = "a.tif" if mode == "CMYK" else "a.png"
    opened = open_picture(save(tmp_path, name, Image.fromarray(RAMP).convert("RGB").convert(mode)))
    assert (opened.mode, opened.size) == ("RGB", (5, 4))


def test_a_palette_with_a_transparent_colour(tmp_path):
    """Pillow warns about such pictures when it converts them directly."""
    file = save(tmp_path, "a.png", Image.fromarray(RAMP).convert("P"), transparency=b"\0\1\2")
    assert open_picture(file).mode == "RGB"


def test_orientation_of_a_camera(tmp_path):
    """A picture that was taken on its side is turned upright."""
    picture = Image.fromarray(np.stack([RAMP] * 3, axis=2))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned clockwise by 90 degrees
    opened = open_picture(save(tmp_path, "a.png", picture, exif=exif))
    np.testing.assert_array_equal(np.asarray(opened)[..., 0], np.rot90(RAMP, -1))


def test_the_first_frame(tmp_path):
    """Of an animation."""
    frames = [Image.new("L", (5, 4), value) for value in (50, 200)]
    file = save(tmp_path, "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert np.asarray(open_picture(file)).max() <= 60


def test_labels_by_folders(tmp_path):
    """Of the first level, at any depth; hidden files and what is beside the folders are left out."""
    grey = Image.new("L", (5, 4))
    for name in ("b/1.png", "b/deep/2.JPG", "a/3.webp", "beside.png", "b/._1.png", ".trash/4.png", "__MACOSX/b/1.png"):
        save(tmp_path, name, grey)
    (tmp_path / "c").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    found = find_pictures(tmp_path)
    assert [found.name(index) for index in range(len(found.files))] == ["a/3.webp", "b/1.png", "b/deep/2.JPG"]
    assert (found.labels, found.classes) == (("a", "b", "b"), ("a", "b", "c"))
    assert found.notes == (
        "1 picture beside the folders of classes left out: no label",
        "no pictures of c: the class keeps its number",
    )


def test_labels_by_a_table(tmp_path):
    """It is found in the folder, and names pictures by path or by name."""
    for name in ("x/1.png", "2.png", "3.png"):
        save(tmp_path, name, Image.new("L", (5, 4)))
    (tmp_path / "labels.csv").write_text("file,label\n1.png,cat\n2.png,dog\n")
    found = find_pictures(tmp_path)
    assert dict(zip(map(found.name, range(2)), found.labels or (), strict=True)) == {"2.png": "dog", "x/1.png": "cat"}
    assert found.notes == (
        "labels are those of labels.csv",
        "1 picture that labels.csv does not name left out",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [("file,label\nnone.png,1\n", "names 'none.png', which is no picture"), ("file,label\n1.png,\n", "has no label")],
)
def test_a_table_that_does_not_fit(tmp_path, content, message):
    """The record is named."""
    save(tmp_path, "1.png", Image.new("L", (5, 4)))
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(UnreadableData, match=message):
        find_pictures(tmp_path)


def test_pictures_without_labels(tmp_path):
    """They are good for speed and for agreement with fp32."""
    save(tmp_path, "1.png", Image.new("L", (5, 4)))
    assert find_pictures(tmp_path).labels is None
    (tmp_path / "1.png").unlink()
    with pytest.raises(UnreadableData, match="It contains no picture"):
        find_pictures(tmp_path)


def test_broken_pictures_are_named(tmp_path):
    """Empty, cut off, and of another kind than the name says."""
    whole = save(tmp_path, "a/0.jpg", Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)))
    for number in range(1, 5):
        (tmp_path / "a" / f"{number}.jpg").write_bytes(whole.read_bytes())
    (tmp_path / "a" / "cut.jpg").write_bytes(whole.read_bytes()[:-900])
    (tmp_path / "a" / "empty.png").write_bytes(b"")
    (tmp_path / "a" / "text.png").write_text("hello")
    broken = find_broken(find_pictures(tmp_path), seed=0, needed=100)
    assert {name: reason.split(":")[0] for name, reason in broken.items()} == {
        "a/cut.jpg": "cannot be read",
        "a/empty.png": "is empty",
        "a/text.png": "is no picture, whatever its name says",
    }
