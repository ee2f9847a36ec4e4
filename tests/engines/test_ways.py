"""Ways to run a pipeline: which are tried, what they lose, which is best.

Guards also: measure.py.
"""

import re

import numpy
import pytest
from spacy.tokens import DocBin

from spacy_transfer.engines import ways as module
from spacy_transfer.engines.exports import export_onnx, find_encoder
from spacy_transfer.engines.measure import Loss, Scores
from spacy_transfer.engines.ways import AS_IT_IS, Cut, Measuring, Students, Tried, Way, speed_up, ways_for, worst_parts

from ..pipelines import make_pipeline

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
NAME = "transfer_backbone"


def try_ways(nlp, pipeline, path, *, max_loss=0.3, ways=(), cut=None, **measuring):
    settings = {"max_loss": max_loss, "ways": ways, "measuring": Measuring(**measuring)}
    return speed_up(nlp, pipeline, path, cut=cut or Cut(), **settings)


@pytest.fixture(scope="module")
def trained(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ("textcat",))
    for _ in range(20):
        nlp.update(examples, sgd=False)
        for pipe in (NAME, "textcat"):
            nlp.get_pipe(pipe).finish_update(optimizer)
    nlp.config["training"]["score_weights"] = {"cats_score": 1.0}
    return nlp


@pytest.fixture(scope="module")
def data(trained, tmp_path_factory):
    """Texts whose label is what the pipeline says, but for every fifth."""
    docs = []
    for i in range(40):
        doc = trained(" ".join(["a", "dog", "sees", "cats", "the", "big"][: 1 + i % 6] * (1 + i % 3)))
        best = max(doc.cats, key=doc.cats.get)
        doc.cats = {label: float((label == best) == bool(i % 5)) for label in doc.cats}
        docs.append(doc)
    path = tmp_path_factory.mktemp("ways") / "dev.spacy"
    DocBin(docs=docs).to_disk(path)
    return path


def test_losses_are_those_of_the_scores_with_an_interval(trained, data):
    scores = Scores(trained, data, most_loss=0.3, least=10, resamples=20)
    assert scores.keys == ["cats_score"] and 0.5 < scores.before["cats_score"] < 1
    same = scores.losses(trained)[0]
    assert (same.points, same.low, same.high) == (0, 0, 0)
    other = make_other(trained)
    loss = scores.losses(other)[0]
    assert loss.points == pytest.approx(100 * (scores.before["cats_score"] - loss.after))
    assert loss.points > 0
    # The bootstrap, once more by hand.
    examples, others = (scores._predict(nlp) for nlp in (trained, other))
    random, found = numpy.random.default_rng(0), []
    for _ in range(20):
        drawn = random.integers(40, size=40)
        before, after = (
            nlp.get_pipe("textcat").score([given[i] for i in drawn])["cats_score"]
            for nlp, given in ((trained, examples), (other, others))
        )
        found.append(100 * (before - after))
    assert loss.high - loss.low == pytest.approx(2 * 1.96 * numpy.std(found, ddof=1))
    assert (loss.high + loss.low) / 2 == pytest.approx(loss.points)


def make_other(nlp):
    """The same pipeline with its labels the other way round."""
    other = nlp.from_config(nlp.config).from_bytes(nlp.to_bytes())
    output = next(node for node in other.get_pipe("textcat").model.walk() if node.has_param("b"))
    for name in ("W", "b"):
        output.set_param(name, -output.get_param(name))
    return other


def test_what_cannot_be_tried_has_a_reason(trained, monkeypatch):
    name, shim = find_encoder(trained, "")
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: False)

    def reasons(seconds=0):
        return {way.name: way.reason for way in ways_for(trained, name, shim, "", Students(trained, name, 1, seconds))}

    assert reasons(1)["1-layers-bf16"] == "processor has no bf16 (AVX512_BF16 or AMX)"
    found = reasons()
    assert found.pop("bf16") == "processor has no bf16 (AVX512_BF16 or AMX)"
    lacks_time = "it takes training: give --train-minutes"
    cut = dict.fromkeys(["1-layers", "1-layers-bf16", "1-layers-onnx-int8"], lacks_time)
    assert found == {"onnx-fp32": "", "onnx-int8": "", **cut}
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda package: None)
    lacks = "onnx and onnxruntime not installed: pip install 'spacy-transfer[onnx]'"
    assert {reason for key, reason in reasons(1).items() if "onnx" in key} == {lacks}


