"""Transformers models: whole runs of tiny ones, each task through PyTorch, ONNX Runtime and OpenVINO."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from runner.protocol import UNKNOWN, VERIFIED
from runner.results.status import Status
from runner.worker.backends.ort import best_plan
from runner.worker.build import gather
from runner.worker.evidence.isa import has_vnni
from runner.worker.evidence.onednn import parse
from runner.worker.evidence.ort_profile import precision
from runner.worker.failures import BadInput, Unavailable, Unsupported
from runner.worker.subjects.checkpoints.checkpoint import Checkpoint
from runner.worker.tasks.question_answering import best_span
from tests.conftest import RunProgram
from tests.jobs import cache_of, change_job
from tests.worker.backends.test_backends import PROBE, opened

QUICK = (
    *(
        "measure=quick",
        "measure.slice_s=0.02",
        "measure.settle_s=0",
        "measure.settle_iterations=1",
        "measure.replicates=2",
        "measure.rounds=1",
    ),
    *("measure.warmup_s=0.1", "measure.guards=false", "tracking=none", "batch_size=4"),
    *("data.evaluation_samples=24", "data.calibration_samples=16"),
)
TINY: dict[str, dict[str, int]] = {
    "distilbert": {"n_layers": 2, "dim": 256, "hidden_dim": 256, "n_heads": 4, "vocab_size": 2000},
    "roberta_squad2": {
        "num_hidden_layers": 2,
        "hidden_size": 256,
        "intermediate_size": 256,
        "num_attention_heads": 4,
        "vocab_size": 2000,
        "max_position_embeddings": 130,
    },
    "gpt2": {"n_layer": 2, "n_embd": 256, "n_head": 4, "vocab_size": 2000, "n_positions": 64},
}
SIZES = {
    "distilbert": ["model.sequence_length=24"],
    "roberta_squad2": ["model.sequence_length=64"],
    "gpt2": ["model.sequence_length=24", "model.new_tokens=6"],
}


@pytest.mark.parametrize(("backend", "threads"), [("torch", 2), ("ort", 1), ("openvino", 1)])
def test_pytorch_has_one_thread_beside_another_runtime(gpt_job, backend, threads):
    """It then only chooses tokens; where it computes the logits, it has the threads of the settings."""
    before = torch.get_num_threads()
    try:
        opened(change_job(gpt_job, backend=backend, threads=2))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def tiny(model: str) -> list[str]:
    """Return the overrides of a tiny model."""
    fields = [f"++model.config.{name}={value}" for name, value in TINY[model].items()]
    return [f"model={model}", *fields, *SIZES[model], *QUICK]


@pytest.mark.parametrize(
    ("model", "backends", "precisions"),
    [
        ("distilbert", "torch", "int8_dynamic"),
        ("distilbert", "ort", "int8,int8_dynamic"),
        ("distilbert", "openvino", "int8"),
        ("roberta_squad2", "ort,openvino", "fp32"),
        ("gpt2", "ort", "fp32"),
        ("gpt2", "openvino", "int8_weights"),
    ],
)
def test_every_task_runs_with_the_right_answers(run_program: RunProgram, model, backends, precisions):
    """Precision verified, and in fp32 the same answers as PyTorch; generation is measured too, for its own times."""
    generates = (model, backends) == ("gpt2", "ort")
    how = [] if generates else ["measure=check"]
    done = run_program(*tiny(model), f"backend={backends}", f"precision={precisions}", *how)
    assert done.code == 0, done.out + done.err
    for result in done.results():
        assert result.status is Status.ok, result.reason
        [proven] = [finding for finding in result.evidence if finding.knob == "precision"]
        assert proven.state == VERIFIED, proven.observed
        accuracy = result.accuracy
        assert accuracy is not None
        if result.settings["precision.name"] == "fp32":
            assert accuracy.agreement_top1 == 1
            assert accuracy.sqnr_db is None or accuracy.sqnr_db > 60
        if model == "distilbert":
            assert accuracy.top1 is not None
            # Without VNNI NNCF's int8 saturates in 16 bits and loses answers: the row reports it, the gate fails it.
            saturates = result.settings["precision.name"] == "int8" and not has_vnni()
            assert accuracy.top1 > 0.8 or saturates  # no single word gives the class away
        if model == "roberta_squad2":
            assert accuracy.scores["f1"] > 0.6
        if model == "gpt2":
            assert 1 < accuracy.scores["perplexity"] < 100
        if generates:
            measured = result.measurement
            assert measured is not None
            assert measured.new_tokens == 6
            # They add up to a batch's time, except that each is a median of its own.
            assert measured.first_token_ms + 5 * measured.token_ms == pytest.approx(measured.latency_p50_ms, rel=0.2)


def test_vectors_of_texts(run_program: RunProgram):
    """Of texts of different lengths, so that padding matters: each has the neighbours of PyTorch."""
    small = {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
    done = run_program(
        *("model=transformers", "model.architecture=bert", "model.task=embedding", "model.sequence_length=null"),
        *(f"model.config.{name}={value}" for name, value in (small | {"vocab_size": 2000}).items()),
        *("weights=random", "backend=ort", *QUICK, "measure=check"),
    )
    assert done.code == 0, done.out + done.err
    [result] = done.results()
    assert result.status is Status.ok, result.reason
    assert result.accuracy.agreement_top1 == 1
    assert result.accuracy.scores["cosine_min"] > 0.9999
    assert "100.0 % same neighbour" in done.out


def test_pipeline_goes_from_text_to_answers(run_program: RunProgram):
    """The example of the documentation: one sentence ten times, one at a time, including tokenisation."""
    done = run_program(
        *tiny("distilbert"), *("backend=ort", "scope=pipeline", "batch_size=10", "model.sequence_length=null"),
        *("data=one_text", "data.text='Optimum is great for CPU inference!'", "data.evaluation_samples=10"),
        "measure=check",
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    [result] = done.results()
    assert result.status is Status.ok, result.reason
    assert result.accuracy.top1 is None  # the sentence has no label


def test_long_texts_are_truncated_and_reported(run_program: RunProgram, tmp_path):
    """A CSV file with short and long texts."""
    with (tmp_path / "texts.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(
            (f"number {number} " + "very " * (80 if number % 2 else 2) + "good", number % 2) for number in range(40)
        )
    done = run_program(*tiny("distilbert"), "data=text_file", f"data.path={tmp_path / 'texts.csv'}", "measure=check")
    assert done.code == 0, done.out + done.err
    [result] = done.results()
    [note] = result.notes
    long, of = (int(word) for word in note.split()[:3] if word.isdigit())
    assert 0 < long < of == 24
    assert note in done.out


def test_unreachable_model_is_unavailable():
    """Neither a folder nor reachable: the reason names alternatives."""
    job = change_job(
        PROBE, source="transformers", name="x", model_id="nobody/nothing", weights="pretrained",
        task="text-classification", data="sentences",
    )  # fmt: skip
    from runner.worker.subjects.checkpoints.hub import fetch_model

    with pytest.raises(Unavailable, match=r"nobody/nothing is neither a folder nor reachable .*: take weights=random"):
        fetch_model(job.subject, None)


@pytest.fixture(scope="module")
def gpt_job(tmp_path_factory):
    """Return a job of a tiny GPT-2 with random weights."""
    config = {"n_layer": 1, "n_embd": 32, "n_head": 2, "vocab_size": 2000, "n_positions": 64}
    return change_job(
        PROBE, source="transformers", name="tiny", architecture="gpt2", model_config=config, weights="random",
        task="text-generation", data="passages", sequence_length=16, new_tokens=4,
        cache_dir=str(tmp_path_factory.mktemp("gpt")),
    )  # fmt: skip


@pytest.fixture
def hub_job(tmp_path):
    """Return a job of a tiny DistilBERT with random weights."""
    config = {"n_layers": 1, "dim": 32, "hidden_dim": 64, "n_heads": 2, "vocab_size": 2000}
    return change_job(
        PROBE, source="transformers", name="tiny", architecture="distilbert", model_config=config,
        weights="random", task="text-classification", data="sentences", sequence_length=16, cache_dir=str(tmp_path),
    )  # fmt: skip


def test_sequence_length_above_the_limit(hub_job):
    """The error names the limit."""
    with pytest.raises(BadInput, match="received 1000; allowed: at most 512, the limit of tiny"):
        gather(change_job(hub_job, sequence_length=1000), cache_of(hub_job).get)


def test_unknown_field_of_the_configuration(hub_job):
    """The error names the field, before anything is built."""
    with pytest.raises(BadInput, match=r"model.config.layers: distilbert has no such field"):
        gather(change_job(hub_job, model_config={"layers": 3}), cache_of(hub_job).get)


def test_architecture_that_optimum_cannot_export(hub_job):
    """Unsupported; the reason names the most similar architecture."""
    cache = cache_of(hub_job)
    checkpoint = gather(hub_job, cache.get).subject
    folder = Path(hub_job.run.cache_dir) / "other"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "distilbirt"}))
    with pytest.raises(Unsupported, match=r"cannot export distilbirt .* to onnx; the nearest that it can: distilbert"):
        Checkpoint("other", checkpoint.task, folder, checkpoint.signature.inputs).refuse_unexportable("onnx")


def test_empty_text(hub_job, tmp_path):
    """The error names the record."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": 0}) + "\n" for text in ["fine"] * 60 + ["  "]))
    job = change_job(hub_job, data="text_file", data_path=str(path))
    with pytest.raises(BadInput, match="Record 61 has an empty text: fill it in or remove the record"):
        gather(job, cache_of(hub_job).get)


