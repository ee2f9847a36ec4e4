"""Vector files as they are found: packed, with words of several words, damaged, with NaN, without anything.

Guards also: subwords.py, word2vec.py.
"""

import bz2
import gzip
import io
import json
import lzma
import shutil
import sys
import zipfile

import numpy
import pytest
import spacy
from safetensors.numpy import save_file
from spacy.strings import get_string_id
from tokenizers import Tokenizer

from spacy_transfer.backbones.vectors.subwords import make_subwords
from spacy_transfer.backbones.vectors.vector_files import read_vectors
from spacy_transfer.backbones.vectors.vectors import build_vectors_backbone_v1

from .test_vectors import fasttext_file  # noqa: F401

PLAIN = "cat 1 2 3\ndog 2 3 4\nthe 0 1 0\n"
HEADED = f"3 3\n{PLAIN}".encode()
THREE = {"cat": [1, 2, 3], "dog": [2, 3, 4], "the": [0, 1, 0]}
BINARY = b"3 3\n" + b"".join(
    word.encode() + b" " + numpy.array(row, dtype="<f4").tobytes() + b"\n" for word, row in THREE.items()
)


def zipped(data, *names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, data)
    return file.getvalue()


READ = {
    "plain": (PLAIN.encode(), THREE),
    "no last line feed": (PLAIN.encode()[:-1], THREE),
    "blank lines at the end": (PLAIN.encode() + b"\n\n", THREE),
    "spaces in words": (
        PLAIN.encode() + b". . . 1 2 3\niphone 4 1 1 1\n",
        THREE | {". . .": [1, 2, 3], "iphone 4": [1] * 3},
    ),
    "line ends in words": (
        "cat 1 2 3\n\u2028 2 3 4\na\x85b\xa0c 1 1 1\n".encode(),
        {"cat": [1, 2, 3], "\u2028": [2, 3, 4]},
    ),
    "byte order mark": (b"\xef\xbb\xbf" + PLAIN.encode(), THREE),
    "byte order mark and header": (b"\xef\xbb\xbf" + HEADED, THREE),
    "tabs": (PLAIN.replace(" ", "\t").encode(), THREE),
    "a tab, then spaces": (PLAIN.replace(" ", "\t", 1).encode(), THREE),
    "two spaces": (PLAIN.replace(" ", "  ").encode(), THREE),
    "ends of Windows": (HEADED.replace(b"\n", b"\r\n"), THREE),
    "spaces at the end": (HEADED.replace(b"\n", b" \n"), THREE),
    "gzip": (gzip.compress(HEADED), THREE),
    "bzip2": (bz2.compress(HEADED), THREE),
    "xz": (lzma.compress(HEADED), THREE),
    "zip": (zipped(HEADED, "glove.txt"), THREE),
    "binary": (BINARY, THREE),
    "binary without line feeds": (BINARY[:4] + b"".join(part for part in BINARY[4:].split(b"\n")), THREE),
    "binary in gzip": (gzip.compress(BINARY), THREE),
    "one dimension": (b"2 1\ncat 1\ndog 0.5\n", {"cat": [1], "dog": [0.5]}),
}
REFUSED = {
    "empty": (b"", "T211"),
    "line feed": (b"\n", "T211"),
    "header alone": (b"0 3\n", "T211"),
    "no width": (b"1 0\ncat\n", "T2(05|11)"),
    "NaN": (PLAIN.replace("dog 2", "dog nan").encode(), "T212.*line 2"),
    "infinite": (PLAIN.replace("the 0", "the -inf").encode(), "T212.*line 3"),
    "beyond float32": (HEADED.replace(b"dog 2", b"dog 1e99"), "T212.*line 3"),
    "no number": (PLAIN.replace("dog 2", "dog two").encode(), "T205.*line 2"),
    "too few": (PLAIN.encode() + b"a 1 2\n", "T205.*line 4.*'a 1 2'"),
    "too many": (PLAIN.encode() + b"a 0.5 1 2 3\n", "T205.*line 4"),
    "a blank and one short line": (b"cat 1 2 3\ndog 2 3\nthe 0 1 0 5\n", "T205.*line 2"),
    "wider than promised": (b"2 2\ncat 0.5 2 3\ndog 0.5 3 4\n", "T205.*line 2"),
    "narrower than promised": (b"3 300\n" + PLAIN.encode(), "T205.*line 2"),
    "more than promised": (b"2 3\n" + PLAIN.encode(), "T205.*promises 2 words, but there are 3"),
    "fewer than promised": (b"9 3\n" + PLAIN.encode(), "T205.*promises 9 words, but there are 3"),
    "no UTF-8": (PLAIN.encode() + "über 1 2 3\n".encode("latin1"), "T205.*line 4.*UTF-8"),
    "binary cut short": (BINARY[:-6], "T205.*2 of 3 words"),
    "binary promises more": (BINARY.replace(b"3 3", b"4 3", 1), "T205.*3 of 4 words"),
    "binary promises less": (BINARY.replace(b"3 3", b"2 3", 1), "T205.*goes on after the 2"),
    "binary NaN": (BINARY.replace(numpy.float32(4).tobytes(), numpy.float32("nan").tobytes()), "T212.*row 2.*'dog'"),
    "gzip cut short": (gzip.compress(HEADED)[:-12], "T205"),
    "gzip damaged": (gzip.compress(HEADED)[:14] + b"\xff" * 20, "T205"),
    "bzip2 damaged": (bz2.compress(HEADED)[:20] + b"\xff" * 20, "T205"),
    "xz damaged": (lzma.compress(HEADED)[:30] + b"\xff" * 20, "T205"),
    "zip of two": (zipped(HEADED, "a.txt", "b.txt"), r"T213.*\['a.txt', 'b.txt'\]"),
    "fastText's magic alone": ((793712314).to_bytes(4, "little"), "T205"),
    "fastText cut short": ((793712314).to_bytes(4, "little") + b"\x0c\0\0\0" * 8, "T205"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "T205"),
}


