"""The tests' tokenizers split words into letters. With any other version of transformers too: a text of [UNK] alone
would let nearly every test pass."""

import pytest

from .tiny_tokenizers import write_bert_tokenizer, write_byte_tokenizer


def load(folder, write, **settings):
    from transformers import AutoTokenizer

    size = write(folder, **settings)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.is_fast and len(tokenizer) == size
    return tokenizer


@pytest.mark.parametrize("lowercase", [True, False])
def test_word_pieces(tmp_path, lowercase):
    tokenizer = load(tmp_path, write_bert_tokenizer, lowercase=lowercase)
    assert tokenizer.tokenize("the cats, singing.") == "the c ##a ##t ##s , s ##ing ##ing .".split()
    assert tokenizer.tokenize("The cat") == ["the" if lowercase else "[UNK]", "c", "##a", "##t"]
    whole = tokenizer("a cat", "dog")
    assert tokenizer.convert_ids_to_tokens(whole["input_ids"]) == "[CLS] a c ##a ##t [SEP] d ##o ##g [SEP]".split()
    assert whole["token_type_ids"] == [0] * 6 + [1] * 4


def test_bytes(tmp_path):
    tokenizer = load(tmp_path, write_byte_tokenizer)
    assert tokenizer.tokenize("a the Öl") == ["a", "Ġthe", "Ġ", "Ã", "ĸ", "l"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("no")["input_ids"]) == ["<s>", "n", "o", "</s>"]
    assert [tokenizer.pad_token_id, tokenizer.mask_token_id] == [1, len(tokenizer) - 1]


def test_what_a_backbone_reads(tiny_bert):
    from spacy_transfer.backbones.transformer.pretrained import read_source

    pieces = read_source(tiny_bert).tokenizer.encode("cat", add_special_tokens=False)
    assert pieces.tokens == ["c", "##a", "##t"]
