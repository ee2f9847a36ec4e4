"""Matching a teacher's rows: the loss, the teacher that stays as it is, tokens that differ."""

from collections import Counter

import numpy
import pytest
import spacy
import srsly
import torch
from safetensors.torch import load, save
from spacy.util import compile_infix_regex
from thinc.api import Model, fix_random_seed

from spacy_transfer.backbones import encode as encode_module
from spacy_transfer.backbones.cached_rows.row_cache import CacheSettings
from spacy_transfer.backbones.context import build_cnn_context_v1
from spacy_transfer.backbones.encode import encode
from spacy_transfer.backbones.hash_embed import build_hash_embed_backbone_v1
from spacy_transfer.backbones.listeners import build_listener_v1
from spacy_transfer.backbones.tok2vec import build_pipeline_backbone_v1
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.backbones.vectors.vectors import build_vectors_backbone_v1
from spacy_transfer.pretraining.objectives.match_rows import Matching, MatchRows, start_teacher

from ..pretrain import run, write_vectors

TEXTS = ["the cat sings of a dog", "", "  ", "a dog , unknown", "unknown", "big words in a long line . "]
WORDS = ["the", "a", "cat", "dog", "words", "of", "long", "line", "big", "in", "sings", ".", ","]

EMPTY = save({})


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Vectors of width 8 for some words."""
    return write_vectors(tmp_path_factory.mktemp("vectors") / "words.txt", WORDS)


def make_student(docs, width):
    """A backbone that gives random rows, and keeps the gradients that it gets."""
    rows = [numpy.random.default_rng(len(doc)).normal(size=(len(doc), width)).astype("f") for doc in docs]
    given = []

    def forward(model, docs, is_train):
        return rows, lambda d_rows: given.append([d.copy() for d in d_rows]) or docs

    return Model("student", forward, dims={"nO": width}), rows, given


def loss_by_loops(student, teacher, matching, projection=None):
    """Loss and number of units, from rows of tokens alone: a doc's row is their mean."""

    def distance(row, wanted):
        row = row if projection is None else projection[0] @ row + projection[1]
        if matching.loss == "squared":
            return sum((a - b) ** 2 for a, b in zip(row, wanted, strict=True)) / len(row)
        return 1 - row @ wanted / numpy.sqrt((row @ row) * (wanted @ wanted))

    total, count = 0.0, 0
    for ours, theirs in zip(student, teacher, strict=True):
        tokens = [distance(row, wanted) for row, wanted in zip(ours, theirs, strict=True) if wanted.any()]
        if tokens and matching.match == "tokens":
            total, count = total + sum(tokens), count + len(tokens)
        elif tokens:
            total, count = total + distance(ours.mean(axis=0), theirs.mean(axis=0)), count + 1
            total += sum(tokens) / len(tokens) if matching.match == "both" else 0
    return total, count


@pytest.mark.parametrize("width", [8, 5])
@pytest.mark.parametrize("loss", ["cosine", "squared"])
@pytest.mark.parametrize("match", ["tokens", "documents", "both"])
def test_loss_and_gradients_against_numpy(match, loss, width, vectors, nlp):
    docs, matching = [nlp.make_doc(text) for text in TEXTS], Matching(match, loss, "auto")
    student, rows, given = make_student(docs, width)
    teacher = start_teacher(build_vectors_backbone_v1(source=str(vectors), oov="zero"))
    objective = MatchRows(student, teacher, matching, CacheSettings(1))
    fix_random_seed(0)
    output = objective.make_output(objective.start(docs, None))
    measured = objective.measure(docs, output, numpy.random.default_rng(0), is_train=True)
    measured.backprop()

    wanted = [doc_rows.astype("d") for doc_rows in teacher.predict(docs)]
    ours = [doc_rows.astype("d") for doc_rows in rows]
    projection = None if output is None else [p.detach().numpy().astype("d") for p in output.parameters()]
    total, count = loss_by_loops(ours, wanted, matching, projection)
    assert (output is None) == (width == 8)
    assert measured.count == count == (16 if match == "tokens" else 3)
    assert abs(measured.total - total) <= 1e-5

    def check(array, gradient):
        for at in numpy.ndindex(array.shape):
            sides = []
            for step in (1e-5, -2e-5):
                array[at] += step
                sides.append(loss_by_loops(ours, wanted, matching, projection)[0] / count)
            array[at] += 1e-5
            assert abs((sides[0] - sides[1]) / 2e-5 - gradient[at]) <= 1e-5

    for array, gradient in zip(ours, given[0], strict=True):
        check(array, gradient)
    for array, parameter in zip(projection or [], output.parameters() if output else [], strict=True):
        check(array, parameter.grad.numpy())


