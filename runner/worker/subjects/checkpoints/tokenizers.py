"""Tokenizers: a published model's own, else one trained on generated text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.job import Subject
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.data.sentences import corpus
from runner.worker.failures import BadInput
from runner.worker.libraries import prepare_transformers
from runner.worker.subjects.checkpoints.hub import fetch_model, origin
from runner.worker.subjects.subject import GENERATION

TRAINING_VERSION = 1
"""Part of the cache key. Increment it when the training changes: cached tokenizers become invalid."""
VOCABULARY = 2000
"""Maximum number of tokens. The grammar has fewer words; other words are encoded as bytes."""
SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""Special tokens, in the order of their ids."""
PLAIN_INPUTS = ("input_ids", "attention_mask")
INPUTS = dict.fromkeys(("bert", "electra", "mobilebert", "albert"), ("input_ids", "token_type_ids", "attention_mask"))
"""Inputs of architectures that also take the index of the text (first or second) to which each token belongs."""
TEXT_BOUNDARY = "[CLS]"
"""The token before and after a text for generation."""


def tokenizer_recipe(subject: Subject, fetch: Fetch) -> Recipe:
    """Return the recipe of a model's tokenizer.

    Args:
        subject: the model.
        fetch: gets the commit of a model on the Hub.

    Raises:
        Missing: from `fetch`.
    """
    key: dict[str, Any] = {"version": TRAINING_VERSION}
    if subject.weights == "pretrained":
        found = origin(subject, fetch)
        commit = found.get("commit")
        return Recipe("tokenizer", key | found, lambda target: _copy(fetch_model(subject, commit), target))
    generates = subject.task == GENERATION
    return Recipe(
        "tokenizer",
        key | {"generates": generates, "inputs": INPUTS.get(subject.architecture or "", PLAIN_INPUTS)},
        lambda target: _train(target, subject.architecture, generates=generates),
    )


def open_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a folder."""
    prepare_transformers()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _copy(source: Path, target: Path) -> None:
    try:
        tokenizer = open_tokenizer(source)
    except (OSError, ValueError) as error:
        raise BadInput(f"{source} holds no readable tokenizer: {str(error).splitlines()[0]}") from error
    if tokenizer.pad_token is None:  # for example GPT-2's; batches need one
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(target)


def _train(target: Path, architecture: str | None, *, generates: bool) -> None:
    """Train byte-level byte-pair encoding on the grammar's text, and save it in Transformers' format.

    Args:
        target: the folder.
        architecture: of the model; it decides the tokenizer's outputs.
        generates: whether the model generates text; texts then have no [CLS] and [SEP] around them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(corpus(), trainer)
    if not generates:
        marks = [(token, trained.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        trained.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=marks
        )
    ends = {"bos_token": TEXT_BOUNDARY, "eos_token": TEXT_BOUNDARY} if generates else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        model_input_names=list(INPUTS.get(architecture or "", PLAIN_INPUTS)),
        clean_up_tokenization_spaces=False,
        **SPECIAL_TOKENS,
        **ends,
    )
    tokenizer.save_pretrained(target)
