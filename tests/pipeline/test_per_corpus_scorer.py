"""Scores of a component on its own corpora, against spaCy's scorers called on those examples by hand."""

import pytest
import spacy
from spacy.pipeline.ner import make_ner_scorer
from spacy.scorer import Scorer
from spacy.training import Example

from spacy_transfer.corpora.example_info import note_origin
from spacy_transfer.pipeline.per_corpus_scorer import create_per_corpus_scorer_v1


def example(nlp, text, gold, found, corpus, trains):
    example = Example.from_dict(nlp.make_doc(text), {"entities": gold})
    example.predicted.set_ents([example.predicted.char_span(*span) for span in found])
    if corpus is not None:
        note_origin(example.reference, corpus, trains)
    return example


@pytest.fixture
def examples(nlp):
    one, other = (0, 4, "X"), (5, 8, "Y")
    rows = [
        ("news", ["ner"], [one], [one]),
        ("news", ["ner", "tagger"], [one, other], [one]),
        ("tweets", ["ner"], [one], [other]),
        ("tweets", ["ner"], [other], [one, other]),
        ("reviews", ["tagger"], [one, other], []),
    ]
    return [example(nlp, "Anna saw", gold, found, corpus, trains) for corpus, trains, gold, found in rows]


def make(component="ner"):
    return create_per_corpus_scorer_v1(component=component, scorer=make_ner_scorer())


def test_own_corpora_together_and_each(examples):
    found = make()(examples)
    for prefix, part in (("", examples[:4]), ("news_", examples[:2]), ("tweets_", examples[2:4])):
        for name, value in Scorer.score_spans(part, "ents", getter=lambda doc, _: doc.ents).items():
            assert found[prefix + name] == value
    assert not [name for name in found if name.startswith("reviews")]
    assert found["news_ents_f"] > found["tweets_ents_f"] > 0


def test_examples_that_nobody_marked_all_count(nlp, examples):
    for eg in examples:
        eg.reference.user_data.clear()
    assert make()(examples) == make_ner_scorer()(examples)
    assert make()([]) == make_ner_scorer()([])


def test_settings_of_the_component_reach_the_scorer(examples):
    seen = []

    def scorer(examples, **settings):
        seen.append((len(examples), settings))
        return {"x": 1.0}

    found = create_per_corpus_scorer_v1(component="ner", scorer=scorer)(examples, labels=("A",), threshold=0.5)
    assert found == {"x": 1.0, "news_x": 1.0, "tweets_x": 1.0}
    assert seen == [(n, {"labels": ("A",), "threshold": 0.5}) for n in (4, 2, 2)]


def test_a_component_that_no_corpus_names(examples):
    with pytest.raises(ValueError, match=r"T522.*'taggr'.*\['ner', 'tagger'\].*\['tagger'\]"):
        make("taggr")(examples)


def test_in_a_pipeline(examples):
    nlp = spacy.blank("en")
    inner = {"@scorers": "spacy.ner_scorer.v1"}
    scorer = {"@scorers": "spacy-transfer.PerCorpusScorer.v1", "component": "ner", "scorer": inner}
    pipe = nlp.add_pipe("ner", config={"scorer": scorer})
    assert pipe.score(examples) == make()(examples)
