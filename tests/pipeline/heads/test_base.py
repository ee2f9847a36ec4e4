"""What all heads share: what they may not learn from costs exactly nothing, a task has a weight, rows stay."""

from types import SimpleNamespace

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam

import spacy_transfer
from spacy_transfer.corpora.example_info import note_origin

from ...pipelines import LISTENER, backbone_config, step

WORDS = "cat dog car bird".split()
STOCK = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96, "upstream": "*"}
ENCODE = {"@architectures": "spacy.MaxoutWindowEncoder.v2", "width": 96, "depth": 1, "window_size": 1}
NESTED = {"@architectures": "spacy.Tok2Vec.v2", "embed": STOCK, "encode": {**ENCODE, "maxout_pieces": 2}}
TOKEN = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER}
CRF, SOFTMAX = {**TOKEN, "decoder": "crf"}, {**TOKEN, "decoder": "softmax"}
BALANCED = {"class_weights": "balanced", "label_smoothing": 0.1, "focal": 1.0}
CASES = {
    "textcat": ("transfer_textcat", {}),
    "textcat_balanced": ("transfer_textcat", BALANCED),
    "multilabel": ("transfer_textcat_multilabel", BALANCED),
    "ner_crf": ("transfer_ner", {"model": CRF, "incorrect_spans_key": "wrong"}),
    "ner_softmax": ("transfer_ner", {"model": SOFTMAX, "scheme": "biluo", "incorrect_spans_key": "wrong"}),
    "tagger_softmax": ("transfer_tagger", {"model": SOFTMAX, "label_smoothing": 0.1}),
    "tagger_crf": ("transfer_tagger", {"model": CRF}),
    "regressor": ("transfer_regressor", {}),
    "regressor_huber": ("transfer_regressor", {"loss": "huber", "delta": 0.5}),
    "regressor_pearson": ("transfer_regressor", {"loss": "pearson"}),
    "regressor_spans": ("transfer_regressor", {"spans_key": "sc"}),
}


@pytest.fixture(autouse=True)
def extensions():
    yield
    for kind in (Doc, Span):
        if kind.has_extension("score"):
            kind.remove_extension("score")


def gold(nlp, text):
    """Labels for every head, by the place of words among WORDS."""
    doc = nlp.make_doc(text)
    animals = [i for i, token in enumerate(doc) if token.text in WORDS]
    doc.set_ents([Span(doc, i, i + 1, "BC"[WORDS.index(doc[i].text) % 2]) for i in animals])
    for token in doc:
        token.tag_ = token.text[0]
    first = WORDS.index(doc[animals[0]].text)
    doc.cats = {"x": float(first % 2), "y": float(first % 2 == 0)}
    doc.spans["sc"] = [Span(doc, i, i + 1) for i in animals]
    doc.spans["wrong"] = [Span(doc, animals[0], len(doc), "B")] if animals[0] + 1 < len(doc) else []
    if Doc.has_extension("score"):
        doc._.score = float(first) + len(doc) / 7
    for place in doc.spans["sc"] if Span.has_extension("score") else ():
        place._.score = float(WORDS.index(place.text)) + len(doc) / 5
    return Example(nlp.make_doc(text), doc)


def foreign(nlp, text):
    """Labels of other tasks, which these heads would refuse."""
    doc = nlp.make_doc(text)
    doc.set_ents([Span(doc, 0, 1, "UNKNOWN")])
    for token in doc:
        token.tag_ = "UNKNOWN"
    doc.cats = {"x": 7.0, "y": 1.0, "unknown": 1.0}
    doc.spans["sc"] = [Span(doc, 0, 1), Span(doc, 0, len(doc))]
    doc.spans["wrong"] = [Span(doc, 0, 1, "B")]
    for place in (doc, *doc.spans["sc"]):
        if type(place).has_extension("score"):
            place._.set("score", "not a number")
    note_origin(doc, "elsewhere", trains=["somebody_else"])
    return Example(nlp.make_doc(text), doc)


TEXTS = ["a cat and a dog", "the bird sings", "car", "dog cat car", "my bird"]


def blank(case, tiny_bert, frozen=False, **model):
    factory, config = CASES[case]
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": frozen})
    if model:
        config = {**config, "model": {**config["model"], **model}}
    pipe = nlp.add_pipe(factory, name="head", config=config)
    return nlp, pipe, [gold(nlp, text) for text in TEXTS]


def pipeline(case, tiny_bert, frozen=False, **model):
    """Initialised, with random weights in all its layers."""
    nlp, pipe, examples = blank(case, tiny_bert, frozen, **model)
    nlp.initialize(lambda: examples)
    rng = numpy.random.default_rng(1)
    for node in pipe.model.walk():
        for name in node.param_names:
            if node.has_param(name):
                node.set_param(name, rng.normal(size=node.get_param(name).shape).astype("f"))
    return nlp, pipe, examples


