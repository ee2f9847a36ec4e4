"""Folds of a train corpus: equal texts are in the same one, and the texts of a label are spread over all."""

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy
from spacy.language import DEFAULT_CONFIG, Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry
from thinc.api import Config as ThincConfig

from ...errors import Errors, WrongUsage
from ...types import Config
from .space import Value, look_up, put

Reader = Callable[[Language], Iterable[Example]]
MOST = 100_000
"""Examples of a corpus that is split. One that has more may have no end."""
_NAME = "spacy-transfer.Fold.v1"
"""Registered in the processes of a search alone: it stands in no config that is kept."""


@dataclass(frozen=True)
class Found:
    """What is in a corpus.

    n_texts (int): Different texts.
    rare (List[str]): Labels of fewer different texts than there are folds.
    """

    n_texts: int
    rare: list[str]


@dataclass(frozen=True)
class Folds:
    """How a train corpus is split; the same for all trials.

    count (int): How many folds.
    seed (int): Of the order in which texts are dealt out.
    RAISES (WrongUsage): When there are fewer than two.
    """

    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 2:
            raise WrongUsage(Errors.T915.format(found=self.count))

    def check(self, nlp: Language) -> Found:
        """RETURNS (Found): What is in the train corpus of a config.

        nlp (Language): The pipeline of the config.
        RAISES (ValueError): When the corpus cannot be split, or a training would not end.
        """
        config = nlp.config.interpolate()
        training, name = config["training"], config["training"]["train_corpus"]
        if training["max_epochs"] < 0:
            raise ValueError(Errors.T917.format(name=name, problem="it is streamed ([training] max_epochs = -1)"))
        if not (training["max_steps"] or training["max_epochs"]):
            raise ValueError(Errors.T918)
        block = _block(config, name)
        if _augments(block):
            raise ValueError(Errors.T917.format(name=name, problem="it has an augmenter, which makes further texts"))
        corpus = _built(block)
        texts, again = ({eg.reference.text: eg.reference for eg in _first(corpus, nlp, name)} for _ in range(2))
        if set(texts) != set(again):
            raise ValueError(Errors.T917.format(name=name, problem="it gives other texts each time"))
        if len(texts) < self.count:
            raise ValueError(Errors.T916.format(found=self.count, count=len(texts)))
        counts = Counter(label for doc in texts.values() for label in _labels(doc))
        return Found(len(texts), sorted(label for label, count in counts.items() if count < self.count))

    def deal(self, examples: Iterable[Example]) -> dict[str, int]:
        """The rarest label is dealt out first. Each of its texts goes where the label is still short, and of such folds
        where texts are (iterative stratification; Sechidis et al. 2011).

        RETURNS (Dict[str, int]): The fold of each text.
        """
        held = {example.reference.text: _labels(example.reference) or {""} for example in examples}
        order, draws = sorted(held), numpy.random.default_rng(self.seed)
        members = defaultdict[str, list[str]](list)
        for i in draws.permutation(len(order)):
            for label in held[order[i]]:
                members[label].append(order[i])
        left = {label: len(texts) for label, texts in members.items()}
        short = {label: numpy.full(self.count, n / self.count) for label, n in left.items()}
        room, fold_of = numpy.full(self.count, len(order) / self.count), dict[str, int]()
        while left:
            rarest = min(left, key=lambda label: (left[label], label))
            for text in members[rarest]:
                if text in fold_of:
                    continue
                fold_of[text] = fold = int(numpy.lexsort((-room, -short[rarest]))[0])
                room[fold] -= 1
                for label in held[text]:
                    short[label][fold] -= 1
                    if label in left:
                        left[label] -= 1
            del left[rarest]
        return fold_of

    def without(self, config: Config, fold: int) -> Config:
        """RETURNS (Dict[str, Any]): The config of a training that never sees a fold. Its dev corpus is the rest too:
        callbacks such as `spacy-transfer.Calibrate.v1` read it."""
        config = ThincConfig(copy.deepcopy(config)).interpolate()
        whole = _with_defaults(config)
        train, dev = whole["training"]["train_corpus"], whole["training"]["dev_corpus"]
        rest = {"@readers": _NAME, "corpus": _block(whole, train), **vars(self), "fold": fold}
        put(config, train, rest)
        if isinstance(_find(whole, dev), dict):
            put(config, dev, copy.deepcopy(rest))
        config["training"]["dev_corpus"] = train
        return config

    def held_out(self, config: Config, fold: int) -> Reader:
        """RETURNS (Callable): Reads what `without` leaves out."""
        whole = _with_defaults(config)
        corpus = _built(_block(whole, whole["training"]["train_corpus"]))
        return partial(_read, self, corpus, lambda own: own == fold)


def _reader(corpus: Reader, count: int, seed: int, fold: int) -> Reader:
    return partial(_read, Folds(count, seed), corpus, lambda own: own != fold)


registry.readers.register(_NAME, func=_reader)


def _read(folds: Folds, corpus: Reader, wanted: Callable[[int], bool], nlp: Language) -> Iterator[Example]:
    examples = list(corpus(nlp))
    fold_of = folds.deal(examples)
    return (example for example in examples if wanted(fold_of[example.reference.text]))


def _labels(doc: Doc) -> set[str]:
    """Labels of the text, or else of what is in it: entities and spans, or else tags."""
    spans = (*doc.ents, *(span for group in doc.spans.values() for span in group))
    return (
        {label for label, value in doc.cats.items() if value > 0.5}
        or {span.label_ for span in spans}
        or {token.tag_ or token.pos_ for token in doc} - {""}
    )


def _with_defaults(config: Config) -> Config:
    """What a config says, and what it leaves to spaCy's defaults."""
    return DEFAULT_CONFIG.merge(ThincConfig(config).interpolate())


def _find(config: Config, name: str) -> Value:
    """What a corpus is in a config; None where it has no place of its own."""
    try:
        return look_up(config, name)
    except (KeyError, TypeError):
        return None


def _block(config: Config, name: str) -> Config:
    block = _find(config, name)
    if not (isinstance(block, dict) and "@readers" in block):
        raise ValueError(Errors.T917.format(name=name, problem="it has no block with @readers of its own"))
    return block


def _built(block: Config) -> Reader:
    reader: Reader = registry.resolve({"corpus": block})["corpus"]
    return reader


def _first(corpus: Reader, nlp: Language, name: str) -> list[Example]:
    examples = list(islice(corpus(nlp), MOST + 1))
    if len(examples) > MOST:
        raise ValueError(Errors.T917.format(name=name, problem=f"it has more than {MOST:,} texts, or no end"))
    return examples


def _augments(block: Value) -> bool:
    """Whether a reader, or one inside it, has an augmenter."""
    if not isinstance(block, dict):
        return False
    return block.get("augmenter") is not None or any(_augments(value) for value in block.values())
