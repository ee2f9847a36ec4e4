"""Checks of tokenizers: that they work, come to an end, and give ids that the encoder knows."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import Errors

# Long enough that a search without end meets the limit of the library that tokenizers uses, within half a second.
_LONG = 64


@contextmanager
def panics_are_errors(where: str) -> Iterator[None]:
    """Turn what tokenizers throws into a coded error: exceptions without a class, and panics, which are no Exceptions.

    where (str): What messages call the tokenizer.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(Errors.T131.format(where=where, error=error)) from error


def read_tokenizer(text: str, where: str) -> Any:
    """A fast tokenizer that neither cuts nor pads.

    text (str): JSON, as tokenizers writes it.
    where (str): What messages call it.
    RETURNS (Tokenizer): The tokenizer.
    RAISES (ValueError): When it is none, or a search in it has no end.
    """
    from tokenizers import Tokenizer

    with panics_are_errors(where):
        tokenizer = Tokenizer.from_str(text)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    check_patterns(tokenizer, text, where)
    return tokenizer


def refuse_own_tokenizer(name: Any, where: str, error: Exception | None = None) -> None:
    """Say so where the class of a tokenizer is code beside the weights. transformers 4 cannot read it; transformers 5
    reads `tokenizer.json` alone, without what that class does.

    name (Union[str, Path]): Folder or hub id.
    where (str): What messages call it.
    error (Optional[Exception]): Why it could not be read; null where it was read.
    """
    import transformers
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    config = get_tokenizer_config(str(name), local_files_only=True)
    found, kind = config.get("auto_map"), config.get("tokenizer_class")
    if found and (error is not None or (kind is not None and not hasattr(transformers, kind))):
        raise ValueError(Errors.T124.format(where=where, found=found, version=transformers.__version__)) from error


def check_patterns(tokenizer: Any, text: str, where: str) -> None:
    """Run a tokenizer on long runs of what its regular expressions look for. A search that tries without end fails.

    tokenizer (Tokenizer): The tokenizer.
    text (str): Its JSON.
    where (str): What messages call it.
    """
    patterns = list(_patterns(json.loads(text))) if '"Regex"' in text else []
    if not patterns:
        return
    wanted = {part for pattern in patterns for part in [*pattern, *re.findall(r"\w+", pattern)]}
    probes = [part * _LONG + end for part in sorted(wanted | set("aA1 .\n")) for end in ("!", "b")]
    with panics_are_errors(where):
        for probe in probes:
            tokenizer.encode(probe, add_special_tokens=False)


def check_ids(tokenizer: Any, transformer: Any, special: list[int], where: str) -> None:
    """Refuse ids for which the encoder has no row.

    tokenizer (Tokenizer): Fast or slow.
    transformer (nn.Module): The encoder.
    special (List[int]): Ids that are used beside those in the vocabulary.
    where (str): What messages call the two.
    """
    try:
        rows = transformer.get_input_embeddings().weight.shape[0]
    except (NotImplementedError, AttributeError):
        return  # An encoder that hashes its input has rows for all.
    vocab = {**tokenizer.get_vocab(), **{"special token": max(special, default=0)}}
    piece = max(vocab, key=vocab.__getitem__)
    if vocab[piece] >= rows:
        raise ValueError(Errors.T132.format(where=where, id=vocab[piece], piece=piece, rows=rows))


def _patterns(part: Any) -> Iterator[str]:
    """The regular expressions in a tokenizer's JSON. Vocabularies hold none, and are long."""
    if isinstance(part, dict):
        if isinstance(part.get("Regex"), str):
            yield part["Regex"]
        for key, value in part.items():
            if key not in ("vocab", "merges", "added_tokens"):
                yield from _patterns(value)
    elif isinstance(part, list):
        for value in part:
            yield from _patterns(value)
