"""Labels of trained components change: what stays is bit-identical, what goes is gone, and training goes on.

Guards also: component_rows.py, rows.py.
"""

from importlib.util import find_spec

import numpy
import pytest
import spacy
from spacy.training import Example
from thinc.api import Adam

import spacy_transfer
from spacy_transfer.pipeline.labels.component_rows import label_rows, rows_of_kind

from ...pipelines import LISTENER, NER, PARSER, TAGGER, TEXTCAT, backbone_config

TEXTS = ["a cat sings", "the dog sings", "a car drives", "the car stops", "big cat here", "cars here"]
HEAD = {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER}
LOWER = {**NER, "use_upper": False}
BOW = {
    "@architectures": "spacy.TextCatBOW.v3",
    "exclusive_classes": True,
    "ngram_size": 1,
    "no_output_layer": False,
    "length": 256,
}
ATTENTION = {"@architectures": "spacy.TextCatParametricAttention.v1", "exclusive_classes": True, "tok2vec": LISTENER}
ENSEMBLE = {"@architectures": "spacy.TextCatEnsemble.v2", "tok2vec": LISTENER, "linear_model": BOW}
CASES = {
    "transfer_textcat": ("transfer_textcat", HEAD),
    "transfer_hidden": ("transfer_textcat", {**HEAD, "hidden": [5], "pooling": ["mean", "attention"]}),
    "transfer_multilabel": ("transfer_textcat_multilabel", {**HEAD, "exclusive_classes": False}),
    "textcat": ("textcat", TEXTCAT),
    "textcat_bow": ("textcat", BOW),
    "textcat_attention": ("textcat", ATTENTION),
    "textcat_multilabel": ("textcat_multilabel", {**TEXTCAT, "exclusive_classes": False}),
    "attention_multilabel": ("textcat_multilabel", {**ATTENTION, "exclusive_classes": False}),
    "tagger": ("tagger", TAGGER),
    "ner_upper": ("ner", NER),
    "ner_lower": ("ner", LOWER),
}
if find_spec("spacy_transfer.pipeline.heads.ner"):
    TOKEN = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER}
    CASES |= {
        f"{factory}_{decoder}": (factory, {**TOKEN, "decoder": decoder})
        for factory in ("transfer_ner", "transfer_tagger")
        for decoder in ("crf", "softmax")
    }
FIRST, SECOND, THIRD = "A", "B", "C"


def gold(doc, labels=(FIRST, SECOND, THIRD)):
    """Labels by the letters that words begin with, for every kind of component."""
    which = {"c": 0, "d": 1, "s": 2, "t": 2, "a": 1, "b": 1, "h": 0}
    each = [labels[which[token.lower_[0]] % len(labels)] for token in doc]
    ents = [(t.idx, t.idx + len(t), label) for t, label in zip(doc, each, strict=True) if t.lower_[0] in "cds"]
    return {"cats": {label: float(each[-1] == label) for label in labels}, "tags": each, "entities": ents}


def make(case, tiny_bert, *, labels=(FIRST, SECOND, THIRD), steps=6, init=None, model=None, frozen=True, **config):
    factory, default = CASES[case]
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": frozen})
    nlp.add_pipe(factory, name="head", config={"model": model or default, **config})
    nlp.config["initialize"]["components"]["head"] = init or {}
    examples = [Example.from_dict(nlp.make_doc(text), gold(nlp.make_doc(text), labels)) for text in TEXTS]
    nlp.initialize(lambda: examples)
    train(nlp, examples, steps)
    return nlp, examples


def train(nlp, examples, steps, rate=0.05, optimizer=None):
    optimizer = optimizer or Adam(rate, L2=0.0)
    for _ in range(steps):
        nlp.update(examples, sgd=False)
        for _, pipe in nlp.pipeline:
            if hasattr(pipe, "finish_update"):
                pipe.finish_update(optimizer)
        optimizer.step_schedules()  # As `spacy train` does: here ours make the step.
    return optimizer


def params(nlp):
    """Every row of weights by its name, as bytes; and the logits of the rows by name, where they are linear."""
    rows = label_rows("head", nlp.get_pipe("head"))
    found = rows.read()
    axes = {"W": 1, "b": 0, "pad": 2} if found[0]["W"].ndim == 4 else {"W": 0, "b": 0}
    out = {}
    for i, name in enumerate(rows.rows):
        arrays = {
            key: array.reshape(len(rows.rows), -1) if array.ndim == 1 else array for key, array in found[0].items()
        }
        out[name] = b"".join(numpy.take(arrays[key], i, axis=axes[key]).tobytes() for key in sorted(axes))
    return out


