"""Pipelines and steps that the tests of this folder share."""

import numpy
import spacy
from spacy.training import Example
from thinc.api import Adam

LISTENER = {"@architectures": "spacy-transfer.Listener.v1"}
TAGGER = {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}
TEXTCAT = {
    "@architectures": "spacy.TextCatReduce.v1",
    "exclusive_classes": True,
    "use_reduce_first": False,
    "use_reduce_last": False,
    "use_reduce_max": False,
    "use_reduce_mean": True,
    "tok2vec": LISTENER,
}
PARSER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "parser",
    "extra_state_tokens": False,
    "hidden_width": 16,
    "maxout_pieces": 2,
    "use_upper": True,
    "tok2vec": LISTENER,
}
NER = {**PARSER, "state_type": "ner"}
SPANCAT = {
    "@architectures": "spacy.SpanCategorizer.v1",
    "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 16},
    "scorer": {"@layers": "spacy.LinearLogistic.v1"},
    "tok2vec": LISTENER,
}
HEADS = {
    "tagger": TAGGER,
    "morphologizer": TAGGER,
    "ner": NER,
    "parser": PARSER,
    "spancat": SPANCAT,
    "textcat": TEXTCAT,
}
TEXTS = ["the cat sees a dog", "a dog sings", "dogs see the big cat here", "cat sings"]


def backbone_config(source, **settings):
    """Trained, whatever the optimizer."""
    model = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": str(source)}
    return {"model": {**model, "window": 32, "overlap": 8, **settings}, "frozen": False}


def make_pipeline(source, heads=("tagger",), *, frozen=False, models=None, **component):
    """A backbone with heads, initialised on `make_examples`; seeded."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(source), "frozen": frozen, **component})
    for head in heads:
        config = {"min_action_freq": 1} if head == "parser" else {}
        nlp.add_pipe(head, config={**config, "model": {**HEADS, **(models or {})}[head]})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp, examples, Adam(0.01, L2=0.0)


def make_examples(nlp, texts=TEXTS):
    """Every annotation, made up from the letters of the words."""
    examples = []
    for text in texts:
        doc = nlp.make_doc(text)
        words = [token.text for token in doc]
        heads = [min(i, 1) for i in range(len(words))]
        heads[0] = 1
        is_animal = [word.rstrip("s") in ("cat", "dog") for word in words]
        annotation = {
            "tags": [word[0].upper() for word in words],
            "morphs": [f"Len={min(len(word), 4)}" for word in words],
            "pos": ["NOUN" if animal else "VERB" for animal in is_animal],
            "heads": heads,
            "deps": ["ROOT" if i == 1 else "nsubj" for i in range(len(words))],
            "entities": [(t.idx, t.idx + len(t), "ANIMAL") for t, a in zip(doc, is_animal, strict=True) if a],
            "spans": {"sc": [(t.idx, t.idx + len(t), "ANIMAL") for t, a in zip(doc, is_animal, strict=True) if a]},
            "cats": {"long": float(len(words) > 3), "short": float(len(words) <= 3)},
        }
        examples.append(Example.from_dict(doc, annotation))
    return examples


def step(nlp, examples, optimizer, exclude=(), **kwargs):
    """What `spacy train` does for a batch."""
    losses = {}
    nlp.update(examples, sgd=False, losses=losses, exclude=list(exclude), **kwargs)
    for name, pipe in nlp.pipeline:
        if name not in exclude and hasattr(pipe, "finish_update"):
            pipe.finish_update(optimizer)
    return losses


def weights(nlp, name="transfer_backbone"):
    """All numbers of the encoder as one vector."""
    encoder = nlp.get_pipe(name).model.shims[0].encoder
    return numpy.concatenate([p.detach().numpy().ravel().copy() for p in encoder.parameters()])


def gradients(nlp, name="transfer_backbone"):
    """All gradients of the encoder as one vector."""
    encoder = nlp.get_pipe(name).model.shims[0].encoder
    return numpy.concatenate([p.grad.numpy().ravel().copy() for p in encoder.parameters() if p.grad is not None])
