"""transfer_ner: learning, well-formed entities, probabilities, presets, what may not be learned from.

Guards also: entities.py, entity_decoding.py.
"""

import json
import logging
import os
import subprocess
import sys

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_transfer.heads.tagging.tokens import TokenScores
from spacy_transfer.pipeline.heads.entity_decoding import confidence

from ...pipelines import LISTENER, backbone_config

TEXTS = ["anna smith sees paris", "bob eats", "in new york city anna sings", "the dog sees bob jones", "rome"]
ENTITIES = [
    [(0, 10, "PER"), (16, 21, "LOC")],
    [(0, 3, "PER")],
    [(3, 16, "LOC"), (17, 21, "PER")],
    [(13, 22, "PER")],
    [(0, 4, "LOC")],
]
SETTINGS = [("softmax", "bio"), ("crf", "bio"), ("softmax", "biluo"), ("crf", "biluo")]


def pipeline(source, decoder="crf", scheme="bio", *, frozen=True, texts=TEXTS, entities=ENTITIES, head=None, **config):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(source), "frozen": frozen})
    model = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER, "decoder": decoder, **(head or {})}
    nlp.add_pipe("transfer_ner", config={"model": model, "scheme": scheme, **config})
    examples = [
        Example.from_dict(nlp.make_doc(text), {"entities": ents}) for text, ents in zip(texts, entities, strict=True)
    ]
    return nlp, examples


def train(nlp, examples, steps=60):
    nlp.initialize(lambda: examples)
    # An encoder that moves wants smaller steps.
    optimizer, losses = Adam(0.05 if nlp.get_pipe("transfer_backbone").frozen else 0.005, L2=0.0), []
    for _ in range(steps):
        now = {}
        nlp.update(examples, sgd=False, losses=now)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        losses.append(now["transfer_ner"])
    return losses