def scores(nlp):
    """What the last layer says of each row, before any softmax."""
    rows = label_rows("head", nlp.get_pipe("head"))
    seen, node = [], rows.output()
    forward = node._func

    def spy(model, X, is_train):
        Y, back = forward(model, X, is_train)
        seen.append((X, Y))
        return Y, back

    node._func = spy
    try:
        list(nlp.pipe(TEXTS))
    finally:
        node._func = forward
    return rows.rows, seen


def logits(nlp):
    """Logits of every row over TEXTS, from its weights and what the layer reads."""
    names, seen = scores(nlp)
    node = label_rows("head", nlp.get_pipe("head")).output()
    W, b = node.get_param("W"), node.get_param("b")
    X = numpy.concatenate([numpy.asarray(X) for X, _ in seen])
    return {name: X @ W[i] + b[i] for i, name in enumerate(names)}


def predictions(nlp, texts=TEXTS):
    return [
        (doc.cats, [token.tag_ for token in doc], [(ent.text, ent.label_) for ent in doc.ents])
        for doc in nlp.pipe(texts)
    ]


def reload(nlp, folder):
    nlp.to_disk(folder)
    return spacy.load(folder)


def of(label, rows):
    """The rows of a label."""
    return {name for name in rows if name == label or name.endswith(f"-{label}")}


LINEAR = [case for case in CASES if case not in ("textcat_bow", "ner_lower", "ner_upper")]


@pytest.mark.parametrize("case", CASES)
def test_add_remove_and_rename(case, tiny_bert, tmp_path):
    nlp, examples = make(case, tiny_bert)
    before, said = params(nlp), logits(nlp) if case in LINEAR else None
    predicted = predictions(nlp)
    plan = spacy_transfer.add_labels(nlp, "head", ["N1", "N2"])
    assert plan.new == ("N1", "N2")
    after = params(nlp)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == of("N1", after) | of("N2", after) != set()
    if said:
        now = logits(nlp)
        for name in said:
            numpy.testing.assert_allclose(now[name], said[name], atol=1e-6)
    assert predictions(reload(nlp, tmp_path / "added")) == predictions(nlp)

    spacy_transfer.remove_labels(nlp, "head", ["N1", "N2"])
    assert params(nlp) == before
    assert [(t, e) for _, t, e in predictions(nlp)] == [(t, e) for _, t, e in predicted]

    spacy_transfer.rename_labels(nlp, "head", {FIRST: "ZZ", SECOND: FIRST})
    renamed, names = params(nlp), {FIRST: "ZZ", SECOND: FIRST}
    assert set(nlp.get_pipe("head").labels) == {"ZZ", FIRST, THIRD}
    for name, row in before.items():
        prefix, dash, label = name.rpartition("-")
        assert renamed[f"{prefix}{dash}{names.get(label, label)}"] == row, name
    for (_, tags, ents), (_, new_tags, new_ents) in zip(predicted, predictions(nlp), strict=True):
        assert new_tags == [names.get(tag, tag) for tag in tags]
        assert new_ents == [(text, names.get(label, label)) for text, label in ents]
    loaded = reload(nlp, tmp_path / "renamed")
    assert predictions(loaded) == predictions(nlp) and params(loaded) == renamed

    spacy_transfer.remove_labels(nlp, "head", "ZZ")
    fewer = params(nlp)
    assert fewer == {name: row for name, row in renamed.items() if name not in of("ZZ", renamed)}
    assert set(nlp.get_pipe("head").labels) == {FIRST, THIRD}
    assert predictions(reload(nlp, tmp_path / "removed")) == predictions(nlp)


@pytest.mark.parametrize("case", [case for case in CASES if case != "ner_lower"])
def test_merge(case, tiny_bert, tmp_path):
    nlp, _ = make(case, tiny_bert)
    before = params(nlp)
    spacy_transfer.merge_labels(nlp, "head", [SECOND, FIRST], "M")
    after = params(nlp)
    still = set(before) - of(FIRST, before) - of(SECOND, before)
    assert {name: after[name] for name in still} == {name: before[name] for name in still}
    assert set(nlp.get_pipe("head").labels) == {"M", THIRD}
    assert set(after) == still | of("M", after) and of("M", after)
    assert predictions(reload(nlp, tmp_path)) == predictions(nlp)


