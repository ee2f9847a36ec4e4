"""Tasks: what each head of a config would read, and the labels that it would learn from it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, cast

import numpy
from spacy.language import Language
from spacy.training import Example
from thinc.api import Config

from ..errors import Errors, Warnings
from ..heads.pooling import POOLINGS
from ..pipeline.backbone.component import Backbone
from ..pipeline.labels.carry import Carry
from ..types import Config as Block
from ..types import Floats, Pipe
from .estimators.estimate import Targets
from .gold import Gold, HeadGold, gold_of, strata_of

Pooling = tuple[str, ...]
"""Kinds of poolings side by side, as in the block of a head; or what is read in their place: "tokens", or "document",
the row that the backbone gives a doc, with its kind: "document mean", "document cls"."""
TOKENS: Pooling = ("tokens",)
DOCUMENT = "document"
POOLED = ("spacy-transfer.TextCatHead.v1", "spacy-transfer.RegressionHead.v1")
"""Heads whose pooling can be chosen."""
FACTORY = "transfer_backbone"
_STAND_IN = {"@architectures": "spacy-transfer.HashEmbedBackbone.v1", "width": 2, "attrs": ["NORM"], "rows": [2]}


@dataclass(frozen=True)
class Head:
    """A head of the config.

    poolings (List[Tuple[str, ...]]): Its own pooling, and then others that its config could have.
    normalize (bool): Whether it scales the pooled row to length 1.
    weight (float): In the score of the training.
    """

    name: str
    gold: HeadGold
    poolings: list[Pooling]
    normalize: bool
    weight: float


@dataclass(frozen=True)
class Task:
    """A head, and the labels of a sample of its texts."""

    head: Head
    gold: Gold

    @property
    def targets(self) -> Targets:
        """RETURNS (Targets): For estimators."""
        values = self.gold.values
        return Targets(self.gold.kind, values, None if self.head.gold.reads == "docs" else self.gold.docs)


def backbone_name(config: Config) -> str:
    """RETURNS (str): Name of the one backbone of a config.

    RAISES (ValueError): When there is none, or more than one.
    """
    components, pipeline = config.get("components", {}), config["nlp"]["pipeline"]
    names = [name for name in pipeline if components.get(name, {}).get("factory") == FACTORY]
    if len(names) != 1:
        raise ValueError(Errors.T887.format(factory=FACTORY, found=names or "none"))
    return names[0]


def with_stand_in(config: Config, backbone: str) -> Config:
    """The config with a tiny backbone in place of its own, for which heads find their labels. Nothing is read from
    pretrained files or other pipelines, and no head is solved.

    config (Config): Interpolated.
    """
    config = copy.deepcopy(config)
    component, settings = config["components"][backbone], config.setdefault("initialize", {})
    component["model"], component["frozen"] = dict(_STAND_IN), False
    component.update(surgery=None, weighing=None)
    settings.update(init_tok2vec=None, after_init=None)
    dropped = {field.name for field in fields(Carry)} | {"fit", "strength", "pretrained"}
    for name, block in settings.get("components", {}).items():
        settings["components"][name] = {key: value for key, value in block.items() if key not in dropped}
    return config


def find_heads(nlp: Language, backbone: str) -> tuple[list[Head], list[str]]:
    """The heads that listen to a backbone and are trained.

    nlp (Language): Initialised, so that heads know their labels.
    RETURNS (Tuple[List[Head], List[str]]): Those that can be scored, and messages about those that cannot.
    RAISES (ValueError): When none can be scored.
    """
    config = nlp.config.interpolate()
    component, frozen = cast(Backbone, nlp.get_pipe(backbone)), config["training"]["frozen_components"]
    names = [name for name in nlp.pipe_names if name in component.listener_map and name not in frozen]
    found, skipped = list[Head](), list[str]()
    for name in names:
        pipe = cast(Pipe, nlp.get_pipe(name))
        gold = gold_of(pipe)
        if gold is None:
            skipped.append(Warnings.W881.format(name=name, factory=nlp.get_pipe_meta(name).factory))
            continue
        block = config["components"][name].get("model", {})
        nodes = {node.name for node in pipe.model.walk()}
        weight = _weight(nlp, name, config["training"]["score_weights"])
        found.append(Head(name, gold, _poolings(gold.reads, block), "transfer_unit_length" in nodes, weight))
    if not found:
        raise ValueError(Errors.T888.format(name=backbone, found=names or "none"))
    if not any(head.weight for head in found):
        found = [Head(**{**vars(head), "weight": 1.0}) for head in found]
    return found, skipped


def _weight(nlp: Language, name: str, weights: dict[str, float | None]) -> float:
    """What the scores of a component weigh in that of the training."""
    own = nlp.get_pipe_meta(name).default_score_weights or {}
    return float(sum(weight for key, weight in weights.items() if weight and key in own))


def _poolings(reads: Literal["docs", "spans", "tokens"], block: Block) -> list[Pooling]:
    if reads == "tokens":
        return [TOKENS]
    architecture = block.get("@architectures")
    if architecture not in POOLED:
        flags = [kind for kind in ("first", "last", "max", "mean") if block.get(f"use_reduce_{kind}")]
        return [tuple(flags) or ("mean",)]
    is_document = "Document" in block.get("tok2vec", {}).get("@architectures", "")
    own = (DOCUMENT,) if is_document else tuple(block.get("pooling", ["mean"]))
    others: list[Pooling] = [(kind,) for kind in POOLINGS if kind != "attention"]
    others += [(DOCUMENT,)] if reads == "docs" else []
    return [own] if block.get("context") else [own, *(other for other in others if other != own)]


def groups_of(heads: Sequence[Head], examples: Sequence[Example]) -> list[str]:
    """RETURNS (List[str]): A group for each example, for stratified samples: its rarest label in the first head that
    has one."""
    groups = [""] * len(examples)
    for head in heads:
        found = strata_of(head.gold.read(examples), len(examples))
        groups = [group or (other and f"{head.name} {other}") for group, other in zip(groups, found, strict=True)]
    return groups


def make_task(head: Head, examples: Sequence[Example], most: int) -> Task:
    """The labels of a sample.

    most (int): The most tokens or spans: of more, those of the first examples are taken.
    RAISES (ValueError): When there is nothing to tell apart, or less places than classes.
    """
    gold = head.gold.read(examples)
    if head.gold.reads != "docs" and len(gold.docs) > most:
        last = gold.docs[most - 1]
        kept = gold.docs < max(last, 1)
        gold = Gold(gold.kind, gold.values[kept], gold.docs[kept], gold.starts[kept], gold.ends[kept], gold.names)
    _check(head.name, gold)
    return Task(head, gold)


def _check(name: str, gold: Gold) -> None:
    values = gold.values
    if gold.kind == "classes":
        present = numpy.unique(values)
        if len(present) < 2:
            found = [gold.names[i] for i in present]
            raise ValueError(Errors.T889.format(name=name, found=found or "none", count=len(values)))
        if len(values) < max(len(gold.names), len(present) + 1):
            raise ValueError(Errors.T890.format(name=name, count=len(values), classes=len(gold.names)))
        return
    constant = [label for label, column in zip(gold.names, values.T, strict=True) if len(set(column.tolist())) < 2]
    if gold.kind == "numbers" and constant:
        raise ValueError(Errors.T891.format(name=name, targets=constant, count=len(values)))
    if len(constant) == len(gold.names):
        raise ValueError(Errors.T889.format(name=name, found=constant, count=len(values)))
    if len(values) < len(gold.names):
        raise ValueError(Errors.T890.format(name=name, count=len(values), classes=len(gold.names)))


def features(
    task: Task, pooling: Pooling, rows: Sequence[Floats], documents: Mapping[str, Floats], first: int
) -> Floats:
    """What a head reads of some docs.

    rows (Sequence[Floats2d]): Of tokens, for consecutive docs.
    documents (Mapping[str, Floats2d]): Of the docs, by kind.
    first (int): Number of the first of these docs in the sample.
    RETURNS (Floats2d): A row for each place of the task in these docs.
    """
    gold = task.gold
    here = numpy.flatnonzero((gold.docs >= first) & (gold.docs < first + len(rows)))
    docs = gold.docs[here] - first
    if pooling == TOKENS:
        lengths = numpy.array([len(doc) for doc in rows])
        begins = numpy.cumsum(lengths) - lengths
        found: Floats = numpy.concatenate(rows)[begins[docs] + gold.starts[here]]
    elif pooling[0].startswith(DOCUMENT):
        found = documents[pooling[0].removeprefix(DOCUMENT).strip()][docs]
    else:
        places = zip(docs.tolist(), gold.starts[here].tolist(), gold.ends[here].tolist(), strict=True)
        pooled = [_pool(pooling, rows[i][a:b]) for i, a, b in places]
        found = numpy.stack(pooled) if pooled else numpy.zeros((0, rows[0].shape[1] * len(pooling)))
    if task.head.normalize:
        lengths = numpy.linalg.norm(found, axis=1, keepdims=True)
        found = found / numpy.where(lengths == 0, 1.0, lengths)
    return found.astype("f", copy=False)


def _pool(pooling: Pooling, rows: Floats) -> Floats:
    """As the head does before training: an attention that has learned nothing is the mean."""
    if not len(rows):
        return numpy.zeros(rows.shape[1] * len(pooling), dtype="f")
    ways = {"first": rows[0], "last": rows[-1], "max": rows.max(axis=0)}
    return numpy.concatenate([ways[kind] if kind in ways else rows.mean(axis=0) for kind in pooling])
