"""A BERT from nothing: what transformers makes of the folder, and word pieces against a plain greedy search."""

import random
import re

import numpy
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModel, AutoTokenizer

from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.pretraining import random_transformer as new_transformer
from spacy_transfer.pretraining.random_transformer import NewTransformer, train_tokenizer, write_transformer

SYLLABLES = ["ba", "ké", "Du", "sil", "mor", "ta", "ñu", "gra"]
DRAWS = random.Random(0)
WORDS = ["".join(DRAWS.choices(SYLLABLES, k=DRAWS.randint(1, 4))) for _ in range(80)]
TEXTS = [" ".join(DRAWS.choices(WORDS, k=12)) + DRAWS.choice(["!", ".", " 犬"]) for _ in range(60)]
TINY = NewTransformer(width=12, layers=2, heads=3, vocab_size=90, window=32)


def read():
    return iter(TEXTS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new") / "inside" / "bert"
    return folder, write_transformer(read, folder, TINY)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_transformers_loads_it(made):
    folder, about = made
    model = AutoModel.from_pretrained(folder, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    assert (model.config.model_type, model.config.num_hidden_layers, model.config.intermediate_size) == ("bert", 2, 48)
    assert model.embeddings.word_embeddings.weight.shape == (90, 12) and len(tokenizer) == about["vocabulary"] == 90
    assert about["parameters"] == sum(array.size for array in load_file(folder / "model.safetensors").values())
    assert about["bytes"] == sum(map(len, files(folder).values()))
    assert tokenizer.is_fast and tokenizer.model_max_length == model.config.max_position_embeddings == 32
    special = [tokenizer.pad_token, tokenizer.unk_token, tokenizer.cls_token, tokenizer.sep_token, tokenizer.mask_token]
    assert tokenizer.convert_tokens_to_ids(special) == [0, 1, 2, 3, 4] and set(tokenizer.all_special_ids) == set(
        range(5)
    )
    pair = tokenizer("ba", "ta!")
    assert tokenizer.convert_ids_to_tokens(pair["input_ids"]).count("[SEP]") == 2 and 1 in pair["token_type_ids"]
    assert tokenizer.decode(tokenizer("BASIL tañu!")["input_ids"], skip_special_tokens=True) == "basil tañu!"


def test_it_is_a_source_of_the_backbone(made, nlp):
    folder, _ = made
    backbone = build_transformer_backbone_v1(source=str(folder), window=32, overlap=4)
    backbone.initialize()
    doc = nlp.make_doc("Ba kéDu")
    encoded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)(doc.text, return_tensors="pt")
    model = AutoModel.from_pretrained(folder, trust_remote_code=False)
    with torch.no_grad():
        hidden = model(**encoded).last_hidden_state[0].numpy()
    words = numpy.array([-1 if word is None else word for word in encoded.word_ids()])
    expected = [hidden[words == i].mean(0) for i in range(2)]
    numpy.testing.assert_allclose(backbone.predict([doc])[0], expected, atol=1e-5)


@pytest.mark.parametrize("lower", [True, False])
def test_word_pieces_are_the_longest_from_the_left(lower):
    tokenizer = train_tokenizer(read, 90, lower=lower)
    vocab = tokenizer.get_vocab()
    assert sorted(vocab.values()) == list(range(90))
    for text in TEXTS:
        expected = []
        for word in re.findall(r"犬|\w+|[^\w\s]", text.lower() if lower else text):
            while word:
                start = "##" if expected and not expected[-1].endswith("|") else ""
                end = next(n for n in range(len(word), 0, -1) if start + word[:n] in vocab)
                expected.append(start + word[:end])
                word = word[end:]
            expected.append("|")
        assert tokenizer.encode(text, add_special_tokens=False).tokens == [piece for piece in expected if piece != "|"]
    assert any(piece.isupper() for piece in vocab if not piece.startswith("[")) != lower
    assert any("é" in piece for piece in vocab)  # Accents are kept.


def test_same_seed_same_bytes(made, tmp_path):
    folder, _ = made
    before = torch.get_rng_state()
    write_transformer(read, tmp_path / "again", TINY)
    assert files(tmp_path / "again") == files(folder)
    write_transformer(read, tmp_path / "other", NewTransformer(12, 2, 3, 90, 32, seed=1))
    changed = {name for name, data in files(tmp_path / "other").items() if data != files(folder)[name]}
    assert changed == {"model.safetensors"}
    assert torch.equal(torch.get_rng_state(), before)


def test_rare_characters_are_unknown(monkeypatch):
    monkeypatch.setattr(new_transformer, "_MOST_CHARACTERS", 3)
    tokenizer = train_tokenizer(lambda: ["aaab aab bbc aad ab"] * 2, 12, lower=True)
    assert tokenizer.encode("d ad", add_special_tokens=False).tokens == ["[UNK]", "[UNK]"]
    assert {"b", "##b", "c", "##c"} < set(tokenizer.get_vocab())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"heads": 5}, "T801.*--width 12.*--heads 5"),
        ({"vocab_size": 20}, r"T802.*--vocab-size 20.*--vocab-size (\d+) or more"),
        ({"vocab_size": 5000}, r"T803.*--vocab-size 5000.*--vocab-size (\d+) or less"),
    ],
)
def test_sizes_that_do_not_fit(settings, says, tmp_path):
    with pytest.raises(ValueError, match=says) as error:
        write_transformer(read, tmp_path / "out", NewTransformer(**{**vars(TINY), **settings}))
    assert not list(tmp_path.iterdir())
    if "vocab_size" in settings:  # What the message offers is taken.
        size = int(re.search(says, str(error.value))[1])
        assert train_tokenizer(read, size, lower=True).get_vocab_size() == size


def test_what_exists_is_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    with pytest.raises(ValueError, match="T390.*thesis"):
        write_transformer(read, tmp_path / "thesis", TINY)
    assert not list((tmp_path / "thesis").iterdir())
