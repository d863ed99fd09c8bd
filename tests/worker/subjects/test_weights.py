"""Weight files: only tensors are read, and damaged files are reported in one line."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest


def test_code_in_weights_is_never_executed(tmp_path):
    """A pickle that contains code is rejected without executing it."""
    import torch

    from runner.worker.failures import BadInput
    from runner.worker.subjects.state_dicts import read_state

    class Malicious:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"weight": Malicious()}, tmp_path / "weights.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious()))
    for name in ("weights.pt", "plain.pt"):
        with pytest.raises(BadInput, match="not a state_dict of tensors"):
            read_state(tmp_path / name, None, {})
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_weights(tmp_path, suffix):
    """A truncated file is reported in one line."""
    import torch
    from safetensors.torch import save_file

    from runner.worker.failures import BadInput
    from runner.worker.subjects.state_dicts import read_state

    path = tmp_path / f"weights{suffix}"
    state = {"weight": torch.ones(100, 100)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    assert torch.equal(read_state(path, None, {}).tensors["weight"], state["weight"])
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(BadInput, match=f"weights.path: received {path}") as caught:
        read_state(path, None, {})
    assert "\n" not in str(caught.value)