def test_generation_of_several_batches_at_once_is_unsupported(gpt_job):
    """The reason names what runs several batches instead."""
    job = change_job(gpt_job, scenario="async")
    with pytest.raises(Unsupported, match="models that generate text run one batch at a time: take scenario=sync"):
        gather(job, cache_of(job).get)


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_texts_run_in_several_batches_at_once(hub_job, backend):
    """Each step has its own texts, and the answers are PyTorch's."""
    expected = opened(hub_job)
    parts = opened(change_job(hub_job, backend=backend, scenario="async", threads=2))
    batches = [samples for samples, _ in parts.dataset.batches(parts.dataset.evaluation, 8)][:2]
    for samples in batches:
        parts.task.bind(parts.runtime, samples)()
        found = parts.task.answers(parts.runtime, samples)["logits"]
        np.testing.assert_allclose(found, expected.task.answers(expected.runtime, samples)["logits"], atol=1e-4)


def test_compilation_for_texts_of_every_length_is_unsupported(hub_job):
    """Each length would be compiled anew; the reason names what fixes it."""
    job = change_job(hub_job, options={"compile": True}, sequence_length=None)
    with pytest.raises(Unsupported, match=r"set model\.sequence_length"):
        opened(job)


def test_static_int8_of_pytorch_is_unsupported(hub_job):
    """The reason names the nearest precision."""
    with pytest.raises(Unsupported, match="take precision=int8_dynamic"):
        gather(change_job(hub_job, precision="int8"), cache_of(hub_job).get)