@pytest.mark.parametrize("case", CASES)
def test_training_goes_on_and_learns_the_new_label(case, tiny_bert, tmp_path):
    """With the optimizer that was at work before: its moments of other shapes are no stumbling block."""
    nlp, examples = make(case, tiny_bert, labels=(FIRST, SECOND), steps=2)
    optimizer = train(nlp, examples, 2)
    spacy_transfer.add_labels(nlp, "head", THIRD)
    three = [Example.from_dict(nlp.make_doc(text), gold(nlp.make_doc(text))) for text in TEXTS]
    train(nlp, three, 80, optimizer=optimizer)
    loaded = reload(nlp, tmp_path)
    for (cats, tags, ents), example in zip(predictions(loaded), three, strict=True):
        wanted = example.reference
        if tags[0]:
            assert tags == [token.tag_ for token in wanted]
        elif cats:
            assert max(cats, key=cats.get) == max(wanted.cats, key=wanted.cats.get)
        else:
            assert ents == [(ent.text, ent.label_) for ent in wanted.ents]
    assert THIRD in str(predictions(loaded))


def test_an_unseen_label_is_not_predicted(tiny_bert):
    nlp, _ = make("ner_upper", tiny_bert, steps=0)
    spacy_transfer.add_labels(nlp, "head", "N")
    pipe = nlp.get_pipe("head")
    names = label_rows("head", pipe).rows
    # Nothing has been trained, so the three old labels are those of `initialize`: all of them may come.
    assert {names[i] for i in pipe.model.attrs["unseen_classes"]} == of("N", names)
    spacy_transfer.remove_labels(nlp, "head", FIRST)
    names = label_rows("head", pipe).rows
    assert {names[i] for i in pipe.model.attrs["unseen_classes"]} == of("N", names)


def test_settings_go_with_their_labels(tiny_bert, tmp_path):
    weights = {FIRST: 1.0, SECOND: 2.0, THIRD: 3.0}
    init = {"labels": [FIRST, SECOND, THIRD]}
    nlp, _ = make("transfer_textcat", tiny_bert, class_weights=weights, init=init, steps=1)
    spacy_transfer.rename_labels(nlp, "head", {SECOND: "S"})
    spacy_transfer.remove_labels(nlp, "head", FIRST)
    spacy_transfer.add_labels(nlp, "head", "N")
    pipe, block = nlp.get_pipe("head"), nlp.config["components"]["head"]
    assert pipe.cfg["weights"] == [2.0, 3.0, 1.0] and pipe.cfg["labels"] == ["S", THIRD, "N"]
    assert pipe.cfg["class_weights"] == block["class_weights"] == {"S": 2.0, THIRD: 3.0, "N": 1.0}
    assert nlp.config["initialize"]["components"]["head"]["labels"] == ["S", THIRD, "N"]
    loaded = reload(nlp, tmp_path)
    assert loaded.config["components"]["head"]["class_weights"] == block["class_weights"]
    assert loaded.get_pipe("head").cfg == pipe.cfg and all(label in loaded.vocab.strings for label in ("S", "N"))
    examples = [Example.from_dict(loaded.make_doc("a cat"), {"cats": {"S": 1.0, THIRD: 0.0, "N": 0.0}})]
    loaded.initialize(lambda: examples)
    assert loaded.get_pipe("head").labels == ("S", THIRD, "N")


def test_positive_label(tiny_bert):
    init = {"positive_label": SECOND}
    nlp, _ = make("transfer_textcat", tiny_bert, labels=(FIRST, SECOND), init=init, steps=1)
    spacy_transfer.rename_labels(nlp, "head", {SECOND: "S"})
    assert nlp.get_pipe("head").cfg["positive_label"] == "S"
    assert nlp.config["initialize"]["components"]["head"]["positive_label"] == "S"
    spacy_transfer.add_labels(nlp, "head", "N")
    assert nlp.get_pipe("head").cfg["positive_label"] is None
    assert nlp.config["initialize"]["components"]["head"]["positive_label"] is None


