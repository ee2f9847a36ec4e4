"""A small BERT with random weights, and a WordPiece tokenizer trained on raw texts."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Errors
from ..random_state import same_random_state

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import BertModel

_ROLES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_MOST_CHARACTERS = 1000  # As in BERT's own vocabulary: rarer ones become [UNK].


@dataclass(frozen=True)
class NewTransformer:
    """Sizes of an encoder.

    width (int): Of its rows.
    layers (int): Number of layers.
    heads (int): Attention heads of each layer; they divide `width`.
    vocab_size (int): Number of word pieces, special tokens included.
    window (int): Word pieces it can read at once.
    lower (bool): Whether the tokenizer lower-cases. Accents are kept.
    seed (int): Of the random weights.
    """

    width: int = 256
    layers: int = 4
    heads: int = 4
    vocab_size: int = 8000
    window: int = 128
    lower: bool = True
    seed: int = 0


def write_transformer(read: Callable[[], Iterable[str]], path: Path, settings: NewTransformer) -> dict[str, int]:
    """Train the tokenizer, draw the weights, and write both as a folder that AutoModel and AutoTokenizer load. The
    same texts and settings give the same bytes.

    read (Callable[[], Iterable[str]]): Begins to read the texts; it is called twice.
    path (Path): A folder that does not exist yet.
    settings (NewTransformer): The sizes.
    RETURNS (Dict[str, int]): Sizes of what was made: "vocabulary", "parameters", "bytes".
    RAISES (ValueError): When the folder exists, heads do not divide the width, or the size of the vocabulary does not
        fit the texts.
    """
    if path.exists() or path.is_symlink():
        raise ValueError(Errors.T390.format(path=path))
    if settings.width % settings.heads:
        raise ValueError(Errors.T801.format(width=settings.width, heads=settings.heads))
    tokenizer = train_tokenizer(read, settings.vocab_size, lower=settings.lower)
    model = build_encoder(settings, tokenizer)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".transfer-new-", dir=path.parent) as room:
        folder = Path(room) / "new"
        model.save_pretrained(folder, safe_serialization=True)
        _write_tokenizer(tokenizer, folder, settings)
        size = sum(file.stat().st_size for file in folder.iterdir())
        folder.rename(path)
    return {"vocabulary": tokenizer.get_vocab_size(), "parameters": model.num_parameters(), "bytes": size}


def train_tokenizer(read: Callable[[], Iterable[str]], vocab_size: int, *, lower: bool) -> "Tokenizer":
    """A WordPiece tokenizer (Schuster and Nakajima 2012) of BERT's kind.

    read (Callable[[], Iterable[str]]): Begins to read the texts; it is called twice.
    vocab_size (int): Number of word pieces, special tokens included.
    lower (bool): Whether it lower-cases.
    RETURNS (Tokenizer): Of the package tokenizers.
    RAISES (ValueError): When the texts give fewer pieces, or have more characters than that.
    """
    from tokenizers import models, processors, trainers

    blank = _blank_tokenizer(lower)
    first, inner = _characters(read(), blank)
    special = list(_ROLES.values())
    # tokenizers numbers the pieces "##a" in an order that differs from run to run, and with it the choice between
    # pairs of the same frequency. Named beforehand, they have an order. "##" is no special token of what is returned.
    given = special + [f"##{character}" for character in inner]
    least = len(given) + len(first)
    if vocab_size < least:
        raise ValueError(Errors.T802.format(found=vocab_size, characters=len(first), least=least))
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=given,
        initial_alphabet=first,
        limit_alphabet=len(first),
        show_progress=False,
    )
    blank.train_from_iterator(read(), trainer)
    vocab = blank.get_vocab(with_added_tokens=True)
    if len(vocab) < vocab_size:
        raise ValueError(Errors.T803.format(wanted=vocab_size, found=len(vocab)))
    tokenizer = _blank_tokenizer(lower)
    tokenizer.model = models.WordPiece(vocab, unk_token="[UNK]")
    tokenizer.add_special_tokens(special)
    ends = [(token, vocab[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return tokenizer


def build_encoder(settings: NewTransformer, tokenizer: "Tokenizer") -> "BertModel":
    """transformers' own BERT with the random weights that it begins with.

    settings (NewTransformer): The sizes.
    tokenizer (Tokenizer): Its tokenizer.
    RETURNS (BertModel): The encoder.
    """
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=4 * settings.width,
        max_position_embeddings=settings.window,
        pad_token_id=tokenizer.token_to_id("[PAD]"),
    )
    with same_random_state():
        torch.manual_seed(settings.seed)
        return BertModel(config)


def _blank_tokenizer(lower: bool) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _characters(texts: Iterable[str], tokenizer: "Tokenizer") -> tuple[list[str], list[str]]:
    """The most frequent characters in a fixed order, and those of them that stand inside of words."""
    words: Counter[str] = Counter()
    for text in texts:
        words.update(text.split())
    counts, inner = Counter[str](), set[str]()
    for word, count in words.items():
        for part, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(word)):
            inner.update(part[1:])
            for character in part:
                counts[character] += count
    kept = sorted(counts, key=lambda character: (-counts[character], character))[:_MOST_CHARACTERS]
    return sorted(kept), sorted(inner.intersection(kept))


def _write_tokenizer(tokenizer: "Tokenizer", folder: Path, settings: NewTransformer) -> None:
    """The files that transformers reads, whatever its version."""
    tokenizer.save(str(folder / "tokenizer.json"))
    vocab = tokenizer.get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.__getitem__)) + "\n", encoding="utf8")
    config = {
        "tokenizer_class": "BertTokenizer",
        **{f"{role}_token": token for role, token in _ROLES.items()},
        "do_lower_case": settings.lower,
        "strip_accents": False,
        "tokenize_chinese_chars": True,
        "model_max_length": settings.window,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf8")