def test_document_rows_of_a_transformer_are_its_own(tiny_bert, nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    student = build_transformer_backbone_v1(source=tiny_bert, window=64, document="mean")
    student.initialize()
    teacher = start_teacher(build_transformer_backbone_v1(source=tiny_bert, window=64, document="cls"))
    objective = MatchRows(student, teacher, Matching("documents", "cosine", "auto"), CacheSettings())
    found = objective.measure(docs, None, numpy.random.default_rng(0), is_train=False)
    with_tokens = [docs[i] for i in (0, 3, 4, 5)]
    a, b = (encode(model, with_tokens, False)[0].documents for model in (student, teacher))
    cosines = (a * b).sum(1) / numpy.linalg.norm(a, axis=1) / numpy.linalg.norm(b, axis=1)
    assert found.count == 4 and abs(found.mean - (1 - cosines).mean()) <= 1e-5 and found.mean > 0.01


def block(teacher, **settings):
    """[pretraining.objective] with a teacher."""
    lines = "\n".join(f'{key} = "{value}"' for key, value in settings.items())
    return f'@architectures = "spacy-transfer.MatchRows.v1"\n{lines}\n[pretraining.objective.teacher]\n{teacher}'


def bert_block(folder):
    return f'@architectures = "spacy-transfer.TransformerBackbone.v1"\nsource = "{folder}"\nwindow = 64'


def write_texts(folder, n=120):
    draw = numpy.random.default_rng(1)
    texts = {" ".join(WORDS[i] for i in draw.integers(len(WORDS), size=6)) for _ in range(n)}
    (folder / "raw.txt").write_text("\n".join(sorted(texts)))
    return sorted(texts)


@pytest.mark.parametrize("width", [16, 12])
def test_it_learns_by_spacy_pretrain(width, vectors, tiny_bert, tmp_path, monkeypatch, nlp):
    """The teacher reads each text once and stays as it is; the student comes near it; the same seed, the same bytes."""
    read, before = Counter(), {}

    def counting(model, docs, is_train):
        read.update(doc.text for doc in docs)
        before.setdefault("teacher", (model, model.to_bytes()))
        assert not is_train
        return encode(model, docs, is_train)

    texts, log = write_texts(tmp_path), tmp_path / "log.jsonl"
    backbone = f'''@architectures = "spacy-transfer.VectorsBackbone.v1"
source = "{vectors}"
[components.transfer_backbone.model.context]
@architectures = "spacy-transfer.CNNContext.v1"
width = {width}'''
    objective = block(bert_block(tiny_bert), log=log)
    monkeypatch.setattr(encode_module, "encode", counting)
    raw = tmp_path / "raw.txt"
    file = run(tmp_path / "out", raw, backbone, objective, epochs=8)
    teacher, weights = before["teacher"]
    assert read == Counter(texts) and teacher.to_bytes() == weights
    assert not any(p.grad is not None for p in teacher.shims[0]._model.parameters())
    losses = [line["held_out_loss"] for line in srsly.read_jsonl(log)]
    assert losses[8] < 0.4 * losses[0]
    saved = load(srsly.msgpack_loads(file.read_bytes())["spacy_transfer_pretraining"]["weights"] or EMPTY)
    assert {name: tuple(t.shape) for name, t in saved.items()} == (
        {} if width == 16 else {"weight": (16, 12), "bias": (16,)}
    )
    if width == 16:
        student = build_vectors_backbone_v1(source=str(vectors), context=build_cnn_context_v1(width=width))
        student.initialize()
        student.from_bytes(file.read_bytes())
        docs = [nlp.make_doc(text) for text in texts]
        a, b = (numpy.concatenate(model.predict(docs)) for model in (student, teacher))
        cosines = (a * b).sum(1) / numpy.linalg.norm(a, axis=1) / numpy.linalg.norm(b, axis=1)
        assert cosines.mean() > 1 - 0.4 * losses[0]
    files = [run(tmp_path / name, raw, backbone, objective, epochs=1) for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_cut_transformer_and_documents(tiny_bert, tmp_path):
    """The student has the first layer of the teacher. Its rows and document rows are trained at once."""
    from transformers import AutoTokenizer, BertModel

    cut = BertModel.from_pretrained(tiny_bert)
    cut.encoder.layer = cut.encoder.layer[:1]
    cut.config.num_hidden_layers = 1
    cut.save_pretrained(tmp_path / "cut")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "cut")
    write_texts(tmp_path, 60)
    log = tmp_path / "log.jsonl"
    objective = block(bert_block(tiny_bert), match="both", loss="squared", log=log)
    run(tmp_path / "out", tmp_path / "raw.txt", bert_block(tmp_path / "cut"), objective, epochs=3)
    losses = [line["held_out_loss"] for line in srsly.read_jsonl(log)]
    assert losses[3] < 0.7 * losses[0]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, tiny_bert):
    """Folder of a pipeline with a backbone, whose tokenizer leaves hyphens alone."""
    nlp = spacy.blank("en")
    nlp.tokenizer.infix_finditer = compile_infix_regex(["~"]).finditer
    source = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": tiny_bert, "window": 64}
    nlp.add_pipe("transfer_backbone", config={"model": source})
    nlp.initialize()
    folder = tmp_path_factory.mktemp("pipeline")
    nlp.to_disk(folder)
    return folder