def test_all_ways_are_measured_and_the_fastest_that_fits_is_best(trained, data, monkeypatch):
    monkeypatch.setattr(module, "words_per_second", speeds(AS_IT_IS, "onnx-fp32", "onnx-int8"))
    report = try_ways(trained, "original", data, max_loss=0.3, resamples=5, least=10)
    assert [one.name for one in report.tried][0] == AS_IT_IS and "onnx-int8" in [one.name for one in report.tried]
    assert report.best is max((one for one in report.tried if one.loss <= 0.3), key=lambda one: one.speed)
    assert report.best.loss <= 0.3 and report.best.name != AS_IT_IS
    shim = report.best.nlp.get_pipe(NAME).model.shims[0]
    assert shim.settings.original == "original"


def speeds(*names):
    """Later names are faster; bf16, which not every processor has, is slowest."""
    order = ["bf16", "1-layers-bf16", *names]
    return lambda pipelines, texts, rounds: {name: 1.0 + order.index(name) for name in pipelines}


def test_a_way_that_is_slower_is_not_best(trained, data, monkeypatch):
    monkeypatch.setattr(module, "words_per_second", speeds("onnx-fp32", AS_IT_IS))
    assert try_ways(trained, "original", data, ways=["onnx-fp32"], resamples=5, least=10).best is None


def test_parts_are_kept_worst_first_until_the_loss_fits():
    made = []

    def make(kept):
        made.append(list(kept))
        return len(kept)

    class Fake:
        def losses(self, n_kept):
            return [Loss("cats_score", 0.9, 0.9 - 0.01 * max(0, 3 - n_kept), 0, 0)]

    parts = [f"part {i}" for i in range(6)]
    way = Way("onnx-int8", "", make, lambda texts: parts)
    found = module._try(way, Fake(), [], 0.3)
    assert made == [[], parts[:1], parts[:2], parts[:4]]
    assert found.kept == parts[:4] and found.loss == 0
    # Where nothing helps, the way stands in the table as it is without them.
    found = module._try(way, Fake(), [], -1.0)
    assert found.kept == [] and found.loss == pytest.approx(3)
    assert Tried("x", None, [], []).loss == 0


def test_the_worst_part_is_the_one_that_changes_rows_most(trained):
    name, shim = find_encoder(trained, "")
    parts = module.parts_of(shim.encoder.transformer)
    texts = ["a dog sees cats", "the big cat"]
    found = worst_parts(trained, name, parts, texts)
    docs = [trained.make_doc(text) for text in texts]
    wanted = numpy.concatenate(trained.get_pipe(name).predict(docs).rows)
    error = [
        numpy.square(numpy.concatenate(export_onnx(trained, name, "", [p]).get_pipe(name).predict(docs).rows) - wanted)
        for p in found
    ]
    assert sorted(found) == sorted(parts)
    assert [e.mean() for e in error] == sorted((e.mean() for e in error), reverse=True)


