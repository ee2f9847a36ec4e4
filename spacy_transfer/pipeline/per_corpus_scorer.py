"""PerCorpusScorer.v1: scores of a component on each of its corpora, and on all together."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial

from spacy.training import Example

from ..corpora.example_info import corpus_of, may_train, trains_of
from ..errors import Errors

Scorer = Callable[..., dict[str, object]]


def create_per_corpus_scorer_v1(*, component: str, scorer: Scorer) -> Scorer:
    """What another scorer finds on the examples that a component may learn from, and the same for each corpus, as
    CORPUS_SCORE: `wnut17_ents_f` beside `ents_f`. Examples come from MixedCorpus.v1; those that no reader has marked
    all count, and belong to no corpus.

    component (str): Name of the component that is scored. (spaCy does not tell a scorer.)
    scorer (Callable[[Iterable[Example]], Dict[str, object]]): Any scorer.
    RETURNS (Callable[[Iterable[Example]], Dict[str, object]]): The scorer.
    """
    return partial(score_per_corpus, component=component, scorer=scorer)


def score_per_corpus(
    examples: Iterable[Example], *, component: str, scorer: Scorer, **settings: object
) -> dict[str, object]:
    """See `create_per_corpus_scorer_v1`. RAISES (ValueError): When every example belongs to others."""
    examples = list(examples)
    own = [example for example in examples if may_train(example.reference, component)]
    if examples and not own:
        named = sorted({name for example in examples for name in trains_of(example.reference) or ()})
        near = get_close_matches(component, named, n=3, cutoff=0.4) or "none"
        what = f"is not among those that the corpora of the examples name ({named})"
        facts = {"key": "PerCorpusScorer.v1", "component": component, "near": near}
        raise ValueError(Errors.T522.format(what=what, **facts))
    scores = dict(scorer(own, **settings))
    by_corpus: dict[str, list[Example]] = {}
    for example in own:
        corpus = corpus_of(example.reference)
        if corpus is not None:
            by_corpus.setdefault(corpus, []).append(example)
    for corpus, part in by_corpus.items():
        scores.update({f"{corpus}_{name}": value for name, value in scorer(part, **settings).items()})
    return scores