def test_the_tokens_of_a_pipeline(pipeline, tiny_bert, nlp):
    teacher = start_teacher(build_pipeline_backbone_v1(source=str(pipeline)))
    student = build_transformer_backbone_v1(source=tiny_bert, window=64)
    student.initialize()
    objective = MatchRows(student, teacher, Matching("tokens", "cosine", "auto"), CacheSettings(1))
    docs = [nlp.make_doc("the same tokens ."), nlp.make_doc("")]
    # A text that was cut between two tokens: what its first and last words were cannot be known.
    docs.append(nlp.make_doc("well-known words of so-called cats")[2:7].as_doc())
    assert [t.text for t in docs[2]] == ["known", "words", "of", "so", "-"]
    found = objective.measure(docs, None, numpy.random.default_rng(0), is_train=False)
    assert found.count == 9 and abs(found.mean) <= 1e-5
    for text in ("a well-known word", "the so-called cats sing"):
        with pytest.raises(ValueError, match=r"T852.*\['(well-known|so-called)'.*\['(well|so)', '-'.*nlp.tokenizer"):
            objective.measure([nlp.make_doc(text)], None, numpy.random.default_rng(0), is_train=True)


def test_teachers_that_are_refused(vectors, tiny_bert):
    for teacher in (
        build_hash_embed_backbone_v1(),
        build_vectors_backbone_v1(source=str(vectors), context=build_cnn_context_v1()),
        build_listener_v1(),
    ):
        with pytest.raises(ValueError, match="T853.*PipelineBackbone"):
            start_teacher(teacher)
    with pytest.raises(ValueError, match=r"T100.*no/such/teacher"):
        start_teacher(build_transformer_backbone_v1(source="/no/such/teacher"))
    student, _, _ = make_student([], 8)
    teacher = start_teacher(build_vectors_backbone_v1(source=str(vectors)))
    objective = MatchRows(student, teacher, Matching("tokens", "cosine", "always"), CacheSettings())
    assert isinstance(objective.make_output({"width": 8}), torch.nn.Linear)
    with pytest.raises(ValueError, match="T854.*width 300.*width 8"):
        objective.make_output({"width": 300})
