"""Tokenizers: checks that they work, terminate and have rows for all ids; and as transformers' own."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ....errors import Errors
from ....types import HFTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..pretrained import Pretrained

# At this length catastrophic backtracking reaches the limit of the library of regular expressions in half a second.
_LONG = 64


@contextmanager
def panics_are_errors(where: str) -> Iterator[None]:
    """Turn what tokenizers throws into a coded error: exceptions without a class, and panics, which are no
    Exceptions."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(Errors.T131.format(where=where, error=error)) from error


def read_tokenizer(text: str, where: str) -> "Tokenizer":
    """A fast tokenizer without truncation and padding.

    RAISES (ValueError): When it is none, or a search in it has no end.
    """
    from tokenizers import Tokenizer

    with panics_are_errors(where):
        tokenizer = Tokenizer.from_str(text)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    check_patterns(tokenizer, text, where)
    return tokenizer


def refuse_own_tokenizer(name: str | Path, where: str, error: Exception | None = None) -> None:
    """Say so where the class of a tokenizer is code beside the weights. transformers 4 cannot read it; transformers 5
    reads `tokenizer.json` alone, without what that class does.

    error (Optional[Exception]): Why it could not be read; None where it was read.
    """
    import transformers
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    config = get_tokenizer_config(str(name), local_files_only=True)
    found, kind = config.get("auto_map"), config.get("tokenizer_class")
    if found and (error is not None or (kind is not None and not hasattr(transformers, kind))):
        raise ValueError(Errors.T124.format(where=where, found=found, version=transformers.__version__)) from error


def check_patterns(tokenizer: "Tokenizer", text: str, where: str) -> None:
    """Run a tokenizer on long runs of what its regular expressions look for. A search that tries without end fails."""
    patterns = list(_patterns(json.loads(text))) if '"Regex"' in text else []
    if not patterns:
        return
    wanted = {part for pattern in patterns for part in [*pattern, *re.findall(r"\w+", pattern)]}
    probes = [part * _LONG + end for part in sorted(wanted | set("aA1 .\n")) for end in ("!", "b")]
    with panics_are_errors(where):
        for probe in probes:
            tokenizer.encode(probe, add_special_tokens=False)


def check_ids(
    tokenizer: "Tokenizer | HFTokenizer", transformer: "PreTrainedModel", special: list[int], where: str
) -> None:
    """Refuse ids, in the vocabulary or in `special`, for which the encoder has no row."""
    try:
        rows = cast("nn.Embedding", transformer.get_input_embeddings()).weight.shape[0]
    except (NotImplementedError, AttributeError):
        return  # An encoder that hashes its input has rows for all.
    vocab = {**tokenizer.get_vocab(), **{"special token": max(special, default=0)}}
    piece = max(vocab, key=vocab.__getitem__)
    if vocab[piece] >= rows:
        raise ValueError(Errors.T132.format(where=where, id=vocab[piece], piece=piece, rows=rows))


def _patterns(part: object) -> Iterator[str]:
    """The regular expressions in a tokenizer's JSON. Vocabularies, which are long, have none."""
    if isinstance(part, dict):
        if isinstance(part.get("Regex"), str):
            yield part["Regex"]
        for key, value in part.items():
            if key not in ("vocab", "merges", "added_tokens"):
                yield from _patterns(value)
    elif isinstance(part, list):
        for value in part:
            yield from _patterns(value)


def as_transformers(pretrained: "Pretrained", most: int | None) -> "PreTrainedTokenizerBase":
    """A fast tokenizer of no class in particular: those of a class would set their own lower-casing again.

    most (Optional[int]): Pieces that the encoder has positions for.
    RETURNS (PreTrainedTokenizerBase): The tokenizer of transformers.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(pretrained.tokenizer.to_str())
    tokens = {"pad_token": backend.id_to_token(pretrained.pad_id)}
    if pretrained.prefix:
        tokens["cls_token"] = backend.id_to_token(pretrained.prefix[0])
    if pretrained.suffix:
        tokens["sep_token"] = backend.id_to_token(pretrained.suffix[-1])
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    state = json.loads(backend.to_str())["model"]
    names = {"unk_token": [state.get("unk_token"), "[UNK]", "<unk>"], "mask_token": ["[MASK]", "<mask>"]}
    for role, candidates in names.items():
        found = next((name for name in candidates if name in known), None)
        if found is not None:
            tokens[role] = found
    inputs = ["input_ids", "attention_mask"]
    if getattr(pretrained.transformer.config, "type_vocab_size", 0) > 1:
        inputs.insert(1, "token_type_ids")
    limit = {} if most is None else {"model_max_length": most}
    made = PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **limit, **tokens)
    return cast("PreTrainedTokenizerBase", made)
