"""Probes of Transformers models: a random backbone, and output layers fitted on its features.

A randomly initialised attention layer lets every token depend on all others, and the residual connections keep each
token's own embedding. So the features of such a backbone determine the content of the text, and only the last layers
need fitting. That takes seconds. The model then answers mostly right, and int8 affects its activations about as much as
those of a trained model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from runner.worker.data.datasets import FITTING_SAMPLES
from runner.worker.data.texts import TextBatch
from runner.worker.failures import Unsupported

if TYPE_CHECKING:
    from runner.worker.data.datasets import Dataset

BATCH = 32
EPOCHS = 60
RATE = 1e-3
WEIGHT_DECAY = 1e-2
QUESTIONS, PASSAGES = 300, 200
"""Training samples for question answering and generation: every token of them is an example."""
TOKENS_PER_STEP = 512
"""Tokens per optimiser step, for generation."""


def make_probe(module: Any, task: str, dataset: Dataset, seed: int) -> float | None:
    """Fit the output layers of a newly initialised model, in place.

    Args:
        module: a Transformers model in evaluation mode.
        task: a value of ``runner.config.schema.Task``.
        dataset: its training samples, with their labels or answers.
        seed: of the initial output weights and the order of the samples.

    Returns:
        What int8 leaves of it, in dB, by :mod:`runner.worker.subjects.probes.fake_int8`; None if it takes texts.

    Raises:
        Unsupported: the model has an unknown kind of output layers.
    """
    torch.manual_seed(seed)
    if task == "image-classification":
        from runner.worker.subjects.probes import fake_int8, image_probe

        pixels = _Pixels(module)
        image_probe.make_probe(pixels, dataset, dataset.source.classes, seed)
        return fake_int8.judge_probe(pixels, dataset)
    if task == "text-classification":
        _fit_classifier(module, dataset)
    elif task == "question-answering":
        _fit_spans(module, dataset)
    else:
        _fit_language_model(module, dataset)
    return None


class _Pixels(nn.Module):
    """A Transformers model with the call signature of torchvision's."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=images).logits
        return logits


def _fit_classifier(module: Any, dataset: Dataset) -> None:
    """Fit the layers after the first token's features: a hidden layer and the classifier."""
    hidden, activation, classifier = _head(module)
    indices = dataset.training[:FITTING_SAMPLES]
    features = torch.cat([states[:, 0] for states, _ in _features(module, dataset, indices)])
    labels = torch.from_numpy(dataset.labels(indices))
    mean, scale = features.mean(0), features.std(0).mean()
    inputs = (features - mean) / scale
    first = nn.Linear(hidden.in_features, hidden.out_features)
    last = nn.Linear(classifier.in_features, classifier.out_features)
    fitted = nn.Sequential(first, activation, last)
    _descend(fitted, len(inputs), lambda chosen: functional.cross_entropy(fitted(inputs[chosen]), labels[chosen]))
    with torch.no_grad():
        hidden.weight.copy_(first.weight / scale)
        hidden.bias.copy_(first.bias - first.weight @ mean / scale)
        classifier.weight.copy_(last.weight)
        classifier.bias.copy_(last.bias)


def _head(module: Any) -> tuple[nn.Linear, nn.Module, nn.Linear]:
    """Return the last two linear layers of a text classifier, and the activation between them.

    Raises:
        Unsupported: the head is of another kind.
    """
    heads: list[tuple[Any, nn.Module, Any]] = [
        (getattr(module, "pre_classifier", None), nn.ReLU(), getattr(module, "classifier", None)),  # DistilBERT
        (_part(module, "classifier.dense"), nn.Tanh(), _part(module, "classifier.out_proj")),  # RoBERTa
        (_part(module, "bert.pooler.dense"), nn.Tanh(), getattr(module, "classifier", None)),
    ]
    for hidden, activation, classifier in heads:
        if isinstance(hidden, nn.Linear) and isinstance(classifier, nn.Linear):
            return hidden, activation, classifier
    raise Unsupported(
        f"weights=probe: received {type(module).__name__}; allowed: heads of DistilBERT, BERT and RoBERTa: "
        "take weights=random"
    )


