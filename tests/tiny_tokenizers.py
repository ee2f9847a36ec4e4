"""Tokenizers of a few pieces, built with the package tokenizers: transformers 5 ignores `vocab_file=`."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def save(tokenizer, folder, kind, special, **settings):
    """Write a folder that AutoTokenizer reads, whatever its version.

    tokenizer (Tokenizer): The tokenizer.
    folder (Path): Where to.
    kind (str): Name of transformers' class.
    special (Dict[str, str]): Special tokens by role.
    settings (Any): More of tokenizer_config.json.
    """
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, lstrip=token == "<mask>") for token in special.values()]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": kind, **special, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf8")


def write_bert_tokenizer(folder, lowercase=True):
    """BERT's: letters as word pieces.

    folder (Path): Where to.
    lowercase (bool): Whether it lower-cases.
    RETURNS (int): Number of pieces.
    """
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab += [*LETTERS, *(f"##{letter}" for letter in LETTERS), ".", ",", "the", "##ing"]
    save_word_pieces(folder, vocab, "BertTokenizer", lowercase)
    return len(vocab)


def save_word_pieces(folder, vocab, kind, lowercase=True, **settings):
    """A tokenizer of the kind that BERT has.

    folder (Path): Where to.
    vocab (List[str]): Its pieces.
    kind (str): Name of transformers' class.
    lowercase (bool): Whether it lower-cases.
    settings (Any): More of tokenizer_config.json.
    """
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocab.index(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ends
    )
    tokenizer.decoder = decoders.WordPiece()
    roles = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    special = {f"{role}_token": token for role, token in roles.items()}
    settings = {"do_lower_case": lowercase, "strip_accents": None, "tokenize_chinese_chars": True, **settings}
    save(tokenizer, folder, kind, special, **settings)
    # Slow tokenizers of transformers 4 read this one.
    (folder / "vocab.txt").write_text("\n".join(vocab), encoding="utf8")


def write_byte_tokenizer(folder):
    """RoBERTa's: pieces of bytes, a word, and letters with a space before them.

    folder (Path): Where to.
    RETURNS (int): Number of pieces.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), *(("Ġ", letter) for letter in ["the", "th", *map(chr, range(33, 127))])]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *letters, *(a + b for a, b in merges), "<mask>"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    roles = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    special = {f"{role}_token": token for role, token in roles.items()}
    save(tokenizer, folder, "RobertaTokenizer", special, add_prefix_space=False, trim_offsets=True)
    return len(pieces)