@pytest.mark.parametrize(
    ("flags", "plan"),
    [
        ({"avx2"}, "avx2"),
        ({"avx2", "avx512f"}, "avx512"),
        ({"avx2", "avx512f", "avx512_vnni"}, "avx512_vnni"),
        ({"asimd"}, "arm64"),
    ],
)
def test_quantisation_plan_follows_the_processor(flags, plan):
    assert best_plan(frozenset(flags)) == plan


def test_best_span():
    """The largest sum of a start and an end logit, in order and inside the context; else no answer."""
    inside = np.array([False, True, True, True])
    assert best_span(np.array([0, 1, 5, 2.0]), np.array([0, 9, 1, 4.0]), inside) == (1, 1)
    assert best_span(np.array([0, 1, 5, 2.0]), np.array([0, 3, 1, 4.0]), inside) == (2, 3)
    assert best_span(np.array([9, 1, 5, 2.0]), np.array([9, 3, 1, 4.0]), inside) is None


def test_integer_gemm_without_a_primitive():
    """1024 × 768 × 3072 in int8: the verbose line of torch._int_mm."""
    line = (
        "onednn_verbose,v1,primitive,exec,cpu,gemm_api,,undef,src_u8::blocked:ab:f0 wei_s8::blocked:ba:f0 "
        "dst_s32::blocked:ab:f0,,,1024x768:768x3072,2.7"
    )
    [work] = parse([line])
    assert (work.precision, work.amount) == ("int8", 1024 * 768 * 3072)


def test_multiply_accumulates_of_fused_attention():
    """8 texts of 4 tokens, width 6: per token 3 × 6 × 6 for queries, keys and values, and 2 × 4 × 6 for attention."""
    event = {
        "name": "attention_kernel_time",
        "dur": 5,
        "args": {
            "op_name": "Attention",
            "input_type_shape": [{"float": [8, 4, 6]}],
            "output_type_shape": [{"float": [8, 4, 6]}],
        },
    }
    expected = 8 * 4 * (3 * 36 + 2 * 4 * 6)
    assert precision("fp32", [event], {}, expected=expected).state == VERIFIED
    assert precision("fp32", [event], {}, expected=expected / 0.85).state == UNKNOWN
    assert precision("fp32", [event], {}, expected=expected / 0.95).state == VERIFIED