def _part(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def _fit_spans(module: Any, dataset: Dataset) -> None:
    """Fit the layer whose outputs are, for each token, the logits of an answer's start and end."""
    states, targets = [], []
    indices, known = dataset.training[:QUESTIONS], dataset.source.answers
    assert known is not None
    for number, (found, batch) in enumerate(_features(module, dataset, indices)):
        for row in range(len(found)):
            answers = known[indices[number * BATCH + row]]
            target = _span(batch.texts[row]["context"], answers, batch.places[row])
            if target is not None:
                states.append((found[row], torch.from_numpy(batch.inputs["attention_mask"][row])))
                targets.append(target)
    width = max(len(one) for one, _ in states)
    inputs = torch.stack([functional.pad(one, (0, 0, 0, width - len(one))) for one, _ in states])
    mask = torch.stack([functional.pad(one, (0, width - len(one))) for _, one in states]).bool()
    wanted = torch.tensor(targets)
    output: nn.Linear = module.qa_outputs

    def loss(chosen: Tensor) -> Tensor:
        logits = output(inputs[chosen]).masked_fill(~mask[chosen].unsqueeze(-1), -1e4)
        begins, ends = (functional.cross_entropy(logits[..., side], wanted[chosen, side]) for side in (0, 1))
        return begins + ends

    _descend(output, len(inputs), loss)


def _span(context: str, answers: tuple[str, ...], offsets: Any) -> tuple[int, int] | None:
    """Return the first and the last token of the first right answer.

    Args:
        context: the text.
        answers: the right answers.
        offsets: start and end of each token in the text; see :class:`runner.worker.data.texts.TextBatch`.

    Returns:
        (0, 0) if there is no answer; None if it is not among the tokens.
    """
    if not answers:
        return 0, 0  # the first token means no answer
    begin = context.find(answers[0])
    end = begin + len(answers[0])
    inside = [place for place, (first, last) in enumerate(offsets) if first >= 0 and first < end and last > begin]
    return (inside[0], inside[-1]) if begin >= 0 and inside else None


def _fit_language_model(module: Any, dataset: Dataset) -> None:
    """Fit the output weights of the tokens that occur, and one vector that all other tokens share."""
    states, targets = [], []
    for found, batch in _features(module, dataset, dataset.training[:PASSAGES]):
        tokens, mask = (torch.from_numpy(batch.inputs[name]) for name in ("input_ids", "attention_mask"))
        both = (mask[:, 1:] * mask[:, :-1]).bool()
        states.append(found[:, :-1][both])
        targets.append(tokens[:, 1:][both])
    inputs, wanted = torch.cat(states), torch.cat(targets)
    output: nn.Linear = module.get_output_embeddings()
    occurring = wanted.unique()
    place = torch.zeros(output.out_features, dtype=torch.long)
    place[occurring] = torch.arange(len(occurring))
    others = float(torch.tensor(max(1, output.out_features - len(occurring))).log())
    fitted = nn.Linear(output.in_features, len(occurring) + 1, bias=False)
    nn.init.zeros_(fitted.weight)

    def loss(chosen: Tensor) -> Tensor:
        logits = fitted(inputs[chosen])
        # The last logit counts once for each of the other tokens: log(n) + logit.
        logits = torch.cat([logits[:, :-1], logits[:, -1:] + others], dim=1)
        return functional.cross_entropy(logits, place[wanted[chosen]])

    _descend(fitted, len(inputs), loss, batch=TOKENS_PER_STEP, epochs=EPOCHS // 4)
    with torch.no_grad():
        output.weight.copy_(fitted.weight[-1].expand_as(output.weight))
        output.weight[occurring] = fitted.weight[:-1]


def _descend(fitted: nn.Module, samples: int, loss: Any, *, batch: int = BATCH, epochs: int = EPOCHS) -> None:
    """Minimise a loss over a module's parameters by AdamW.

    Args:
        fitted: the module.
        samples: number of examples.
        loss: called with the indices of a batch of examples.
        batch: examples per step.
        epochs: passes over all examples.
    """
    optimiser = torch.optim.AdamW(fitted.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(epochs):
        for chosen in torch.randperm(samples).split(batch):
            optimiser.zero_grad()
            loss(chosen).backward()
            optimiser.step()


def _features(module: Any, dataset: Dataset, indices: Any) -> Iterator[tuple[Tensor, TextBatch]]:
    """Yield the last hidden states and the batch, for batches of texts without padding.

    Args:
        module: the model; its backbone runs.
        dataset: the texts.
        indices: which of them.

    Yields:
        The states (texts × tokens × width) and the batch.
    """
    for start in range(0, len(indices), BATCH):
        batch = trimmed(dataset.source.batch(list(indices[start : start + BATCH])))
        with torch.no_grad():
            inputs = {name: torch.from_numpy(values) for name, values in batch.inputs.items()}
            states = module.base_model(**inputs, return_dict=True).last_hidden_state
        yield states, batch


def trimmed(batch: TextBatch) -> TextBatch:
    """Return a batch without the positions at which every text has padding."""
    used = batch.inputs["attention_mask"].any(axis=0)
    inputs = {name: values[:, used] for name, values in batch.inputs.items()}
    return TextBatch(batch.texts, inputs, None if batch.offsets is None else batch.offsets[:, used])
