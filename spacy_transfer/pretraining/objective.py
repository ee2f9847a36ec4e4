"""The base of all objectives, and the model that `spacy pretrain` trains."""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy
from numpy.typing import NDArray
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model, Ops, Optimizer
from thinc.types import FloatsXd

from ..attributes import Attrs
from ..backbones.shims.safetensors_shim import SafetensorsShim, dump_state, load_state
from ..backbones.shims.tunable import tunable_shims
from ..corpora.raw_text import RawText, reader_of
from ..errors import Errors
from ..types import BackboneT, Config
from .monitor import Monitor
from .pretrained_file import PretrainedLayer

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Measured:
    """The loss of a batch.

    total (float): Its sum over all units.
    count (int): Number of units: masked words, texts, ...
    backprop (Callable[[], None]): Adds the gradient of the mean to the gradients of backbone and output layer.
    is_of_all (bool): By ranks: whether this is the loss of the whole batch, and not of a rank's share.
    """

    total: float
    count: int
    backprop: Callable[[], None]
    is_of_all: bool = False

    @property
    def mean(self) -> float:
        """RETURNS (float): The loss per unit; 0 where a batch has none."""
        return self.total / self.count if self.count else 0.0


NOTHING = Measured(0.0, 0, lambda: None)
"""Of a batch with nothing to predict."""