def learn(nlp, pipe, examples):
    """Loss, gradients of the head's own parameters, and what it sends to the backbone: None for nothing."""
    backbone, sent = nlp.get_pipe("transfer_backbone"), []
    backbone.update(examples)
    keep = lambda head, d_rows: sent.append([rows.copy() for rows in d_rows]) or []  # noqa: E731
    backbone.rows.batch.gradients = SimpleNamespace(mark_read=list, add_rows=keep, add_documents=keep)
    for node in pipe.model.walk():
        for name in node.grad_names:
            node.set_grad(name, numpy.zeros_like(node.get_grad(name)))
    losses = pipe.update(examples)
    grads = [node.get_grad(name).copy() for node in pipe.model.walk() for name in node.grad_names]
    return losses["head"], grads, sent[0] if sent else None


@pytest.mark.parametrize("case", CASES)
def test_what_trains_others_costs_nothing(case, tiny_bert):
    nlp, pipe, examples = pipeline(case, tiny_bert)
    mixed = [foreign(nlp, "of others"), *examples[:2], foreign(nlp, "cat"), *examples[2:], foreign(nlp, "the end")]
    loss, grads, sent = learn(nlp, pipe, mixed)
    alone, own, sent_alone = learn(nlp, pipe, examples)
    assert loss == pytest.approx(alone, rel=1e-5) and alone > 0.1
    assert len(grads) == len(own)
    for ours, theirs in zip(grads, own, strict=True):
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    strangers = [0, 3, len(mixed) - 1]
    for i in strangers:
        assert len(sent[i]) and not sent[i].any()
    kept = [rows for i, rows in enumerate(sent) if i not in strangers]
    for ours, theirs in zip(kept, sent_alone, strict=True):
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * abs(theirs).max())
        assert ours.any()


def arrays(found):
    """Scores or gradients: what there is of each row, and of neighbours."""
    if not hasattr(found, "logits"):
        return found, []
    return found.logits, [] if found.transitions is None else list(vars(found.transitions).values())


@pytest.mark.parametrize("case", CASES)
def test_the_loss_itself_is_masked(case, tiny_bert):
    """`get_loss` on given scores: bit for bit that of the others alone, and zeros."""
    nlp, pipe, examples = pipeline(case, tiny_bert, frozen=True)
    mixed = [*examples[:2], foreign(nlp, "cat of others"), *examples[2:]]
    for eg in mixed:
        nlp.get_pipe("transfer_backbone")(eg.predicted)
    scores, stranger, alone = (pipe.model.predict(pipe.inputs(some)) for some in (mixed, mixed[2:3], examples))
    strange = numpy.repeat([eg is mixed[2] for eg in mixed], pipe.n_rows(mixed, scores))
    assert strange.any()
    arrays(alone)[0][...] = arrays(scores)[0][~strange]
    (loss, gradient), (expected, wanted) = pipe.get_loss(mixed, scores), pipe.get_loss(examples, alone)
    assert loss == expected > 0.1
    (rows, neighbours), (own, theirs) = arrays(gradient), arrays(wanted)
    assert not rows[strange].any() and (rows[~strange] == own).all() and own.any()
    for part, other in zip(neighbours, theirs, strict=True):
        assert (part == other).all() and part.any()
    nothing, zeros = pipe.get_loss(mixed[2:3], stranger)
    rows, neighbours = arrays(zeros)
    assert nothing == 0.0 and len(rows) == strange.sum() and not any(part.any() for part in (rows, *neighbours))


@pytest.mark.parametrize("case", ["textcat", "ner_crf", "tagger_softmax", "regressor_pearson", "regressor_spans"])
def test_a_batch_of_others_sends_nothing_back(case, tiny_bert):
    nlp, pipe, _ = pipeline(case, tiny_bert)
    loss, grads, sent = learn(nlp, pipe, [foreign(nlp, "cat of others"), foreign(nlp, "dog")])
    assert (loss, grads, sent) == (0.0, [], None)


@pytest.mark.parametrize("tok2vec", [STOCK, NESTED], ids=["listener", "layers over it"])
@pytest.mark.parametrize("is_last", [True, False])
def test_spacys_own_tok2vec_still_learns_from_the_others(is_last, tok2vec):
    """It steps when the last of its listeners has called back: one that has nothing to say must not keep it waiting."""
    moved = []
    for trains in (["tagger"], None):
        spacy.util.fix_random_seed(0)
        nlp = spacy.blank("en")
        nlp.add_pipe("tok2vec")
        for name in ("tagger", "head") if is_last else ("head", "tagger"):
            model = (
                {"@architectures": "spacy.Tagger.v2", "tok2vec": dict(STOCK)}
                if name == "tagger"
                else {**SOFTMAX, "tok2vec": tok2vec}
            )
            nlp.add_pipe("tagger" if name == "tagger" else "transfer_tagger", name=name, config={"model": model})
        examples = [gold(nlp, text) for text in TEXTS]
        nlp.initialize(lambda examples=examples: examples)
        for eg in examples:
            note_origin(eg.reference, "one", trains)
        optimizer, before = Adam(0.01), nlp.get_pipe("tok2vec").model.to_bytes()
        own = nlp.get_pipe("head").model.to_bytes()
        for _ in range(2):
            step(nlp, examples, optimizer)
        moved.append((nlp.get_pipe("tok2vec").model.to_bytes() != before, nlp.get_pipe("head").model.to_bytes() != own))
    assert moved == [(True, False), (True, True)]


