"""A small teacher on disk, and how often it is asked."""

import spacy
from spacy.training import Example
from thinc.api import Adam

TEXTS = ["Anna sings in Rome", "Berlin likes Anna", "the dog barks", "Bob sees the dog in Paris", "a cat sleeps"]
NAMES, PLACES = {"Anna", "Bob"}, {"Rome", "Berlin", "Paris"}


def gold(nlp, text):
    """Every annotation, by rules."""
    doc = nlp.make_doc(text)
    ents = [(t.idx, t.idx + len(t), "PERSON" if t.text in NAMES else "GPE") for t in doc if t.text in NAMES | PLACES]
    words = [token.text for token in doc]
    cats = {"animal": float("dog" in words or "cat" in words)}
    cats["human"] = 1.0 - cats["animal"]
    heads, deps = (
        [min(1, len(doc) - 1)] * len(doc),
        ["ROOT" if i == min(1, len(doc) - 1) else "dep" for i in range(len(doc))],
    )
    tags = ["NAME" if token.text[0].isupper() else "WORD" for token in doc]
    return Example.from_dict(doc, {"entities": ents, "cats": cats, "tags": tags, "heads": heads, "deps": deps})


def stock_pipeline(names=("tagger", "parser", "ner", "textcat"), steps=20):
    """A trained pipeline of spaCy's own components."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    encoder = {"@architectures": "spacy.HashEmbedCNN.v2", "width": 16, "depth": 1, "embed_size": 100}
    encoder |= {"window_size": 1, "maxout_pieces": 2, "subword_features": True, "pretrained_vectors": None}
    nlp.add_pipe("tok2vec", config={"model": encoder})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    for name in names:
        config = {"model": {**nlp.get_factory_meta(name).default_config["model"], "tok2vec": listener}}
        if name.startswith("textcat"):
            config["model"] = {"@architectures": "spacy.TextCatReduce.v1", "tok2vec": listener, "use_reduce_mean": True}
            config["model"] |= {"exclusive_classes": name == "textcat", "use_reduce_max": False}
            config["model"] |= {"use_reduce_first": False, "use_reduce_last": False}
        nlp.add_pipe(name, config=config | ({"min_action_freq": 1} if name == "parser" else {}))
    examples = [gold(nlp, text) for text in TEXTS]
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.03)
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)
    return nlp


class Counter:
    """Counts the docs that a component of any pipeline that is loaded sees."""

    def __init__(self, monkeypatch, pipe_class, method="predict"):
        self.texts = []
        original = getattr(pipe_class, method)

        def counted(pipe, docs, *args, **kwargs):
            docs = list(docs)
            self.texts += [doc.text for doc in docs]
            return original(pipe, docs, *args, **kwargs)

        monkeypatch.setattr(pipe_class, method, counted)
