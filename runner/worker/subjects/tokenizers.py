"""Tokenizers: a model's own if it has one, else one that is trained on the grammar's text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.protocol import Subject
from runner.worker.artifacts.cache import Recipe, package_versions
from runner.worker.data.sentences import corpus
from runner.worker.failures import BadInput
from runner.worker.subjects.hub import fetch_model, origin
from runner.worker.subjects.models import declare_torchvision_operators

TRAINING_VERSION = 1
"""Raised when the way of training changes, so that cached tokenizers are no longer found."""
VOCABULARY = 2000
"""Tokens at most; the grammar has fewer words than that, and what it has not is spelled in bytes."""
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""The tokens that are no text, in the order of their numbers."""
PLAIN_INPUTS = ("input_ids", "attention_mask")
INPUTS = dict.fromkeys(("bert", "electra", "mobilebert", "albert"), ("input_ids", "token_type_ids", "attention_mask"))
"""Architectures with an input that says to which of two texts a token belongs."""
FREE_RUNNING = "[CLS]"
"""The marks around a generated text."""


def tokenizer_recipe(subject: Subject) -> Recipe:
    """Return how a model's tokenizer gets into the cache."""
    key: dict[str, Any] = {"packages": package_versions("tokenizers", "transformers"), "version": TRAINING_VERSION}
    if subject.weights == "pretrained":
        return Recipe("tokenizer", key | origin(subject), lambda target: _copy(fetch_model(subject), target))
    generates = subject.task == "text-generation"
    return Recipe(
        "tokenizer",
        key | {"generates": generates, "inputs": INPUTS.get(subject.architecture or "", PLAIN_INPUTS)},
        lambda target: _train(target, subject.architecture, generates=generates),
    )


def open_tokenizer(folder: Path) -> Any:
    """Return the tokenizer in a folder."""
    declare_torchvision_operators()  # transformers imports torchvision
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _copy(source: Path, target: Path) -> None:
    try:
        tokenizer = open_tokenizer(source)
    except (OSError, ValueError) as error:
        raise BadInput(f"{source} holds no tokenizer that can be read: {str(error).splitlines()[0]}") from error
    if tokenizer.pad_token is None:  # GPT-2 has none: batches need one
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(target)


def _train(target: Path, architecture: str | None, *, generates: bool) -> None:
    """Train byte-level pairs on the grammar's text, and save them as Transformers does.

    Args:
        target: the folder.
        architecture: of the model, which may want more than the tokens.
        generates: whether it is for a model that continues it: such a text has no marks around it.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(corpus(), trainer)
    if not generates:
        marks = [(SPECIAL[name], trained.token_to_id(SPECIAL[name])) for name in ("cls_token", "sep_token")]
        trained.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=marks
        )
    ends = {"bos_token": FREE_RUNNING, "eos_token": FREE_RUNNING} if generates else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        model_input_names=list(INPUTS.get(architecture or "", PLAIN_INPUTS)),
        clean_up_tokenization_spaces=False,
        **SPECIAL,
        **ends,
    )
    tokenizer.save_pretrained(target)
