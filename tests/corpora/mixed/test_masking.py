"""What a stock head does not own is missing for it: it stays bit for bit. What cannot be missing is refused."""

import numpy
import pytest
import spacy
from spacy.tokens import Span
from spacy.training import Example

from spacy_transfer.corpora.mixed.mixed_corpus import create_mixed_corpus_v1
from spacy_transfer.tuning import optimizers

from ..readers import NER, pipeline

STOCK = ["tagger", "morphologizer", "trainable_lemmatizer", "parser", "ner", "textcat_multilabel"]
WORDS = [["Anna", "sees", "dogs"], ["cats", "sing"], ["Bob", "sings", "here"]]


def annotated(nlp):
    """Every annotation on every doc."""
    for words in WORDS * 2:
        doc = nlp.make_doc(" ".join(words))
        yield Example.from_dict(
            doc,
            {
                "tags": [word[0].upper() for word in words],
                "pos": ["" if word[0] == "s" else "NOUN" for word in words],
                "morphs": ["" if word == "dogs" else f"Len={len(word)}" for word in words],
                "lemmas": [word.rstrip("s") for word in words],
                "heads": [1] * len(words),
                "deps": ["ROOT" if i == 1 else "nsubj" for i in range(len(words))],
                "entities": [(0, len(words[0]), "X")],
                "spans": {"sc": [(0, len(words[0]), "X")]},
                "cats": {"long": float(len(words) > 2), "short": float(len(words) <= 2)},
            },
        )


def read(trains, reader=annotated):
    blocks = {"all": {"reader": reader, "trains": trains}}
    return create_mixed_corpus_v1(corpora=blocks)


def parameters(pipe):
    return [node.get_param(name).tobytes() for node in pipe.model.walk() for name in sorted(node.param_names)]


def train(nlp, reader, n_steps, optimizer=None):
    """As `spacy train`: the step is made by our optimizer, weight decay and momentum included."""
    optimizer = optimizer or optimizers.adamw_v1(learn_rate=0.01, weight_decay=0.1)
    before = {name: parameters(pipe) for name, pipe in nlp.pipeline}
    for _ in range(n_steps):
        nlp.update(list(reader(nlp)), sgd=False, drop=0.1)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        optimizer.step_schedules()
    return {name for name, pipe in nlp.pipeline if parameters(pipe) != before[name]}


@pytest.fixture(scope="module")
def trained():
    """All stock heads after a few steps with everything, so that optimizers have momentum."""
    spacy.util.fix_random_seed(0)
    nlp = pipeline(*STOCK)
    nlp.initialize(lambda: annotated(nlp))
    optimizer = optimizers.adamw_v1(learn_rate=0.01, weight_decay=0.1)
    assert train(nlp, read(None), 2, optimizer) == set(STOCK)
    return nlp, optimizer


def test_masked_stock_heads_are_bit_identical_after_100_steps(trained):
    nlp, optimizer = trained
    assert train(nlp, read(["tagger"]), 100, optimizer) == {"tagger"}


@pytest.mark.parametrize("head", STOCK)
def test_only_what_a_corpus_names_moves(trained, head):
    nlp, optimizer = trained
    assert train(nlp, read([head]), 2, optimizer) == {head}


@pytest.mark.parametrize("head", STOCK)
def test_masked_examples_add_nothing_in_a_mixed_batch(trained, head):
    """Gradients of a batch are those of its own examples alone, to a factor: some of spaCy's divide by the batch."""
    nlp, _ = trained
    own, other = list(read([head])(nlp)), list(read([name for name in STOCK if name != head])(nlp))
    pipe = nlp.get_pipe(head)

    def gradients(batch):
        spacy.util.fix_random_seed(0)
        pipe.update(batch, drop=0.0)
        places = [(node, name) for node in pipe.model.walk() for name in node.param_names if node.has_grad(name)]
        found = [node.get_grad(name).copy() for node, name in places]
        for node, name in places:
            node.set_grad(name, node.get_grad(name) * 0)
        return found

    # spaCy's parsers read the last token of a batch where a feature is missing: so the own examples come last.
    alone, mixed = gradients(own), gradients([*other, *own])
    for a, b in zip(alone, mixed, strict=True):
        norm_a, norm_b = numpy.linalg.norm(a), numpy.linalg.norm(b)
        assert (a * b).sum() == pytest.approx(norm_a * norm_b, rel=1e-3)


def test_negative_spans_are_cleared_with_the_entities():
    nlp = pipeline("textcat_multilabel")
    nlp.add_pipe("ner", config={"incorrect_spans_key": "wrong", **NER})

    def with_negatives(nlp):
        for example in annotated(nlp):
            example.reference.spans["wrong"] = [Span(example.reference, 1, 2, "X")]
            yield example

    nlp.initialize(lambda: with_negatives(nlp))
    cleared = read(["textcat_multilabel"], with_negatives)
    assert all("wrong" not in eg.reference.spans and "sc" in eg.reference.spans for eg in cleared(nlp))
    assert train(nlp, cleared, 2) == {"textcat_multilabel"}


