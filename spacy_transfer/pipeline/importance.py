"""The importance of a pipeline's weights, estimated by its own `update` without a step."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from spacy.language import Language
from spacy.training import Example
from spacy.ty import ListenedToComponent
from spacy.util import logger
from tqdm import tqdm

from .._compat import drop_parser_dropout
from ..backbones.layers import LayersShim
from ..backbones.tunable import tunable_shims
from ..backbones.tuned import TuningShim
from ..corpora.marks import may_train
from ..errors import Errors, Warnings
from ..tuning.fisher import DiagonalFisher
from .names import drop_gradients, flush, has_weights, parameters_of

BAR_AFTER = 5.0
"""Seconds after which a progress bar shows."""


def estimate_fisher(nlp: Language, examples: Iterable[Example], components: Collection[str]) -> DiagonalFisher:
    """One backward pass for each example, at dropout 0; squares of gradients are averaged, for each component over the
    examples that it learns from. Texts without a token are left out: they say nothing.

    nlp (Language): A pipeline that serves for nothing else: what is frozen in it thaws, its dropout goes off for good.
    examples (Iterable[Example]): Gold side: what each component is to have said.
    components (Collection[str]): Names of those whose weights are weighed. What reads their rows, and what gives them
        rows, runs with them.
    RETURNS (DiagonalFisher): By COMPONENT.path.parameter.
    RAISES (ValueError): When there is no example, or none that a component learns from; when none teaches anything,
        labels are unknown, or a gradient is not finite.
    """
    running = _connected(nlp, components) & set(nlp.pipe_names)
    excluded = set(nlp.component_names) - running
    pipes: list[tuple[str, Any]] = [(name, pipe) for name, pipe in nlp.pipeline if name in components]
    for name, pipe in nlp.pipeline:
        if name in running and has_weights(pipe):
            _thaw(pipe, name in components)
            drop_gradients(pipe)
    fisher, labels = DiagonalFisher(), _labels(nlp, running)
    for example in tqdm(examples, desc="Importance of weights", delay=BAR_AFTER, leave=False, disable=None):
        if not len(example.predicted):
            continue
        sgd: Any = False
        nlp.update([example], drop=0.0, sgd=sgd, losses={}, exclude=excluded)
        if _labels(nlp, running) != labels:
            new = sorted({(n, label) for n, label in _labels(nlp, running)} - set(labels))
            raise ValueError(Errors.T684.format(labels=new, text=example.reference.text[:60]))
        for _, pipe in pipes:
            flush(pipe)
        for name, pipe in pipes:
            if learned_from([example], name, pipe, excluded):
                found = [(p.name, p.parameter.gradient) for p in parameters_of(name, pipe)]
                fisher.add(name, [(key, gradient) for key, gradient in found if gradient is not None])
        for name, pipe in nlp.pipeline:
            if name in running and has_weights(pipe):
                drop_gradients(pipe)
    _check(fisher, pipes)
    return fisher


def learned_from(examples: Iterable[Example], name: str, pipe: Any, excluded: Collection[str]) -> list[Example]:
    """Examples that have a loss which the weights of a component are part of: those that it learns from itself, and
    those that anything learns from which listens to it.

    examples (Iterable[Example]): Some examples.
    name (str), pipe (Pipe): The component.
    excluded (Collection[str]): Names of components that do not learn now.
    RETURNS (List[Example]): Those of them, in their order.
    """
    learners = {name}
    if isinstance(pipe, ListenedToComponent):
        learners |= set(pipe.listening_components).difference(excluded)
    return [eg for eg in examples if any(may_train(eg.reference, learner) for learner in learners)]


def _connected(nlp: Language, components: Collection[str]) -> set[str]:
    """The components, those that listen to them, and those that either listens to."""
    upstream: list[tuple[str, Any]] = [(n, pipe) for n, pipe in nlp.pipeline if isinstance(pipe, ListenedToComponent)]
    found = set(components)
    for name, pipe in upstream:
        if name in components:
            found |= set(pipe.listening_components)
    for name, pipe in reversed(upstream):
        if found & set(pipe.listening_components):
            found.add(name)
    return found


def _labels(nlp: Language, names: Collection[str]) -> list[tuple[str, str]]:
    return [(n, label) for n, pipe in nlp.pipeline if n in names for label in getattr(pipe, "labels", ())]


def _thaw(pipe: Any, counts: bool) -> None:
    """Gradients for all that may move one day, and no dropout in torch and in parsers: `drop` does not reach those."""
    if counts and getattr(pipe, "frozen", False) is True:
        pipe.frozen = False
    drop_parser_dropout(pipe.model)
    for shim in tunable_shims(pipe.model):
        shim.tuning = None
        if isinstance(shim, TuningShim):
            shim.work_out()
        elif isinstance(shim, LayersShim):
            shim.unbind()
    for node in pipe.model.walk():
        for shim in node.shims:
            modules = getattr(getattr(shim, "_model", None), "modules", None)
            for module in () if modules is None else modules():
                _no_dropout(module)


def _no_dropout(module: Any) -> None:
    """Modules are told to train before each batch. They stay as they are for prediction, but for recurrent layers,
    which a GPU can only send gradients through in training."""
    if "RNNBase" in {kind.__name__ for kind in type(module).__mro__}:
        module.dropout, module.training = 0.0, True
        return
    module.training = False
    module.train = lambda mode=True, module=module: module


def _check(fisher: DiagonalFisher, pipes: Sequence[tuple[str, Any]]) -> None:
    names = [name for name, _ in pipes]
    unseen = [name for name in names if not fisher.counts[name]]
    if unseen:
        raise ValueError(Errors.T680.format(names=unseen))
    if not fisher.is_finite():
        raise ValueError(Errors.T685.format(names=names))
    empty = [name for name, pipe in pipes if not any(p.name in fisher for p in parameters_of(name, pipe))]
    if empty == names:
        raise ValueError(Errors.T686.format(names=names, count=max(fisher.counts.values())))
    for name in empty:
        pipe = dict(pipes)[name]
        if parameters_of(name, pipe):
            logger.warning(Warnings.W680.format(name=name, count=fisher.counts[name]))