def test_a_student_in_int8_keeps_parts_as_well(trained):
    name, shim = find_encoder(trained, "")
    students = Students(trained, name, 1, 1)
    students.student = student = module.with_settings(trained, name, depth=1)
    way = ways_for(trained, name, shim, "", students)[-1]
    found = way.parts(["a dog sees cats", "the big cat"])
    lower = ["layer 0 attention", "layer 0 feed-forward"]
    assert way.name == "1-layers-onnx-int8" and sorted(found) == lower
    docs = [trained.make_doc("a dog sees cats")]

    def rows(nlp):
        return numpy.concatenate(nlp.get_pipe(name).predict(docs).rows)

    for kept in ([], found[:1]):
        int8 = [part for part in lower if part not in kept]
        assert (rows(way.make(kept)) == rows(export_onnx(student, name, "", int8))).all()
    assert (rows(way.make(found[:1])) != rows(way.make([]))).any()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"least": 41}, r"T275.*40 texts.*at least 41"),
        ({"least": 21, "cut": Cut(1)}, r"T282.*40 texts, of which half are trained on.*--train-texts.*42 texts"),
        ({"ways": ["openvino"]}, r"T281.*openvino.*onnx-int8"),
        ({"cut": Cut(layers=2)}, r"T474.*--layers 2.*has 2 layers"),
        ({"cut": Cut(layers=0)}, r"T474"),
        ({"ways": ["bf16"]}, r"T277.*bf16.*no bf16"),
    ],
)
def test_bad_input(trained, data, settings, says, monkeypatch):
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: False)
    with pytest.raises(ValueError, match=re.compile(says)):
        try_ways(trained, "x", data, **{"least": 10, "resamples": 2, **settings})


def test_texts_without_labels(trained, tmp_path):
    DocBin(docs=[trained.make_doc("a dog")] * 12).to_disk(tmp_path / "raw.spacy")
    with pytest.raises(ValueError, match="T280"):
        try_ways(trained, "x", tmp_path / "raw.spacy", least=10, resamples=2)


def test_a_student_is_measured_on_texts_that_it_did_not_see(trained, data, monkeypatch):
    seen = []

    def distil(nlp, name, depth, texts, seconds):
        seen.extend([depth, seconds, texts])
        return module.with_settings(nlp, name, depth=depth)

    monkeypatch.setattr(module, "cut_and_distil", distil)
    monkeypatch.setattr(module, "words_per_second", speeds(AS_IT_IS, "1-layers", "1-layers-onnx-int8"))
    ways = ["1-layers", "1-layers-onnx-int8"]
    report = try_ways(trained, "x", data, ways=ways, cut=Cut(0.5), max_loss=100, resamples=2, least=10)
    assert seen[:2] == [1, 30.0] and len(seen[2]) == 20 and report.best.name == "1-layers-onnx-int8"
    scores = Scores(trained, data, most_loss=0, least=10, resamples=2, is_half=True)
    assert scores.others == seen[2] and len(scores.texts) == 20


def test_where_labels_come_in_turn_both_halves_have_all(trained, tmp_path):
    docs = []
    for i in range(40):
        doc = trained.make_doc(f"a dog {i}" if i % 2 else f"the cat {i}")
        doc.cats = {label: float(j == i % 2) for j, label in enumerate(trained.get_pipe("textcat").labels)}
        docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    one, other = (
        Scores(trained, tmp_path / "dev.spacy", most_loss=0, least=10, resamples=2, is_half=True) for _ in "ab"
    )
    assert one.others == other.others and sorted(one.texts + one.others) == sorted(doc.text for doc in docs)
    for texts in (one.texts, one.others):
        assert len(texts) == 20 and 5 < sum("dog" in text for text in texts) < 15
    assert [example.reference.text for example in one._predict(trained)] == one.texts


def test_with_texts_of_its_own_a_student_leaves_all_others_to_measure_on(trained, data, tmp_path, monkeypatch):
    seen, measured = [], []

    def distil(nlp, name, depth, texts, seconds):
        seen.extend([depth, texts])
        return module.with_settings(nlp, name, depth=depth)

    monkeypatch.setattr(module, "cut_and_distil", distil)
    monkeypatch.setattr(
        module, "words_per_second", lambda nlps, texts, n: measured.append(texts) or dict.fromkeys(nlps, 1)
    )
    (tmp_path / "raw.txt").write_text("a dog\nthe cat\n")
    settings = {"cut": Cut(0.5, tmp_path / "raw.txt", 1), "resamples": 2, "least": 10}
    try_ways(trained, "x", data, ways=["1-layers"], **settings)
    assert seen == [1, ["a dog", "the cat"]] and len(measured[0]) == 40