@pytest.mark.parametrize(
    ("head", "why", "better"),
    [
        ("textcat", "count as 0", "transfer_textcat"),
        ("spancat", "count as none", "`trains`"),
        ("senter", "does not", "`trains`"),
    ],
)
def test_what_cannot_be_missing_is_refused(head, why, better):
    """And it would move: these learn something of docs from which all that they learn from has been taken."""
    nlp = pipeline("tagger", head)
    nlp.initialize(lambda: annotated(nlp))
    with pytest.raises(ValueError, match=f"T520.*'{head}'.*'all'.*{why}.*{better}"):
        read(["tagger"])(nlp)

    def taken_away(nlp):
        for example in annotated(nlp):
            example.reference.cats = {}
            example.reference.spans["sc"] = []
            example.reference.from_array(["DEP"], numpy.zeros((len(example.reference), 1), dtype="uint64"))
            for token in example.reference:
                token.is_sent_start = None
            yield example

    assert train(nlp, taken_away, 1) == {"tagger", head}
    # Where it owns every corpus, or is frozen, there is nothing to mask.
    assert len(list(read(["tagger", head])(nlp))) == 6
    nlp.config["training"]["frozen_components"] = [head]
    assert len(list(read(["tagger"])(nlp))) == 6


def test_two_heads_of_one_annotation():
    nlp = pipeline("textcat_multilabel", "tagger")
    nlp.add_pipe("transfer_textcat_multilabel")
    with pytest.raises(ValueError, match="T521.*'transfer_textcat_multilabel' but not 'textcat_multilabel'.*doc.cats"):
        read(["transfer_textcat_multilabel"])(nlp)
    # Ours reads the mark: nothing need be cleared.
    found = list(read(["textcat_multilabel"])(nlp))
    assert all(eg.reference.cats and not eg.reference.has_annotation("TAG") for eg in found)


def test_numbers_in_categories_are_an_annotation_of_two_heads():
    def make(**config):
        nlp = pipeline("textcat_multilabel")
        nlp.add_pipe("transfer_regressor", config=config)
        return nlp

    with pytest.raises(ValueError, match=r"T521.*'transfer_regressor' but not 'textcat_multilabel'.*doc\.cats"):
        read(["transfer_regressor"])(make(source="cats"))
    assert all(not eg.reference.cats for eg in read(["transfer_regressor"])(make(attribute="score")))


@pytest.mark.parametrize(
    ("owner", "config"),
    [("transfer_regressor", {"attribute": "rate", "spans_key": "sc"}), ("spancat", {"spans_key": "sc"})],
)
def test_spans_that_are_an_annotation_of_two_heads(owner, config):
    nlp = pipeline()
    nlp.add_pipe("ner", config={"incorrect_spans_key": "sc", **NER})
    nlp.add_pipe(owner, config=config)
    with pytest.raises(ValueError, match=rf"T521.*'{owner}' but not 'ner'.*doc\.spans\['sc'\]"):
        read([owner])(nlp)


def test_a_tagger_of_parts_of_speech_leaves_the_tags():
    nlp = pipeline("tagger")
    nlp.add_pipe("transfer_tagger", config={"attribute": "pos"})
    assert all(not eg.reference.has_annotation("TAG") for eg in read(["transfer_tagger"])(nlp))
    nlp = pipeline("tagger")
    nlp.add_pipe("transfer_tagger")
    with pytest.raises(ValueError, match="T521.*'transfer_tagger' but not 'tagger'.*token.tag"):
        read(["transfer_tagger"])(nlp)


def test_explosion_spacy_6377_merged_corpora_leave_no_component_without_predictions():
    """One corpus has entities, the other, larger one has categories and no entities, which spaCy takes for "outside". A
    pipeline that is trained on both at once finds no entity any more; where each corpus names who learns from it, the
    entities are found, and so are the categories."""
    names = ["Anna", "Bob", "Carl", "Dora"]

    def with_entities(nlp):
        for name in names:
            yield Example.from_dict(nlp.make_doc(f"{name} sings"), {"entities": [(0, len(name), "X")]})

    def with_cats(nlp):
        for i in range(24):
            name, word = names[i % 4], ["sings", "reads"][i // 4 % 2]
            annotation = {"cats": {"song": float(word == "sings"), "book": float(word == "reads")}, "entities": []}
            yield Example.from_dict(nlp.make_doc(f"{name} {word}"), annotation)

    def run(owners):
        spacy.util.fix_random_seed(0)
        nlp = pipeline("ner", "textcat_multilabel")
        blocks = {"entities": {"reader": with_entities}, "cats": {"reader": with_cats}}
        for name, trains in owners.items():
            blocks[name]["trains"] = trains
        reader = create_mixed_corpus_v1(corpora=blocks)
        nlp.initialize(lambda: reader(nlp))
        train(nlp, reader, 40)
        docs = [nlp(f"{name} sings") for name in names]
        return [[ent.label_ for ent in doc.ents] for doc in docs], [doc.cats["song"] > 0.5 for doc in docs]

    merged, _ = run({})
    assert merged == [[]] * 4
    assert run({"entities": ["ner"], "cats": ["textcat_multilabel"]}) == ([["X"]] * 4, [True] * 4)
