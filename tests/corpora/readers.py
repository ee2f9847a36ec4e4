"""Corpora of their own for the tests of this folder, and a pipeline of small stock heads."""

import spacy
from spacy.training import Example

TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 16,
    "depth": 1,
    "embed_size": 100,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": False,
}
TAGGER = {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": TOK2VEC}}
PARSER = {
    "model": {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "parser",
        "extra_state_tokens": False,
        "hidden_width": 16,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": TOK2VEC,
    },
    "min_action_freq": 1,
}
NER = {"model": {**PARSER["model"], "state_type": "ner"}}
TEXTCAT = {"model": {"@architectures": "spacy.TextCatCNN.v2", "exclusive_classes": False, "tok2vec": TOK2VEC}}
HEADS = {
    "tagger": TAGGER,
    "morphologizer": TAGGER,
    "senter": TAGGER,
    "trainable_lemmatizer": {**TAGGER, "min_tree_freq": 1},
    "parser": PARSER,
    "ner": NER,
    "textcat_multilabel": TEXTCAT,
    "textcat": {"model": {**TEXTCAT["model"], "exclusive_classes": True}},
    "spancat": {
        "model": {
            "@architectures": "spacy.SpanCategorizer.v1",
            "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 16},
            "scorer": {"@layers": "spacy.LinearLogistic.v1"},
            "tok2vec": TOK2VEC,
        }
    },
}


def pipeline(*heads):
    """RETURNS (Language): Heads that are not initialised."""
    nlp = spacy.blank("en")
    for head in heads:
        nlp.add_pipe(head, config=HEADS.get(head, {}))
    return nlp


class Texts:
    """A reader: examples from (text, annotation), made anew each time.

    pairs (Callable[[], Iterable[Tuple[str, Dict[str, Any]]]]): Gives them.
    """

    def __init__(self, pairs):
        self.pairs, self.n_readings = pairs, 0

    def __call__(self, nlp):
        self.n_readings += 1
        for text, annotation in self.pairs():
            yield Example.from_dict(nlp.make_doc(text), annotation)


def cats(n, labels="AB", name="c"):
    return Texts(lambda: ((f"{name} {i}", {"cats": {labels[i % len(labels)]: 1.0}}) for i in range(n)))


def ents(n, label="PER", name="e"):
    return Texts(lambda: ((f"{name} {i}", {"entities": [(0, 1, label)]}) for i in range(n)))


def names(examples):
    return [example.reference[0].text for example in examples]
