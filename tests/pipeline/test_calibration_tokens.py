"""Calibration of transfer_ner and transfer_tagger in a pipeline: probabilities move, what is predicted does not."""

import random

import numpy
import pytest
import spacy
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_transfer.cli.calibrate import calibrate_pipeline
from spacy_transfer.corpora.example_info import note_origin
from spacy_transfer.pipeline.calibration import calibrate, create_calibrate_v1

from ..pipelines import LISTENER, backbone_config, step

HEAD = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER}
SETTINGS = [
    ("transfer_ner", "crf"),
    ("transfer_ner", "softmax"),
    ("transfer_tagger", "crf"),
    ("transfer_tagger", "softmax"),
]
ECE = {"transfer_ner": "ents_ece", "transfer_tagger": "tag_ece"}
LETTERS = {"P": "aeiou", "L": "xyz", "O": "mn"}


def make_docs(nlp, n=40, seed=0, noise=0.3):
    """Letters decide what a word is, and now and then it is something else: nobody can be sure."""
    rng, docs = random.Random(seed), []
    for _ in range(n):
        kinds = [rng.choice("PLO") for _ in range(rng.randint(2, 5))]
        words = ["".join(rng.choice(LETTERS[kind]) for _ in range(3)) for kind in kinds]
        doc = nlp.make_doc(" ".join(words))
        said = [rng.choice("PLO") if rng.random() < noise else kind for kind in kinds]
        doc.set_ents([Span(doc, i, i + 1, kind) for i, kind in enumerate(said) if kind != "O"], default="outside")
        for token, kind in zip(doc, said, strict=True):
            token.tag_ = kind
        docs.append(doc)
    return docs


def examples_of(nlp, docs):
    return [Example(nlp.make_doc(doc.text), doc) for doc in docs]