def row_of(table, word):
    return table.data[list(table.keys).index(get_string_id(word))].tolist()


@pytest.mark.parametrize("kind", READ)
def test_read(kind, tmp_path):
    data, rows = READ[kind]
    (tmp_path / "v.txt").write_bytes(data)
    table = read_vectors(str(tmp_path / "v.txt"))
    assert {word: row_of(table, word) for word in rows} == rows


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_the_place(kind, tmp_path):
    data, says = REFUSED[kind]
    (tmp_path / "v.txt").write_bytes(data)
    with pytest.raises(ValueError, match=rf"\[{says[:2]}.*v.txt") as error:
        read_vectors(str(tmp_path / "v.txt"))
    assert error.match(says)


@pytest.mark.parametrize("write", ["text", "binary"])
def test_as_gensim_reads_it(write, tmp_path):
    """Thousands of words: several blocks, several chunks."""
    from gensim.models import KeyedVectors

    data = numpy.random.default_rng(0).normal(size=(4_321, 50)).astype("f")
    words = [f"wörd{i}" for i in range(len(data))]
    vectors = KeyedVectors(50)
    vectors.add_vectors(words, data)
    vectors.save_word2vec_format(tmp_path / "v", binary=write == "binary")
    table = read_vectors(str(tmp_path / "v"))
    again = KeyedVectors.load_word2vec_format(tmp_path / "v", binary=write == "binary")
    assert table.keys.tolist() == [get_string_id(word) for word in again.index_to_key]
    assert (table.data == again.vectors).all()


