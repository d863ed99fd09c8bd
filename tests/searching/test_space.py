"""The combinations of a search."""

from __future__ import annotations

import pytest
import yaml

from runner.config import composition
from runner.errors import ConfigurationError
from runner.paths import CONF
from runner.searching.space import SPACES, drawn, read_space

pytestmark = pytest.mark.usefixtures("hydra_context")


def write(folder, content) -> str:
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


def test_axes_multiply(tmp_path):
    file = write(tmp_path, {"axes": {"backend": ["ort", "openvino"], "batch_size": [1, 8]}})
    space = read_space(file, ["model=resnet18"])
    assert space.combinations == [
        ("backend=ort", "batch_size=1"),
        ("backend=ort", "batch_size=8"),
        ("backend=openvino", "batch_size=1"),
        ("backend=openvino", "batch_size=8"),
    ]
    assert (space.fixed, space.added) == (("model=resnet18",), ("batch_size",))


def test_a_chosen_option_adds_what_it_finds_worth_trying(tmp_path):
    (tmp_path / "backend").mkdir()
    mine = {"name": "mine", "worth_trying": {"small": {"threading": ["default", "one_thread"]}}}
    (tmp_path / "backend" / "mine.yaml").write_text(yaml.safe_dump(mine))
    file = write(tmp_path, {"axes": {"backend": ["mine"]}, "worth_trying": ["small"]})
    space = read_space(file, [], tmp_path)
    assert space.combinations == [("backend=mine", "threading=default"), ("backend=mine", "threading=one_thread")]


def test_words_narrow_an_axis_fix_one_and_add_one(tmp_path):
    file = write(tmp_path, {"axes": {"backend": ["torch", "ort"], "precision": ["fp32", "int8"]}})
    space = read_space(file, ["backend=ort", "precision=fp32,bf16", "allocator=system,tcmalloc"])
    assert space.combinations == [
        ("backend=ort", "precision=fp32", "allocator=system"),
        ("backend=ort", "precision=fp32", "allocator=tcmalloc"),
        ("backend=ort", "precision=bf16", "allocator=system"),
        ("backend=ort", "precision=bf16", "allocator=tcmalloc"),
    ]
    assert (space.fixed, space.added) == ((), ())


def test_a_word_keeps_an_option_from_varying_it():
    """allocator=system holds for all; nothing of the small space varies the allocator then."""
    space = read_space("small", ["backend=ort", "precision=fp32", "allocator=system"])
    assert {word for words in space.combinations for word in words} == {
        "backend=ort",
        "precision=fp32",
        "backend.options.spinning=true",
        "backend.options.spinning=false",
    }
    assert space.fixed == ("allocator=system",)


@pytest.mark.parametrize("name", sorted(file.stem for file in SPACES.glob("*.yaml")))
def test_every_space_composes(name):
    """Each word of it for itself; what cannot run together is left out later."""
    space = read_space(name, ["model=resnet18"])
    for word in sorted({word for words in space.combinations for word in words}):
        composition.compose_settings([word, "backend=ort"] if word.startswith("backend.options") else [word])


def test_what_is_worth_trying_is_no_part_of_a_configuration():
    settings = composition.compose_settings(["backend=ort", "precision=int8"])
    assert settings.backend.worth_trying == {}
    assert not [name for name in composition.flatten(settings) if "worth_trying" in name]
    assert "worth_trying" in (CONF / "backend" / "ort.yaml").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"axis": {"backend": ["ort"]}}, "Did you mean axes?"),
        ({"axes": {"backend": "ort"}}, "a list of values"),
        ({"axes": {"backend": []}}, "a list of values"),
        ({"axes": ["ort"]}, "axes: {backend"),
        ({"axes": {"batch_size": list(range(80)), "seed": list(range(80))}}, "at most 5000 combinations"),
    ],
)
def test_a_mistake_in_a_file(tmp_path, content, message):
    with pytest.raises(ConfigurationError) as raised:
        read_space(write(tmp_path, content), [])
    assert message in str(raised.value)


def test_a_file_that_is_no_yaml(tmp_path):
    (tmp_path / "space.yaml").write_text("axes: [backend: {")
    with pytest.raises(ConfigurationError, match="YAML with `axes`"):
        read_space(str(tmp_path / "space.yaml"), [])


def test_a_space_that_does_not_exist():
    with pytest.raises(ConfigurationError, match=r"small, wide, or a file. Did you mean small\?"):
        read_space("smal", [])


def test_a_large_space_is_drawn_from(tmp_path):
    """The same each time, with one of each choice of axes."""
    file = write(tmp_path, {"axes": {"backend": ["ort", "openvino"], "seed": list(range(100))}})
    space = read_space(file, [])
    assert len(space.combinations) == 200
    found = drawn(space, 210, 0)
    assert found == space.combinations
    (tmp_path / "backend").mkdir()
    mine = {"name": "mine", "worth_trying": {"small": {"seed": list(range(50))}}}
    (tmp_path / "backend" / "mine.yaml").write_text(yaml.safe_dump(mine))
    space = read_space(write(tmp_path, {"axes": {"backend": ["mine"]}, "worth_trying": ["small"]}), [], tmp_path)
    found = drawn(space, 10, 0)
    assert len(set(found)) == 10
    assert found[0] == ("backend=mine", "seed=0")
    assert found == drawn(space, 10, 0)