def found(doc):
    return [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


@pytest.mark.parametrize(("decoder", "scheme"), SETTINGS)
def test_it_learns_and_is_saved(tiny_bert, tmp_path, decoder, scheme):
    nlp, examples = pipeline(tiny_bert, decoder, scheme, frozen=decoder == "crf")
    losses = train(nlp, examples)
    assert losses[-1] < 0.1 * losses[0]
    assert nlp.evaluate(examples)["ents_f"] == 1.0
    pipe = nlp.get_pipe("transfer_ner")
    assert pipe.labels == pipe.label_data == ("LOC", "PER")
    assert pipe.tags[:2] == ("O", "B-LOC") and len(pipe.tags) == 1 + 2 * len(pipe.scheme.parts)
    before = [doc.spans["transfer_ner"].attrs["scores"] for doc in nlp.pipe(TEXTS)]
    nlp.to_disk(tmp_path)
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    for other in (spacy.load(tmp_path), again):
        docs = list(other.pipe(TEXTS))
        assert [found(doc) for doc in docs] == ENTITIES
        assert [doc.spans["transfer_ner"].attrs["scores"] for doc in docs] == before


@pytest.mark.parametrize(("decoder", "scheme"), SETTINGS)
def test_untrained_weights_give_well_formed_entities(tiny_bert, decoder, scheme):
    """Random weights, so that the best tag of each token is rarely well-formed: doc.ents must follow from the best
    well-formed sequence among all, by enumeration."""
    nlp, examples = pipeline(tiny_bert, decoder, scheme)
    nlp.initialize(lambda: examples)
    pipe, rng = nlp.get_pipe("transfer_ner"), numpy.random.default_rng(3)
    output = pipe.model.get_ref("output")
    output.set_param("W", rng.normal(size=output.get_param("W").shape).astype("f"))
    if decoder == "crf":
        node = pipe.model.get_ref("transitions")
        for name in ("start", "matrix", "end"):
            node.set_param(name, rng.normal(size=node.get_param(name).shape).astype("f"))
    tags, repaired = pipe.tags, 0
    for doc in nlp.pipe(["a b c", "d", "e f", ""]):
        best = best_by_enumeration(pipe, doc)
        iob = [{"B": "B", "U": "B", "I": "I", "L": "I", "O": "O"}[tags[row][0]] for row in best]
        assert [token.ent_iob_ for token in doc] == iob
        assert [token.ent_type_ for token in doc] == [tags[row][2:] for row in best]
        if len(doc):
            logits = pipe.model.predict([doc]).logits
            repaired += tuple(logits.argmax(axis=1)) != best
        for ent, score in zip(doc.ents, doc.spans["transfer_ner"].attrs["scores"], strict=True):
            assert 0 < score < 1
            assert ent._.confidence == score == pytest.approx(probability(pipe, doc, ent), abs=1e-6)
    assert repaired


def sequences(pipe, doc):
    """Well-formed sequences with their scores."""
    from itertools import product

    if not len(doc):
        return [((), 0.0)]
    scores = pipe.model.predict([doc])
    transitions = pipe.transitions(scores, pipe.scheme.allowed)
    every = []
    for rows in product(range(len(pipe.tags)), repeat=len(doc)):
        total = sum(scores.logits[i, row] for i, row in enumerate(rows)) + transitions.start[rows[0]]
        total += transitions.end[rows[-1]]
        every.append((rows, total + sum(transitions.matrix[a, b] for a, b in zip(rows, rows[1:], strict=False))))
    return every


def best_by_enumeration(pipe, doc):
    return max(sequences(pipe, doc), key=lambda pair: pair[1])[0]


def probability(pipe, doc, ent):
    first = numpy.arange(len(doc)) == 0
    with_it = total = 0.0
    for rows, score in sequences(pipe, doc):
        if numpy.isfinite(score):
            starts, ends, labels = pipe.scheme.entities(numpy.array(rows), first)
            spans = {(a, b, pipe.labels[c]) for a, b, c in zip(starts, ends, labels, strict=True)}
            total += numpy.exp(score)
            with_it += numpy.exp(score) * ((ent.start, ent.end, ent.label_) in spans)
    return with_it / total


def confidences(nlp, texts):
    docs = list(nlp.pipe(texts))
    return {(doc.text, ent.start, ent.end, ent.label_): ent._.confidence for doc in docs for ent in doc.ents}


def test_threshold_drops_what_is_less_probable(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    train(nlp, examples, steps=8)
    texts = [*TEXTS, "anna bob rome dog"]
    pipe = nlp.get_pipe("transfer_ner")
    every = confidences(nlp, texts)
    pipe.threshold = sorted(every.values())[len(every) // 2]
    kept = confidences(nlp, texts)
    assert kept == {key: value for key, value in every.items() if value >= pipe.threshold}
    assert 0 < len(kept) < len(every)


@pytest.mark.parametrize(("decoder", "scheme"), SETTINGS)
def test_presets_stay(tiny_bert, decoder, scheme):
    """Entities that are there, of labels known and unknown, stay as they are; blocked tokens stay out of entities."""
    nlp, examples = pipeline(tiny_bert, decoder, scheme)
    train(nlp, examples)
    ruler = nlp.add_pipe("entity_ruler", before="transfer_ner")
    ruler.add_patterns([{"label": "PER", "pattern": "york"}, {"label": "GAME", "pattern": "city anna"}])
    doc = nlp("in new york city anna sings")
    spans = {(ent.text, ent.label_) for ent in doc.ents}
    assert {("york", "PER"), ("city anna", "GAME")} <= spans
    assert not {ent.text for ent in doc.ents} & {"new york city", "york city", "anna"}
    group = doc.spans["transfer_ner"]
    assert [(span.start, span.end, span.label_) for span in group] == [(e.start, e.end, e.label_) for e in doc.ents]
    assert {ent.text: ent._.confidence for ent in doc.ents}["york"] == 1.0
    blocked = nlp.make_doc("anna smith sees paris")
    blocked.set_ents([], blocked=[blocked[3:4]], default="missing")
    for name in ("transfer_backbone", "transfer_ner"):
        blocked = nlp.get_pipe(name)(blocked)
    assert "paris" not in {ent.text for ent in blocked.ents} and blocked[3].ent_iob_ == "B"


def test_no_entity_over_sentences_or_from_white_space(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    train(nlp, examples)
    assert nlp(TEXTS[0]).ents[0].text == "anna smith"
    doc = Doc(nlp.vocab, words=TEXTS[0].split(), sent_starts=[True, True, False, False])
    assert all(ent.end == 1 or ent.start > 0 for ent in nlp(doc).ents)
    # Weights that make everything an entity: white space begins none.
    node = nlp.get_pipe("transfer_ner").model.get_ref("output")
    node.set_param("b", numpy.array([-90, 0, 0, 90, -90], dtype="f"))
    doc = nlp("a  b")
    assert [(token.text, token.ent_iob_) for token in doc] == [("a", "B"), (" ", "O"), ("b", "B")]


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_missing_annotation_teaches_nothing(tiny_bert, decoder):
    nlp, examples = pipeline(tiny_bert, decoder)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("transfer_ner")
    partial = Doc(nlp.vocab, words=["anna", "smith", "sees", "paris"], ents=["B-PER", "I-PER", "", "O"])
    bare = Doc(nlp.vocab, words=["bob", "eats"])
    batch = [Example(nlp.make_doc(doc.text), doc) for doc in (bare, partial, bare)]
    logits = numpy.random.default_rng(0).normal(size=(8, 5)).astype("f")
    scores = pipe.model.predict([eg.predicted for eg in _with_rows(nlp, batch)])
    scores = TokenScores(logits, scores.lengths, scores.transitions)
    loss, d_scores = pipe.get_loss(batch, scores)
    assert loss > 0.1
    assert abs(d_scores.logits[[0, 1, 6, 7]]).max() < 1e-6
    assert abs(d_scores.logits[[2, 3, 5]]).min(axis=1).max() > 1e-4
    _, nothing = pipe.get_loss(batch[:1], TokenScores(logits[:2], scores.lengths[:1], scores.transitions))
    assert abs(nothing.logits).max() < 1e-6
    if decoder == "crf":
        assert abs(nothing.transitions.matrix).max() < 1e-6


def _with_rows(nlp, examples):
    for eg in examples:
        nlp.get_pipe("transfer_backbone")(eg.predicted)
    return examples


def test_entities_that_cross_tokens_are_counted_and_not_learned(tiny_bert, caplog):
    nlp, examples = pipeline(tiny_bert)
    words = ["anna", "smithsees", "paris"]
    predicted = Doc(nlp.vocab, words=words)
    reference = Doc(nlp.vocab, words=["anna", "smith", "sees", "paris"], spaces=[True, False, True, False])
    reference.ents = [Span(reference, 0, 2, "PER"), Span(reference, 3, 4, "LOC")]
    crossing = Example(predicted, reference)
    with caplog.at_level(logging.WARNING):
        nlp.initialize(lambda: [*examples, crossing])
        nlp.update([crossing], losses={})
    said = [record.message for record in caplog.records if "W330" in record.message]
    assert len(said) == 1 and "1 of 9 entities" in said[0] and "'anna smithsees paris'" in said[0]
    iob, labels = nlp.get_pipe("transfer_ner")._gold([crossing])
    assert iob.tolist() == [0, 0, 3] and labels.tolist()[2] == 0
    # A token split in the reference, inside of an entity that fits, is learned.
    whole = Doc(nlp.vocab, words=["an", "na", "smithsees", "paris"], spaces=[False, True, True, False])
    whole.ents = [Span(whole, 0, 2, "PER")]
    iob, labels = nlp.get_pipe("transfer_ner")._gold([Example(predicted, whole)])
    assert iob.tolist() == [3, 2, 2] and labels[0] == 1


@pytest.mark.parametrize(("decoder", "scheme"), [("softmax", "bio"), ("crf", "biluo")])
def test_incorrect_spans_are_not_predicted(tiny_bert, decoder, scheme):
    """Two trainings that differ in the incorrect span alone; its text is not annotated otherwise."""
    confidences = []
    for key in (None, "wrong"):
        nlp, examples = pipeline(tiny_bert, decoder, scheme, incorrect_spans_key=key)
        bare = Doc(nlp.vocab, words=["anna", "bob", "rome"])
        bare.spans["wrong"] = [Span(bare, 0, 1, "PER"), Span(bare, 0, 2, "PER"), Span(bare, 0, 1, "OTHER")]
        train(nlp, [*examples, Example(nlp.make_doc("anna bob rome"), bare)], steps=40)
        assert nlp.evaluate(examples)["ents_f"] == 1.0
        doc = nlp("anna bob rome")
        confidences.append([(ent.start, ent.end, ent.label_) for ent in doc.ents])
    assert set(confidences[0]) & {(0, 1, "PER"), (0, 2, "PER")}
    assert not set(confidences[1]) & {(0, 1, "PER"), (0, 2, "PER")}


@pytest.mark.parametrize(("decoder", "scheme"), SETTINGS)
def test_loss_of_incorrect_spans(tiny_bert, decoder, scheme):
    """Minus log of one minus each span's probability, by enumeration; just these tokens, no longer entity."""
    nlp, examples = pipeline(tiny_bert, decoder, scheme, incorrect_spans_key="wrong")
    nlp.initialize(lambda: examples)
    pipe, bare = nlp.get_pipe("transfer_ner"), nlp.make_doc("a b c")
    output = pipe.model.get_ref("output")
    output.set_param("W", numpy.random.default_rng(3).normal(size=output.get_param("W").shape).astype("f"))
    bare.spans["wrong"] = [Span(bare, 0, 2, "PER"), Span(bare, 1, 2, "LOC"), Span(bare, 1, 3, "PER")]
    doc = nlp.get_pipe("transfer_backbone")(nlp.make_doc("a b c"))
    loss, _ = pipe.get_loss([Example(doc, bare)], pipe.model.predict([doc]))
    expected = -sum(numpy.log1p(-probability(pipe, doc, span)) for span in bare.spans["wrong"])
    assert loss == pytest.approx(expected, rel=1e-4)


def test_docs_without_tokens_and_batches_of_them(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    empty = Example.from_dict(nlp.make_doc(""), {"entities": []})
    train(nlp, [*examples, empty], steps=30)
    assert nlp.update([empty], losses={})["transfer_ner"] == 0
    docs = list(nlp.pipe(["", TEXTS[0], ""]))
    assert [found(doc) for doc in docs] == [[], ENTITIES[0], []]
    assert nlp("").ents == () and len(nlp("").spans["transfer_ner"]) == 0


def test_labels_given_and_added(tiny_bert, caplog):
    nlp, examples = pipeline(tiny_bert)
    nlp.get_pipe("transfer_backbone").initialize(lambda: examples, nlp=nlp)
    pipe = nlp.get_pipe("transfer_ner")
    with pytest.raises(ValueError, match=r"T331.*\['LOC'\].*\['DATE'\]"):
        pipe.initialize(lambda: examples, nlp=nlp, labels=["PER", "DATE"])
    assert pipe.labels == ()
    with caplog.at_level(logging.WARNING):
        pipe.initialize(lambda: examples, nlp=nlp, labels=["PER", "LOC", "DATE"])
    assert pipe.labels == ("PER", "LOC", "DATE") and "W331" in caplog.text and "DATE" in caplog.text

    nlp, examples = pipeline(tiny_bert)
    train(nlp, examples)
    before = nlp(TEXTS[0])
    logits = nlp.get_pipe("transfer_ner").model.predict([before]).logits
    assert nlp.get_pipe("transfer_ner").add_label("DATE") == 1
    assert nlp.get_pipe("transfer_ner").add_label("DATE") == 0
    assert nlp.get_pipe("transfer_ner").tags[-2:] == ("B-DATE", "I-DATE")
    after = nlp(TEXTS[0])
    assert found(after) == ENTITIES[0]
    grown = nlp.get_pipe("transfer_ner").model.predict([after])
    numpy.testing.assert_array_equal(grown.logits[:, :5], logits)
    assert grown.transitions.matrix.shape == (7, 7)


def test_a_label_that_the_head_does_not_have(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    nlp.initialize(lambda: examples)
    weights = nlp.get_pipe("transfer_ner").model.get_ref("output").get_param("b").copy()
    other = Example.from_dict(nlp.make_doc("in rome"), {"entities": [(3, 7, "LOCS")]})
    with pytest.raises(ValueError, match=r"T332.*'in rome'.*'LOCS'.*LOC.*PER.*nearest: \['LOC'\]"):
        nlp.update([examples[0], other], sgd=Adam(0.1))
    assert (nlp.get_pipe("transfer_ner").model.get_ref("output").get_param("b") == weights).all()


def test_bad_input(tiny_bert, nlp):
    with pytest.raises(ValueError, match="T330.*1.5"):
        pipeline(tiny_bert, threshold=1.5)
    bare, examples = pipeline(tiny_bert, texts=TEXTS[:1], entities=[[]])
    with pytest.raises(ValueError, match="T333.*an entity"):
        bare.initialize(lambda: examples)
    with pytest.raises(ValueError, match="T303"):
        nlp.add_pipe("transfer_ner")(nlp.make_doc("a"))
    with pytest.raises(ValueError, match=r"T338.*TokenHead"):
        nlp.add_pipe(
            "transfer_ner", "other", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}}
        )
    nlp, examples = pipeline(tiny_bert, incorrect_spans_key="wrong")
    nlp.initialize(lambda: examples)
    reference = examples[0].reference
    reference.spans["wrong"] = [Span(reference, 0, 2, "PER")]
    with pytest.raises(ValueError, match="T335.*'wrong'.*'anna smith'.*'PER'"):
        nlp.update(examples)


def test_an_extension_of_the_users_is_left_alone(tiny_bert, caplog):
    if Span.has_extension("confidence"):
        Span.remove_extension("confidence")
    try:
        Span.set_extension("confidence", default=0.25)
        with caplog.at_level(logging.WARNING):
            nlp, examples = pipeline(tiny_bert)
        assert "W332" in caplog.text
        train(nlp, examples)
        doc = nlp(TEXTS[0])
        assert doc.ents[0]._.confidence == 0.25 and doc.spans["transfer_ner"].attrs["scores"][0] > 0.5
    finally:
        Span.remove_extension("confidence")
        Span.set_extension("confidence", getter=confidence)


def test_scores_stand_in_one_order_whatever_the_hash_seed():
    """`meta.json` has them as they stand."""
    code = (
        "import json, spacy\n"
        "from spacy.tokens import Span\n"
        "from spacy.training import Example\n"
        "from spacy_transfer.pipeline.heads.scorers import score_ner\n"
        "nlp = spacy.blank('en')\n"
        "gold = nlp.make_doc(' '.join('abcdefghijkl'))\n"
        "gold.ents = [Span(gold, i, i + 1, f'TYPE{i}') for i in range(12)]\n"
        "print(json.dumps(score_ner([Example(nlp.make_doc(gold.text), gold)])))\n"
    )
    said = []
    for seed in "12":
        env = {**os.environ, "PYTHONHASHSEED": seed}
        said.append(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True))
    assert said[0].stdout == said[1].stdout
    assert list(json.loads(said[0].stdout)["ents_per_type"]) == sorted(f"TYPE{i}" for i in range(12))
