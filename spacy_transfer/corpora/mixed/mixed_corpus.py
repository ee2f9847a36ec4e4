"""MixedCorpus.v1: several corpora, each with the components that learn from it."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import count, islice
from typing import Literal
from weakref import ref

from spacy.language import Language
from spacy.training import Example

from ...errors import Errors
from ...types import Config
from ..doc_copies import copy_with_info
from ..example_info import corpus_of, note_origin, trains_of
from .corpus_checks import NAME, check_score_names, check_use, examples_of
from .label_cover import MOST, Label, LabelCover, LabelReader
from .masking import Masking
from .sampling import Draws, Rule, check_rule

Reader = Callable[[Language], Iterable[Example]]
_KEYS = {"reader", "trains", "limit"}


def create_mixed_corpus_v1(
    *,
    corpora: dict[str, Config],
    sampling: Literal["proportional", "temperature", "annealed", "round_robin", "weights"] | None = None,
    temperature: float = 2.0,
    anneal: int = 0,
    weights: dict[str, float] | None = None,
    epoch_size: int = 0,
    in_memory: bool = False,
    shuffle: int = 1000,
    seed: int = 0,
) -> Callable[[Language], Iterator[Example]]:
    """Read several corpora as one. No component learns from a corpus that does not name it.

    With a rule of sampling, for training, a pass is `epoch_size` draws, and training.max_epochs must be -1. A corpus
    that ends begins again. Draws follow the shares of the rule closely (see `sampling.Draws`). A pass begins
    with the few examples that show all labels of components that have not been initialised, since spaCy initialises on
    100 (categories where they hold, as far as there is room); one that is left early is begun again from there.

    corpora (Dict[str, Dict[str, Any]]): By name: `reader`, any reader; `trains`, names of the components that learn
        from it (one at least), null for all, or for those that the reader itself has named; `limit`, the most examples
        of one reading, 0 for all (a reader that has no end needs one).
    sampling (Optional[str]): "proportional" to the numbers of examples, or to their powers of 1 / `temperature`
        ("temperature"), "annealed" from proportional to equal, "round_robin", by `weights` ("weights"). None: all
        corpora whole, one after the other, as for development sets.
    temperature (float): 1 is proportional; the higher, the more equal.
    anneal (int): After how many draws the shares of "annealed" are equal.
    weights (Optional[Dict[str, float]]): By corpus.
    epoch_size (int): Examples of a pass; 0 for as many as all corpora hold, more than 100 in any case.
    in_memory (bool): Keep all examples, and shuffle each corpus whole. Otherwise they are read anew, and of each corpus
        `shuffle` are held to draw from.
    shuffle (int): 0 for the order of the file.
    seed (int): Of draws and shuffling: the same gives the same order.
    RETURNS (Callable[[Language], Iterator[Example]]): The reader.
    """
    parts = [_make_part(name, block) for name, block in corpora.items()]
    if not parts:
        raise ValueError(Errors.T526.format(where="corpora", problem="there are none.", near=""))
    check_rule(sampling, list(corpora), temperature, anneal, weights)
    for name, found, least in (("epoch_size", epoch_size, MOST + 1), ("shuffle", shuffle, 0)):
        if found < 0 or (found and found < least):
            wanted = f"It must be at least {least}: initialisation reads {MOST}." if least else "It is 0 or more."
            raise ValueError(Errors.T518.format(name=name, found=found, sampling=sampling, wanted=wanted))
    in_order = None if weights is None else [weights[name] for name in corpora]

    def make_rule(sizes: list[int]) -> Rule:
        assert sampling is not None
        return Rule(sampling, sizes, temperature=temperature, anneal=anneal, weights=in_order)

    return MixedCorpus(
        parts, sampling, make_rule, epoch_size=epoch_size, in_memory=in_memory, shuffle=shuffle, seed=seed
    )


@dataclass(frozen=True)
class Part:
    """One of the corpora; see `create_mixed_corpus_v1`."""

    name: str
    reader: Reader
    trains: tuple[str, ...] | None
    limit: int


def _make_part(name: str, block: Config) -> Part:
    where = f"corpora.{name}"
    unknown = sorted(set(block) - _KEYS)
    if unknown:
        near = get_close_matches(unknown[0], _KEYS)
        near_text = f"Nearest to {unknown[0]!r}: {near[0]!r}." if near else ""
        raise ValueError(Errors.T526.format(where=where, problem=f"it has {unknown}.", near=near_text))
    if not callable(block.get("reader")):
        raise ValueError(Errors.T526.format(where=where, problem="it has no reader.", near=""))
    trains, limit = block.get("trains"), block.get("limit", 0)
    if isinstance(trains, str) or not (trains is None or all(isinstance(other, str) for other in trains)):
        raise ValueError(Errors.T526.format(where=where, problem=f"trains = {trains!r} is no list of names.", near=""))
    if not isinstance(limit, int) or limit < 0:
        raise ValueError(Errors.T526.format(where=where, problem=f"limit = {limit!r}: it is 0 or more.", near=""))
    return Part(name, block["reader"], None if trains is None else tuple(trains), limit)


@dataclass
class Plan:
    """State of the corpora for one pipeline: its config, interpolated; its heads; which settings of [training] name
    this
    reader (see `roles_of`); and kept examples, by corpus."""

    nlp: "ref[Language]"
    config: Config
    masking: Masking
    roles: set[str]
    memory: dict[str, list[Example]] = field(default_factory=dict)
    is_counted: bool = False
    sizes: list[int] = field(default_factory=list)
    cover: LabelCover = field(default_factory=LabelCover)
    labels: LabelReader | None = None


@dataclass
class Run:
    """State of the draws, kept from one pass to the next."""

    draws: Draws
    streams: list[Iterator[Example]]
    first: list[Example]


class MixedCorpus:
    """Examples of several corpora, marked; see `create_mixed_corpus_v1`."""

    def __init__(
        self,
        parts: list[Part],
        sampling: str | None,
        make_rule: Callable[[list[int]], Rule],
        *,
        epoch_size: int,
        in_memory: bool,
        shuffle: int,
        seed: int,
    ) -> None:
        self._parts, self._sampling, self._make_rule = parts, sampling, make_rule
        self._epoch_size, self._in_memory = epoch_size, in_memory
        self._shuffle, self._seed = shuffle, seed
        self._plan: Plan | None = None
        self._next: Run | None = None

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """RETURNS (Iterator[Example]): One pass."""
        plan = self._plan_for(nlp)
        if self._sampling is None:
            return self._whole(plan, nlp)
        run, self._next = self._next or self._begin(plan, nlp), None
        if not run.first:
            # An earlier pass may have been for initialisation alone.
            run.first = self._first(plan, [("", part.name) for part in self._parts])
        return self._pass(plan, run)

    def _plan_for(self, nlp: Language) -> Plan:
        if self._plan is None or self._plan.nlp() is not nlp:
            config = nlp.config.interpolate()
            roles = check_use(nlp, config, {part.name: part.trains for part in self._parts}, self._sampling)
            masking = Masking(nlp, config["training"].get("frozen_components") or ())
            for part in self._parts:
                masking.clears_for(part.name, part.trains)
            self._plan, self._next = Plan(ref(nlp), config, masking, roles), None
        return self._plan

    # Corpora whole

    def _whole(self, plan: Plan, nlp: Language) -> Iterator[Example]:
        sample: list[Example] = []
        is_dev = "dev_corpus" in plan.roles
        for part in self._parts:
            n = 0
            for n, example in enumerate(self._read(part, plan, nlp), 1):
                if n <= 2 and is_dev:
                    sample.append(example)
                yield example
            _require(n, part, plan)
        if is_dev:
            check_score_names(nlp, plan.config, sample)

    def _read(self, part: Part, plan: Plan, nlp: Language) -> Iterable[Example]:
        """One reading of a corpus."""
        if part.name in plan.memory:
            return plan.memory[part.name]
        examples = islice(examples_of(part.name, part.reader, nlp), part.limit or None)
        found = (self._own(part, plan, example) for example in examples)
        if self._in_memory:
            plan.memory[part.name] = list(found)
            return plan.memory[part.name]
        return found

    @staticmethod
    def _own(part: Part, plan: Plan, example: Example) -> Example:
        """Mark an example, and clear what components that know no marks would learn from it."""
        reference = example.reference
        trains = trains_of(reference)
        if part.trains is not None:
            trains = tuple(name for name in part.trains if trains is None or name in trains)
        clears = plan.masking.clears_for(part.name, trains)
        # The reader may keep its docs, or give them to another corpus as well.
        reference = copy_with_info(reference)
        example = Example(example.predicted, reference)
        for clear, pipe in clears:
            clear(reference, pipe)
        note_origin(reference, part.name, trains)
        return example

    # Corpora by a rule

    def _begin(self, plan: Plan, nlp: Language) -> Run:
        if not plan.is_counted:
            self._count(plan, nlp)
        draws = Draws(self._make_rule(plan.sizes), random.Random(f"{self._seed}/draws"))
        return Run(draws, [self._stream(part, plan, ref(nlp)) for part in self._parts], self._first(plan))

    def _first(self, plan: Plan, shown: Iterable[Label] = ()) -> list[Example]:
        """The examples that show each corpus, and all labels that components do not have yet; categories also where
        they hold, as far as there is room."""
        assert plan.labels is not None
        first = plan.cover.choose({*plan.labels.known(), *shown}, MOST)
        if len(first) > MOST:
            of = [corpus_of(example.reference) for example in first]
            each = ", ".join(f"{part.name}: {of.count(part.name)}" for part in self._parts)
            raise ValueError(Errors.T519.format(count=len(first), each=each, most=MOST))
        random.Random(f"{self._seed}/first").shuffle(first)
        return first

    def _count(self, plan: Plan, nlp: Language) -> None:
        """Go through all corpora once: how much they hold, and which examples show their labels."""
        plan.labels, heads = LabelReader(nlp, plan.config), list(plan.masking.heads)
        plan.labels.check(name for name in heads if any(name in (part.trains or heads) for part in self._parts))
        plan.sizes = [0] * len(self._parts)
        cover = [LabelCover() for _ in self._parts]
        for i, part in enumerate(self._parts):
            for example in self._read(part, plan, nlp):
                plan.sizes[i] += 1
                marked = trains_of(example.reference)
                trains = heads if marked is None else marked
                shown, holding = plan.labels(example, trains), plan.labels.holding(example, trains)
                cover[i].add(example, {*shown, ("", part.name)}, holding)
            _require(plan.sizes[i], part, plan)
        # Corpora that are never drawn need not be shown.
        shares = self._make_rule(plan.sizes).shares(0)
        plan.cover = LabelCover.joined([part for part, share in zip(cover, shares, strict=True) if share > 0])
        plan.is_counted = True

    def _stream(self, part: Part, plan: Plan, nlp: "ref[Language]") -> Iterator[Example]:
        """A corpus without end: shuffled anew each time."""
        for reading in count():
            pipeline, n = nlp(), 0
            assert pipeline is not None
            generator = random.Random(f"{self._seed}/{part.name}/{reading}")
            examples = self._read(part, plan, pipeline)
            room = len(plan.memory[part.name]) if self._in_memory else self._shuffle
            for n, example in enumerate(_shuffled(examples, room, generator), 1):  # noqa: B007
                yield example
            _require(n, part, plan)

    def _pass(self, plan: Plan, run: Run) -> Iterator[Example]:
        size = self._epoch_size or max(sum(plan.sizes), MOST + 1)
        places = {part.name: i for i, part in enumerate(self._parts)}
        first, run.first = run.first, []
        for example in first:
            run.draws.count(places[str(corpus_of(example.reference))])
            yield example
        for _ in range(size - len(first)):
            yield next(run.streams[run.draws.next()])
        self._next = run


def _require(n: int, part: Part, plan: Plan) -> None:
    if not n:
        where = " or ".join(f"training.{role}" for role in sorted(plan.roles)) or NAME
        raise ValueError(Errors.T514.format(corpus=part.name, where=where))


def _shuffled(examples: Iterable[Example], room: int, generator: random.Random) -> Iterator[Example]:
    """Shuffle a stream of which so many are held at a time: whole, if that is all of it."""
    held: list[Example] = []
    for example in examples:
        held.append(example)
        if len(held) > room:
            i = generator.randrange(len(held)) if room else 0
            held[i], held[-1] = held[-1], held[i]
            yield held.pop()
    generator.shuffle(held)
    yield from held