class Together(Protocol):
    """The ranks of a pretraining by many processes (see `spacy-transfer.Ranks.v1`)."""

    @property
    def rank(self) -> int: ...

    def gather_rows(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """RETURNS (List[NDArray]): The rows of each rank; they may have more or fewer."""


class Objective(ABC):
    """What pretraining minimises: the mean of a loss over units of text. A subclass is one objective.

    backbone (Model[List[Doc], List[Floats2d]]): What is pretrained.
    """

    name: ClassVar[str]
    unit: str
    """What the loss is a mean over."""
    is_likelihood: ClassVar[bool] = True
    """Whether the loss is a negative log-likelihood, so that its exponential is a perplexity."""
    together: Together | None = None
    """The ranks, where there are several."""
    needs_all: ClassVar[bool] = False
    """Whether the loss of a text depends on the others of its batch: by ranks, rows are gathered."""

    def __init__(self, backbone: BackboneT) -> None:
        self.backbone = backbone

    def start(self, docs: list[Doc], reader: RawText | None) -> Config:
        """Look at the corpus before the first step.

        docs (List[Doc]): The first batch.
        reader (Optional[RawText]): What gives the docs; None where it is not ours.
        RETURNS (Dict[str, Any]): Settings from which `make_output` makes the output layer; they are saved with it.
        """
        return {}

    def make_output(self, settings: Config) -> "nn.Module | None":
        """RETURNS (Optional[nn.Module]): What is learned beside the backbone, with fresh weights; None for nothing."""
        return None

    @abstractmethod
    def measure(
        self, docs: list[Doc], output: "nn.Module | None", draw: numpy.random.Generator, is_train: bool
    ) -> Measured:
        """Compute the loss of a batch.

        docs (List[Doc]): The batch.
        output (Optional[nn.Module]): What `make_output` made.
        draw (Generator): Random numbers: where to mask, what to delete.
        is_train (bool): Keep what the backward pass needs, with dropout.
        RETURNS (Measured): The loss.
        """


class OutputShim(SafetensorsShim):
    """Holds the output layer of an objective, once there is one."""

    def finish_update(self, optimizer: Optimizer) -> None:
        if self._model is not None:
            super().finish_update(optimizer)


class Pretraining:
    """An objective at work: its output layer, its random numbers, its steps.

    objective (Objective): The objective.
    monitor (Monitor): Shows progress and the held-out loss.
    """

    def __init__(self, objective: Objective, monitor: Monitor) -> None:
        self.objective, self.monitor = objective, monitor
        self.output = OutputShim(None)
        self.settings: Config | None = None
        self.steps = 0
        # spaCy has just seeded it.
        self._draw = numpy.random.default_rng(random.getrandbits(32))

    @property
    def together(self) -> Together | None:
        """RETURNS (Optional[Together]): The ranks; None in one process."""
        return self.objective.together

    @together.setter
    def together(self, ranks: Together) -> None:
        self.objective.together = ranks

    def prepare(self, docs: list[Doc]) -> None:
        """Before the first step make the output layer, and say the held-out loss.

        docs (List[Doc]): The whole batch.
        """
        reader = reader_of(docs)
        if self.settings is None:
            self.restore(self.objective.start(docs, reader), None)
        self.monitor.begin(self, reader)

    @contextmanager
    def drawing_as(self, rank: int) -> Iterator[None]:
        """Within, random numbers are a rank's own. They follow from the common ones, which move on alike."""
        common = self._draw
        self._draw = numpy.random.default_rng([int(common.integers(2**32)), rank])
        try:
            yield
        finally:
            self._draw = common

    def step(self, docs: list[Doc]) -> Measured:
        """RETURNS (Measured): The loss of a training batch, or of a rank's share."""
        is_alone = self.together is None
        if is_alone:
            self.prepare(docs)
        measured = NOTHING
        if docs or is_alone or self.objective.needs_all:
            measured = self.objective.measure(docs, self.output._model, self._draw, is_train=True)
        if not math.isfinite(measured.total):
            facts = {"step": self.steps, "loss": measured.mean, "name": self.objective.name}
            raise ValueError(Errors.T823.format(**facts))
        self.steps += 1
        if is_alone:
            self.monitor.count(measured, len(docs))
        return measured

    def held_out(self, docs: list[Doc], batch_size: int = 32) -> Measured:
        """RETURNS (Measured): The loss of docs without dropout, with the same random numbers at every call."""
        draw, total, count = numpy.random.default_rng(0), 0.0, 0
        for begin in range(0, len(docs), batch_size):
            batch = docs[begin : begin + batch_size]
            measured = self.objective.measure(batch, self.output._model, draw, is_train=False)
            total, count = total + measured.total, count + measured.count
        return Measured(total, count, NOTHING.backprop)

    def dump(self) -> Config:
        """RETURNS (Dict[str, Any]): Name, settings and weights of the output layer."""
        module = self.output._model
        weights = b"" if module is None else dump_state(module)
        return {"name": self.objective.name, "settings": self.settings, "weights": weights}

    def training_state(self) -> Config:
        """RETURNS (Dict[str, Any]): What a pretraining that goes on needs besides weights, for JSON."""
        draw = self._draw.bit_generator.state
        return {"settings": self.settings, "steps": self.steps, "draw": draw, "monitor": self.monitor.training_state()}

    def set_training_state(self, state: Config, reader: RawText | None) -> None:
        """Begin with what `training_state` gave. The output layer is there then, with fresh weights.

        reader (Optional[RawText]): What gives the docs.
        """
        if state["settings"] is not None:
            self.restore(state["settings"], None)
        self.steps, self._draw.bit_generator.state = state["steps"], state["draw"]
        self.monitor.set_training_state(state["monitor"], self, reader)

    def restore(self, settings: Config, weights: bytes | None) -> None:
        """Make the output layer, and fill it.

        settings (Dict[str, Any]): See `Objective.start`.
        weights (Optional[bytes]): safetensors; None for fresh weights.
        """
        self.settings = settings
        self.output._model = self.objective.make_output(settings)
        if weights and self.output._model is not None:
            load_state(self.output._model, weights)


class PretrainingModel(Model[list[Doc], Measured]):
    """The model that `spacy pretrain` trains: a backbone, and an objective's output layer."""

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step, and move the schedules on: `spacy pretrain` does not, and our optimizers step with them."""
        # Losses of heads are sums over docs, those of objectives are means.
        for shim in tunable_shims(self):
            shim.weigh_pull(1)
        super().finish_update(optimizer)
        optimizer.step_schedules()

    @contextmanager
    def use_params(self, params: dict[tuple[int, str], FloatsXd] | None) -> Iterator[None]:
        """Run with the averages in place, if the optimizer keeps any: Thinc fails on None."""
        with super().use_params(params) if params else nullcontext():
            yield


@dataclass(kw_only=True)
class PretrainingAttrs(Attrs):
    """Of the model that `spacy pretrain` trains; it reads the loss."""

    loss: Callable[..., object]
    pretraining: Pretraining


def build_pretraining(
    objective: Objective, *, log: Path | None = None, progress: bool = True
) -> Model[list[Doc], Measured]:
    """What an architecture for `[pretraining.objective]` returns.

    objective (Objective): The objective.
    log (Optional[Path]): See `Monitor`.
    progress (bool): See `Monitor`.
    RETURNS (Model[List[Doc], Measured]): The model.
    RAISES (ValueError): When there is no backbone to pretrain.
    """
    backbone = objective.backbone
    listener = next((node for node in backbone.walk() if isinstance(node, Tok2VecListener)), None)
    if listener is not None:
        raise ValueError(Errors.T822.format(upstream=listener.upstream_name))
    pretraining = Pretraining(objective, Monitor(log, progress))
    layer = PretrainedLayer(backbone, pretraining)
    output: Model = Model("transfer_objective_output", _no_forward, shims=[pretraining.output])
    attrs = vars(PretrainingAttrs(loss=_loss, pretraining=pretraining))
    return PretrainingModel(
        "transfer_pretraining", forward, init=_keep, layers=[layer, output], refs={"tok2vec": layer}, attrs=attrs
    )


def pretraining_of(model: Model[list[Doc], Measured]) -> Pretraining:
    """RETURNS (Pretraining): The objective at work in a model that `build_pretraining` made."""
    return PretrainingAttrs.of(model).pretraining


def forward(
    model: Model[list[Doc], Measured], docs: list[Doc], is_train: bool
) -> tuple[Measured, Callable[[object], list[Doc]]]:
    """The loss of a batch, and the backward pass, which needs no gradient from outside."""
    measured = pretraining_of(model).step(docs)

    def backprop(d_loss: object) -> list[Doc]:
        measured.backprop()
        return docs

    return measured, backprop


def _loss(ops: Ops, docs: list[Doc], measured: Measured) -> tuple[float, None]:
    return measured.mean, None


def _keep(model: Model[list[Doc], Measured], X: object = None, Y: object = None) -> None:
    """spaCy has initialised the backbone already; to do so again would read its source twice."""


def _no_forward(model: Model, X: object, is_train: bool) -> tuple[object, Callable]:
    raise NotImplementedError