def test_number_of_labels_in_the_config(tiny_bert, tmp_path):
    nlp, _ = make("transfer_textcat", tiny_bert, model={**HEAD, "nO": 3}, steps=1)
    spacy_transfer.add_labels(nlp, "head", "N")
    assert nlp.config["components"]["head"]["model"]["nO"] == 4
    assert predictions(reload(nlp, tmp_path)) == predictions(nlp)


def test_a_whole_label_set(tiny_bert):
    nlp, _ = make("transfer_textcat", tiny_bert)
    before = params(nlp)
    plan = spacy_transfer.set_labels(nlp, "head", ["N", THIRD, "S"], {SECOND: "S"})
    after = params(nlp)
    assert after[THIRD] == before[THIRD] and after["S"] == before[SECOND] and plan.dropped == (FIRST,)
    assert nlp.get_pipe("head").labels == ("N", THIRD, "S")


@pytest.mark.parametrize(
    ("case", "change", "says"),
    [
        ("transfer_textcat", lambda nlp: spacy_transfer.add_labels(nlp, "heed", "N"), "T371.*'heed'.*'head'"),
        ("transfer_textcat", lambda nlp: spacy_transfer.add_labels(nlp, "transfer_backbone", "N"), "T368.*Backbone"),
        ("transfer_textcat", lambda nlp: spacy_transfer.remove_labels(nlp, "head", [FIRST, SECOND]), "T370"),
        ("tagger", lambda nlp: spacy_transfer.remove_labels(nlp, "head", [FIRST, SECOND, THIRD]), "T370"),
        ("ner_lower", lambda nlp: spacy_transfer.merge_labels(nlp, "head", [FIRST, SECOND], "M"), "T367"),
        ("ensemble", lambda nlp: spacy_transfer.add_labels(nlp, "head", "N"), "T366"),
        ("parser", lambda nlp: spacy_transfer.add_labels(nlp, "head", "N"), "T368.*DependencyParser"),
        ("morphologizer", lambda nlp: spacy_transfer.add_labels(nlp, "head", "N"), "T368.*Morphologizer"),
    ],
)
def test_what_cannot_be_is_said_before_anything_moves(case, change, says, tiny_bert, monkeypatch):
    monkeypatch.setitem(CASES, "ensemble", ("textcat", ENSEMBLE))
    monkeypatch.setitem(CASES, "parser", ("parser", PARSER))
    monkeypatch.setitem(CASES, "morphologizer", ("morphologizer", TAGGER))
    if case in ("parser", "morphologizer"):
        nlp = spacy.blank("en")
        nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
        nlp.add_pipe(CASES[case][0], name="head", config={"model": CASES[case][1]})
    else:
        nlp, _ = make(case, tiny_bert, steps=1)
    before = nlp.get_pipe("head").model.to_bytes() if case != "parser" else b""
    with pytest.raises(ValueError, match=says):
        change(nlp)
    assert case == "parser" or nlp.get_pipe("head").model.to_bytes() == before


def test_without_weights(tiny_bert):
    nlp = spacy.blank("en")
    nlp.add_pipe("textcat").add_label("x")
    with pytest.raises(ValueError, match="T369|T366"):
        spacy_transfer.add_labels(nlp, "textcat", "y")
    nlp.add_pipe("tagger").add_label("x")
    with pytest.raises(ValueError, match="T369.*initialize"):
        spacy_transfer.add_labels(nlp, "tagger", "y")


def test_functions_are_found_without_anything_heavy():
    assert set(spacy_transfer.__all__) <= set(dir(spacy_transfer))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        spacy_transfer.nothing  # noqa: B018
    import subprocess
    import sys

    code = "import sys, spacy_transfer; print(sorted({'spacy', 'torch', 'thinc', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("factory", "model", "has_rows"),
    [("tagger", TAGGER, True), ("textcat", TEXTCAT, True), ("textcat", ENSEMBLE, False), ("parser", PARSER, False)],
)
def test_whether_a_component_has_rows_of_labels_is_asked_without_an_error(tiny_bert, factory, model, has_rows):
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    pipe = nlp.add_pipe(factory, name="head", config={"model": model})
    rows = rows_of_kind("head", pipe)
    assert (rows is not None and rows.find_output() is not None) is has_rows
    assert rows_of_kind("transfer_backbone", nlp.get_pipe("transfer_backbone")) is None
    assert rows_of_kind("function", lambda doc: doc) is None