def trained(tiny_bert, kind, decoder, *, steps=40, surer=4.0, **config):
    """And then made too sure of itself."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    pipe = nlp.add_pipe(kind, config={"model": {**HEAD, "decoder": decoder}, **config})
    examples = examples_of(nlp, make_docs(nlp, 30))
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.05, L2=0.0)
    for _ in range(steps):
        step(nlp, examples, optimizer)
    for node in pipe.model.walk():
        for name in node.param_names:
            node.set_param(name, node.get_param(name) * surer)
    return nlp


def said(nlp, texts):
    docs = list(nlp.pipe(texts))
    ents = [[(ent.start, ent.end, ent.label_) for ent in doc.ents] for doc in docs]
    return ents, [[token.tag_ for token in doc] for doc in docs]


def sure(nlp, texts):
    return [[ent._.confidence for ent in doc.ents] for doc in nlp.pipe(texts)]


@pytest.mark.parametrize(("kind", "decoder"), SETTINGS)
def test_probabilities_move_predictions_do_not(tiny_bert, tmp_path, kind, decoder):
    nlp = trained(tiny_bert, kind, decoder)
    held_out = [*examples_of(nlp, make_docs(nlp, seed=1)), Example(nlp.make_doc(""), nlp.make_doc(""))]
    texts = [eg.reference.text for eg in held_out]
    before, doubts, was = said(nlp, texts), sure(nlp, texts), nlp.evaluate(held_out)
    (done,) = calibrate(nlp, held_out, per_label_thresholds=True)
    assert done.name == kind and 1.3 < done.temperature == nlp.get_pipe(kind).model.attrs["temperature"]
    assert done.thresholds is None
    now = nlp.evaluate(held_out)
    assert said(nlp, texts) == before
    assert done.nll[1] < done.nll[0] and done.ece[1] < 0.8 * done.ece[0]
    # The second way: the scorer, from the docs.
    assert was[ECE[kind]] == pytest.approx(done.ece[0], abs=1e-5)
    assert now[ECE[kind]] == pytest.approx(done.ece[1], abs=1e-5)
    assert {key: was[key] for key in was if key not in ("speed", ECE[kind])} == {
        key: now[key] for key in now if key not in ("speed", ECE[kind])
    }
    if kind == "transfer_ner":
        assert done.n_decisions == sum(map(len, before[0])) and sure(nlp, texts) != doubts
        assert numpy.mean(sum(sure(nlp, texts), [])) < numpy.mean(sum(doubts, []))
    nlp.to_disk(tmp_path)
    for other in (spacy.load(tmp_path), spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())):
        assert (said(other, texts), sure(other, texts)) == (before, sure(nlp, texts))


@pytest.mark.parametrize(("kind", "decoder"), SETTINGS)
def test_training_knows_nothing_of_it(tiny_bert, kind, decoder):
    weights = []
    for temperature in (1.0, 3.0):
        nlp = trained(tiny_bert, kind, decoder, steps=5)
        nlp.get_pipe(kind).model.attrs["temperature"] = temperature
        examples, optimizer = examples_of(nlp, make_docs(nlp, 6)), Adam(0.05, L2=0.0)
        losses = [step(nlp, examples, optimizer) for _ in range(2)]
        params = [n.get_param(name).tobytes() for n in nlp.get_pipe(kind).model.walk() for name in n.param_names]
        weights.append((losses, params))
    assert weights[0] == weights[1]


def test_callback_and_command(tiny_bert, tmp_path):
    """They find the same temperature, leave what they are given alone, and the command saves a pipeline."""
    nlp = trained(tiny_bert, "transfer_ner", "crf")
    DocBin(docs=make_docs(nlp, seed=1)).to_disk(tmp_path / "dev.spacy")
    nlp.config["corpora"]["dev"]["path"] = str(tmp_path / "dev.spacy")
    nlp.to_disk(tmp_path / "in")
    before = nlp.to_bytes()
    copy = create_calibrate_v1()(nlp)
    assert nlp.to_bytes() == before and nlp.get_pipe("transfer_ner").model.attrs["temperature"] == 1.0
    (done,) = calibrate_pipeline(tmp_path / "in", tmp_path / "dev.spacy", tmp_path / "out")
    found = {pipe.get_pipe("transfer_ner").model.attrs["temperature"] for pipe in (copy, spacy.load(tmp_path / "out"))}
    assert found == {done.temperature} and done.temperature > 1.3


def test_find_threshold(tiny_bert, tmp_path):
    """What the threshold of entities is left to."""
    from spacy.cli.find_threshold import find_threshold

    nlp = trained(tiny_bert, "transfer_ner", "crf", steps=10, surer=1.0)
    nlp.to_disk(tmp_path / "model")
    DocBin(docs=make_docs(nlp, seed=1)).to_disk(tmp_path / "dev.spacy")
    best, value, each = find_threshold(
        tmp_path / "model", tmp_path / "dev.spacy", "transfer_ner", "threshold", "ents_f", n_trials=5
    )
    assert len(set(each.values())) > 2 and value == max(each.values())
    nlp.get_pipe("transfer_ner").threshold = best
    assert nlp.evaluate(examples_of(nlp, make_docs(nlp, seed=1)))["ents_f"] == pytest.approx(value)


def test_the_scorer_counts_what_spacys_counts(tiny_bert):
    """Against a loop; what is not annotated is no decision; nothing is written anywhere."""
    nlp = trained(tiny_bert, "transfer_ner", "softmax")
    docs = make_docs(nlp, seed=1)
    for doc in docs[:5]:
        doc.set_ents([ent for ent in doc.ents if ent.start], missing=[doc[0:1]], default="outside")
    bare = [Doc(nlp.vocab, words=[token.text for token in doc]) for doc in docs[5:8]]
    examples = examples_of(nlp, [*docs, *bare])
    for example in examples:
        example.predicted = nlp(example.reference.text)
    saved = [(eg.predicted.to_bytes(), eg.reference.to_bytes()) for eg in examples]
    pipe = nlp.get_pipe("transfer_ner")
    scores = pipe.score(examples)
    assert saved == [(eg.predicted.to_bytes(), eg.reference.to_bytes()) for eg in examples]
    stock = get_ner_prf(examples)
    assert {key: scores[key] for key in stock} == stock
    bins, hits = [[] for _ in range(15)], 0
    for eg in examples:
        gold = {(ent.start, ent.end, ent.label_) for ent in eg.reference.ents}
        for ent in eg.predicted.ents:
            if all(eg.reference[i].ent_iob_ != "" for i in range(ent.start, ent.end)):
                right = (ent.start, ent.end, ent.label_) in gold
                hits += right
                bins[max(int(numpy.ceil(ent._.confidence * 15)) - 1, 0)].append(right - ent._.confidence)
    count = sum(map(len, bins))
    assert hits / count == pytest.approx(stock["ents_p"])
    assert scores["ents_ece"] == pytest.approx(sum(abs(sum(part)) for part in bins) / count)
    assert count < sum(len(eg.predicted.ents) for eg in examples)
    assert len(pipe.decisions(examples_with_rows(nlp, examples))) == count
    blank = [Example(nlp.make_doc(docs[0].text), docs[0])]
    assert pipe.score(blank)["ents_ece"] is None


def examples_with_rows(nlp, examples):
    fresh = [Example(nlp.make_doc(eg.reference.text), eg.reference) for eg in examples]
    for eg in fresh:
        nlp.get_pipe("transfer_backbone")(eg.predicted)
    return fresh


@pytest.mark.parametrize("attribute", ["tag", "pos"])
def test_tags_that_are_no_decisions(tiny_bert, attribute):
    """Without gold, of another component, or without rows."""
    nlp = trained(tiny_bert, "transfer_tagger", "softmax", steps=0)
    nlp.remove_pipe("transfer_tagger")
    pipe = nlp.add_pipe("transfer_tagger", config={"model": HEAD, "attribute": attribute})
    docs = make_docs(nlp, seed=1)
    for doc in docs:
        for token in doc:
            token.pos_ = {"P": "NOUN", "L": "VERB", "O": "ADJ"}[token.tag_]
    docs[0][0].tag, docs[0][0].pos = 0, 0
    examples = examples_of(nlp, docs)
    nlp.initialize(lambda: examples)
    for _ in range(5):
        step(nlp, examples, Adam(0.05))
    scores, key = nlp.evaluate(examples), f"{attribute}_ece"
    assert 0.0 < scores[key] < 1.0 and scores[f"{attribute}_acc"] > 0.4
    n_tokens = sum(len(doc) for doc in docs)
    assert len(pipe.decisions(examples_with_rows(nlp, examples))) == n_tokens - 1
    for example in examples:
        example.predicted = nlp(example.reference.text)
    token = examples[1].predicted[0]
    setattr(token, attribute + "_", next(label for label in pipe.labels if label != getattr(token, attribute + "_")))
    assert len(pipe._written(examples)) == n_tokens - 2
    probabilities, golds = [], []
    logits = pipe.model.predict([eg.predicted for eg in examples]).logits
    at = 0
    for i, eg in enumerate(examples):
        for j, gold in enumerate(eg.reference):
            if getattr(gold, attribute) and (i, j) != (1, 0):
                weights = numpy.exp(logits[at] - logits[at].max())
                probabilities.append(weights.max() / weights.sum())
                golds.append(getattr(gold, attribute + "_") == pipe.labels[weights.argmax()])
            at += 1
    which = numpy.ceil(numpy.array(probabilities) * 15).astype(int)
    apart = numpy.array(golds) - numpy.array(probabilities)
    gaps = [abs(apart[which == b].sum()) for b in range(1, 16)]
    assert pipe.score(examples)[key] == pytest.approx(sum(gaps) / len(golds), abs=1e-6)
    examples[0].predicted.tensor = numpy.zeros((0, 0), dtype="f")
    assert pipe.score(examples)[key] is None


def test_what_trains_others_and_what_stood_there_is_no_decision(tiny_bert):
    nlp = trained(tiny_bert, "transfer_ner", "crf")
    examples = examples_with_rows(nlp, examples_of(nlp, make_docs(nlp, seed=1)))
    pipe = nlp.get_pipe("transfer_ner")
    every = len(pipe.decisions(examples))
    first = len(pipe.decisions(examples[:1]))
    assert every > first > 0
    note_origin(examples[0].reference, "other", trains=["textcat"])
    assert len(pipe.decisions(examples)) == every - first
    predicted = examples[1].predicted
    own = len(pipe.decisions(examples[1:2]))
    predicted.set_ents([Span(predicted, 0, len(predicted), "P")])
    assert own > 0 and len(pipe.decisions(examples[1:2])) == 0
    assert len(pipe.decisions([])) == len(pipe.decisions(examples[:1])) == 0


@pytest.mark.parametrize("kind", ["transfer_ner", "transfer_tagger"])
def test_bad_bins(nlp, kind):
    scorer = "NER" if kind == "transfer_ner" else "Tagger"
    with pytest.raises(ValueError, match="T354"):
        nlp.add_pipe(kind, config={"scorer": {"@scorers": f"spacy-transfer.{scorer}Scorer.v1", "bins": 0}})