@pytest.mark.parametrize("case", CASES)
def test_initialize_reads_its_own_examples(case, tiny_bert):
    """Labels, weights of labels and units of targets, as if the others were not there."""
    found = []
    for strangers in (1, 0):
        nlp, pipe, examples = blank(case, tiny_bert, frozen=True)
        before, after = ([foreign(nlp, text)] * strangers for text in ("of others", "cat"))
        nlp.initialize(lambda mixed=(*before, *examples, *after): mixed)
        units = {key: pipe.model.attrs.get(key) for key in ("mean", "scale")}
        found.append((pipe.labels, pipe.cfg, units, nlp(TEXTS[0]).to_bytes()))
    assert found[0] == found[1] and found[0][0]
    nlp, pipe, _ = blank(case, tiny_bert)
    with pytest.raises(ValueError, match="T307|T333|T417"):
        nlp.initialize(lambda: [foreign(nlp, "cat")])


def test_the_maxent_start_reads_its_own_examples(tiny_bert):
    found = []
    for strangers in (0, 2):
        nlp, pipe, examples = pipeline("textcat", tiny_bert, frozen=True)
        mixed = [*examples, *(foreign(nlp, "of others") for _ in range(strangers))]
        pipe.initialize(lambda mixed=mixed: mixed, nlp=nlp, fit="maxent", strength=1.0)
        found.append(pipe.model.get_ref("output").get_param("W"))
    assert found[0].any()
    numpy.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_weight_of_a_task(case, tiny_bert, monkeypatch):
    """It scales all gradients, those of a CRF's neighbours too, and not the loss that is said."""
    nlp, pipe, examples = pipeline(case, tiny_bert)
    loss, grads, sent = learn(nlp, pipe, examples)
    monkeypatch.setattr(type(pipe), "task_weight", 0.25)
    same, weighted, less = learn(nlp, pipe, examples)
    assert same == loss and len(grads) == len(weighted) == len([a for a in grads if a.any()])
    for ours, theirs in zip([*grads, *sent], [*weighted, *less], strict=True):
        numpy.testing.assert_allclose(ours * 0.25, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", ["ner_crf", "tagger_softmax", "tagger_crf", "regressor"])
@pytest.mark.parametrize("hidden", [False, True])
def test_only_some_rows_learn(case, hidden, tiny_bert, tmp_path):
    layers = {"hidden": [4], "bilstm": 6} if hidden and case != "regressor" else {}
    nlp, pipe, examples = pipeline(case, tiny_bert, frozen=True, **layers)
    if case == "regressor":
        spacy_transfer.add_labels(nlp, "head", "mood")
        for i, eg in enumerate(examples):
            eg.reference._.score = {"score": 1.0 + i, "mood": 2.0 - i}
    new = {"ner_crf": "B", "regressor": "mood"}.get(case, "a")
    before = parts(nlp)
    spacy_transfer.learn_only(nlp, "head", new)
    optimizer = spacy.registry.optimizers.get("spacy-transfer.AdamW.v1")(learn_rate=0.1, weight_decay=0.1)
    for _ in range(4):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()
    nlp.to_disk(tmp_path)
    after = parts(spacy.load(tmp_path))
    assert after.keys() == before.keys()
    moved = {key for key in before if before[key] != after[key]}
    rows = {"ner_crf": {"B-B", "I-B"}}.get(case, {new})
    assert moved == {key for key in before if rows & set(key)}
    spacy_transfer.learn_only(nlp, "head", None)
    step(nlp, examples, Adam(0.1))
    assert sum(parts(nlp)[key] != after[key] for key in after) > len(moved)


def parts(nlp):
    """Weights of a head by the names of their rows, scores of neighbours by both; what has no rows by its place."""
    pipe = nlp.get_pipe("head")
    names, model = getattr(pipe, "tags", pipe.labels), pipe.model
    found, output = {}, model.get_ref("output")
    for node in model.walk():
        if node is output:
            found |= {
                (name,): node.get_param("W")[i].tobytes() + node.get_param("b")[i].tobytes()
                for i, name in enumerate(names)
            }
        elif node.name == "transfer_transitions":
            for key in ("start", "end"):
                found |= {(key, name): node.get_param(key)[i].tobytes() for i, name in enumerate(names)}
            matrix = node.get_param("matrix")
            found |= {(a, b): matrix[i, j].tobytes() for i, a in enumerate(names) for j, b in enumerate(names)}
        else:
            names_of = [name for name in node.param_names if node.has_param(name)]
            found |= {(node.name, name): node.get_param(name).tobytes() for name in names_of}
        for shim in node.shims:
            found |= {(node.name, "shim"): shim.to_bytes()}
    return found