ARRAYS = {
    "NaN": (numpy.array([[1, 2], [numpy.nan, 1]]), "T212.*row 2.*'b'"),
    "texts": (numpy.array([["1", "2"], ["3", "4"]]), "T205.*<U1"),
    "a cube": (numpy.zeros((2, 2, 2)), r"T205.*\(2, 2, 2\)"),
    "no columns": (numpy.zeros((2, 0)), "T211"),
    "objects": (numpy.array([[None, 1], [1, 1]]), "T205"),
    "complex": (numpy.zeros((2, 2), dtype="complex64"), "T205"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_beside_a_word_list(kind, tmp_path):
    data, says = ARRAYS[kind]
    numpy.save(tmp_path / "rows.npy", data, allow_pickle=True)
    (tmp_path / "words.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=says):
        read_vectors(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("w.txt", b"a\nb\nc\n", "T203.*3 words, but 2 rows"),
        ("w.txt", "a\nü\n".encode("latin1"), "T205.*w.txt"),
        ("w.json", b"[1, 2]", "T205.*strings"),
        ("w.json", b"[1, ", "T205.*w.json"),
        ("w.parquet", b"no parquet", "T205.*w.parquet"),
    ],
)
def test_word_lists(name, words, says, tmp_path):
    numpy.save(tmp_path / "rows.npy", numpy.ones((2, 2)))
    (tmp_path / name).write_bytes(words)
    with pytest.raises(ValueError, match=says):
        read_vectors(str(tmp_path))


def test_word_lists_end_lines_at_line_feeds(tmp_path):
    numpy.save(tmp_path / "rows.npy", numpy.arange(6.0).reshape(3, 2))
    (tmp_path / "w.txt").write_bytes("\ufeffa\r\nb\u2028c\r\nd\r\n".encode())
    assert read_vectors(str(tmp_path)).keys.tolist() == [get_string_id(word) for word in ("a", "b\u2028c", "d")]
    (tmp_path / "second.txt").write_text("")
    with pytest.raises(ValueError, match="T204.*second.txt.*w.txt"):
        read_vectors(str(tmp_path))


def test_several_arrays_in_one(tmp_path):
    numpy.savez(tmp_path / "rows", a=numpy.zeros(2))
    shutil.move(tmp_path / "rows.npz", tmp_path / "rows.npy")
    (tmp_path / "w.txt").write_text("a\n")
    with pytest.raises(ValueError, match="T205.*several arrays"):
        read_vectors(str(tmp_path))


def write_model2vec(folder, tiny_bert, change=lambda data: None):
    shutil.copy(f"{tiny_bert}/tokenizer.json", folder)
    tokenizer = Tokenizer.from_file(f"{tiny_bert}/tokenizer.json")
    data = numpy.random.default_rng(2).normal(size=(tokenizer.get_vocab_size(), 5)).astype("f")
    change(data)
    save_file({"embeddings": data}, folder / "model.safetensors")
    return tokenizer, data


def test_model2vec_leaves_out_unknown_pieces_unless_there_are_no_others(tmp_path, tiny_bert):
    """As Model2Vec does with texts; a word of nothing else has the unknown piece's row: zeros stand for spaces."""
    tokenizer, data = write_model2vec(tmp_path, tiny_bert)
    table = read_vectors(str(tmp_path))
    row = make_subwords(table.subwords)
    unknown = tokenizer.token_to_id("[UNK]")
    assert tokenizer.encode("愛", add_special_tokens=False).ids == [unknown]
    assert (row("愛") == data[unknown]).all() and data[unknown].any()
    assert numpy.allclose(row("ab愛"), data[tokenizer.encode("ab", add_special_tokens=False).ids].mean(axis=0))
    assert row(" ") is None or not row(" ").any()
    # What was saved without it goes on as before.
    del table.subwords["unknown"]
    assert make_subwords(table.subwords)("愛") is None


def spoil(data):
    data[7, 3] = numpy.inf


def test_model2vec_is_checked(tmp_path, tiny_bert):
    tokenizer, data = write_model2vec(tmp_path, tiny_bert, spoil)
    with pytest.raises(ValueError, match="T212.*model.safetensors.*row 8"):
        read_vectors(str(tmp_path))
    save_file({"embeddings": numpy.ones((5, 3), dtype="f")}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"T203.*{tokenizer.get_vocab_size()} words, but 5 rows"):
        read_vectors(str(tmp_path))
    write_model2vec(tmp_path, tiny_bert)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(ValueError, match="T205.*tokenizer.json"):
        read_vectors(str(tmp_path))


ENDLESS = {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated", "invert": False}


def change_tokenizer(text, **changes):
    return json.dumps({**json.loads(text), **changes})


def test_model2vec_with_a_pattern_that_has_no_end(tmp_path, tiny_bert):
    write_model2vec(tmp_path, tiny_bert)
    file = tmp_path / "tokenizer.json"
    file.write_text(change_tokenizer(file.read_text(encoding="utf8"), pre_tokenizer=ENDLESS), encoding="utf8")
    with pytest.raises(ValueError, match="T131.*regular expression"):
        read_vectors(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": 3}, "T437.*unknown kind: 3"),
        ({"kind": "glove"}, "T437.*unknown kind: 'glove'"),
        ({"data": [[1.0]]}, "T437.*'data'"),
        ({"data": numpy.ones((3, 5), "f")}, "T437.*pieces, and there are 3 rows"),
        ({"data": numpy.ones((400, 4), "f")}, r"T437.*\(400, 4\)"),
        ({"data": numpy.ones((400, 5), "i")}, "T437.*int32"),
        ({"unknown": 10**6}, "T437.*pieces"),
        ({"unknown": "x"}, "T437.*unknown"),
        ({"tokenizer": 5}, "T437.*'tokenizer'"),
        ({"tokenizer": "{}"}, "T131"),
        ({"tokenizer": None}, "T131.*regular expression"),
        ({"kind": "fasttext"}, "T437.*'min_n', 'max_n'"),
        ({"kind": "floret"}, "T437.*'data'"),
    ],
)
def test_subwords_are_checked_when_a_model_is_loaded(tmp_path, tiny_bert, changes, says):
    from .test_vectors import build

    tokenizer, _ = write_model2vec(tmp_path, tiny_bert)
    model = build(tmp_path, [spacy.blank("en")("cat")])
    if changes == {"tokenizer": None}:
        changes = {"tokenizer": change_tokenizer(tokenizer.to_str(), pre_tokenizer=ENDLESS)}
    model.layers[0].attrs["subwords"].update(changes)
    with pytest.raises(ValueError, match=says):
        build_vectors_backbone_v1(source="gone").from_bytes(model.to_bytes())


@pytest.mark.parametrize("rows", [[[1.0, numpy.nan]], [[numpy.inf, 1.0]]])
def test_vectors_of_a_spacy_pipeline_are_checked(rows, tmp_path):
    nlp = spacy.blank("en")
    nlp.vocab.set_vector("fine", numpy.ones(2, dtype="f"))
    nlp.vocab.set_vector("spoilt", numpy.array(rows[0], dtype="f"))
    nlp.to_disk(tmp_path)
    with pytest.raises(ValueError, match="T212.*'spoilt'"):
        read_vectors(str(tmp_path))


def test_finetune_needs_a_table(tmp_path, tiny_bert):
    from .test_vectors import build

    write_model2vec(tmp_path, tiny_bert)
    with pytest.raises(ValueError, match="T209.*finetune = false"):
        build(tmp_path, [spacy.blank("en")("cat")], finetune=True)


def test_extras_that_are_missing_or_do_not_import(fasttext_file, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "gensim.models.fasttext", None)
    with pytest.raises(ImportError, match=r"T207.*spacy-transfer\[vectors\]"):
        read_vectors(str(fasttext_file))
    monkeypatch.delitem(sys.modules, "gensim.models.fasttext")
    for name in [name for name in sys.modules if name.partition(".")[0] == "gensim"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "gensim").mkdir()
    (tmp_path / "gensim" / "__init__.py").write_text("from scipy.linalg import triu_of_old_scipy")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="T214.*gensim is installed.*triu_of_old_scipy"):
        read_vectors(str(fasttext_file))