def test_checkpoint_digest_covers_the_configuration(hub_job):
    """Equal weights, drawn by the same seed, but two heads or four."""
    cache = cache_of(hub_job)
    four = change_job(hub_job, model_config={**hub_job.subject.model_config, "n_heads": 4})
    digests = {gather(job, cache.get).subject.digest for job in (hub_job, four)}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"text": "fine", "label": -1}', "a label is -1; allowed: whole numbers from 0"),
        ('{"text": "fine", "label": "good"}', "has the label 'good', and most others have a number"),
        ("[1, 2]", "Line 60 is not a JSON object"),
    ],
)
def test_invalid_records(hub_job, tmp_path, text, reason):
    """The error is one line that names the file."""
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "fine", "label": 0}\n' * 59 + f"{text}\n")
    job = change_job(hub_job, data="text_file", data_path=str(path))
    with pytest.raises(BadInput, match=reason):
        gather(job, cache_of(hub_job).get)


def test_published_model_in_a_folder(hub_job):
    """Its own tokenizer, weights and configuration; a different configuration is rejected."""
    cache = cache_of(hub_job)
    made = gather(hub_job, cache.get).subject
    published = change_job(
        hub_job, weights="pretrained", model_id=str(made.checkpoint), architecture=None, model_config={"n_layers": 1}
    )
    again = gather(published, cache.get).subject
    for name, tensor in made.module().state_dict().items():
        np.testing.assert_array_equal(again.module().state_dict()[name].numpy(), tensor.numpy())
    with pytest.raises(BadInput, match=r"model.config.n_layers: received 3; allowed: 1, the value of "):
        gather(change_job(published, model_config={"n_layers": 3}), cache.get)


def test_a_model_on_the_hub_is_its_commit(hub_job, tmp_path, monkeypatch):
    """The cache keeps the commit that a branch was at; another one is another model, with artifacts of its own."""
    from huggingface_hub import constants

    folder = gather(hub_job, cache_of(hub_job).get).subject.checkpoint
    hub = tmp_path / "hub" / "models--owner--tiny"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commits = {"main": "1" * 40, "old": "2" * 40}
    (hub / "refs").mkdir(parents=True)
    for branch, commit in commits.items():
        (hub / "refs" / branch).write_text(commit)
        shutil.copytree(folder, hub / "snapshots" / commit)
    published = change_job(
        hub_job, weights="pretrained", model_id="owner/tiny", architecture=None, model_config={},
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    cache = cache_of(published)
    found = {
        branch: gather(change_job(published, revision=revision), cache.get)
        for branch, revision in (("main", None), ("old", "old"))
    }
    for branch, parts in found.items():
        assert parts.notes == [f"owner/tiny at commit {commits[branch]}"]
    (hub / "refs" / "main").write_text(commits["old"])
    assert gather(published, cache.get).notes == [f"owner/tiny at commit {commits['main']}"]


SQUAD = [
    {
        "question": "who ?",
        "context": "it was ann lee .",
        "answers": {"text": ["ann lee", "ann"], "answer_start": [7, 7]},
    },
    {"question": "who ?", "context": "it was nobody .", "answers": {"text": [], "answer_start": []}},
    {"question": "who ?", "context": "it was bob .", "answers": "bob"},
]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_questions_in_a_file(hub_job, tmp_path, suffix):
    """SQuAD's nested answers in both file formats, and the offsets of the context's tokens."""
    path = tmp_path / f"squad{suffix}"
    with path.open("w", newline="") as stream:
        if suffix == ".csv":
            writer = csv.DictWriter(stream, SQUAD[0])
            writer.writeheader()
            writer.writerows(
                {name: value if isinstance(value, str) else json.dumps(value) for name, value in one.items()}
                for one in SQUAD
            )
        else:
            stream.writelines(f"{json.dumps(one)}\n" for one in SQUAD)
    job = change_job(
        hub_job, task="question-answering", data="text_file", data_path=str(path), evaluation_samples=2,
        calibration_samples=1, sequence_length=24,
    )  # fmt: skip
    source = gather(job, cache_of(job).get).dataset.source
    assert source.answers == [("ann lee", "ann"), (), ("bob",)]
    batch = source.batch([0])
    context = SQUAD[0]["context"]
    tokens = [context[first:last] for first, last in batch.places[0] if first >= 0]
    assert "".join(tokens).replace(" ", "") == context.replace(" ", "")
    assert batch.inputs["input_ids"].shape == (1, 24)
