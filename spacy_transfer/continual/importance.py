"""The Fisher information of a pipeline's weights, estimated by its own `update` without a step."""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, cast

from spacy.language import Language
from spacy.training import Example
from spacy.ty import ListenedToComponent
from spacy.util import logger

from .._compat import drop_parser_dropout
from ..backbones.shims.thinc_tuning import LayersShim
from ..backbones.shims.torch_tuning import TuningShim
from ..backbones.shims.tunable import tunable_shims
from ..corpora.example_info import may_train
from ..errors import Errors, Warnings
from ..pipeline.parameters import drop_gradients, flush, has_weights, parameters_of
from ..progress import progress
from ..tuning.fisher import DiagonalFisher
from ..types import Floats, Pipe, pipes_of

if TYPE_CHECKING:
    from thinc.api import Optimizer
    from torch import nn

    from ..pipeline.backbone.component import Backbone

"""Seconds after which a progress bar shows."""


def estimate_fisher(nlp: Language, examples: Iterable[Example], components: Collection[str]) -> DiagonalFisher:
    """One backward pass for each example, at dropout 0. Squares of gradients are averaged, for each component over the
    examples that it learns from. Texts without a token are left out.

    nlp (Language): A pipeline for this alone: what is frozen in it is unfrozen, and its dropout is turned off for good.
    examples (Iterable[Example]): Gold side: what each component should predict.
    components (Collection[str]): Names of those whose importance is wanted. What reads their rows, and what gives them
        rows, runs with them.
    RAISES (ValueError): When there is no example, or none that a component learns from; when no example gives a
        gradient, labels are unknown, or a gradient is not finite.
    """
    running = _connected(nlp, components) & set(nlp.pipe_names)
    excluded = set(nlp.component_names) - running
    pipes = [(name, pipe) for name, pipe in pipes_of(nlp) if name in components]
    trained = [(name, pipe) for name, pipe in pipes_of(nlp) if name in running and has_weights(pipe)]
    for name, pipe in trained:
        _unfreeze(pipe, is_wanted=name in components)
        drop_gradients(pipe)
    fisher, labels = DiagonalFisher(), _labels(nlp, running)
    for example in progress(examples, what="Importance of weights"):
        if not len(example.predicted):
            continue
        # spaCy's own way to say "no step".
        nlp.update([example], drop=0.0, sgd=cast("Optimizer", False), losses={}, exclude=excluded)
        if _labels(nlp, running) != labels:
            new = sorted({(n, label) for n, label in _labels(nlp, running)} - set(labels))
            raise ValueError(Errors.T684.format(labels=new, text=example.reference.text[:60]))
        for _, pipe in pipes:
            flush(pipe)
        for name, pipe in pipes:
            if learned_from([example], name, pipe, excluded):
                found = [(p.name, p.parameter.gradient) for p in parameters_of(name, pipe)]
                fisher.add(name, [(key, cast(Floats, gradient)) for key, gradient in found if gradient is not None])
        for _, pipe in trained:
            drop_gradients(pipe)
    _check(fisher, pipes)
    return fisher


def learned_from(examples: Iterable[Example], name: str, pipe: Pipe, excluded: Collection[str]) -> list[Example]:
    """The examples that a component learns from, itself or through a component that listens to it.

    excluded (Collection[str]): Names of components that are not updated.
    """
    learners = {name}
    if isinstance(pipe, ListenedToComponent):
        learners |= set(pipe.listening_components).difference(excluded)
    return [eg for eg in examples if any(may_train(eg.reference, learner) for learner in learners)]


def _connected(nlp: Language, components: Collection[str]) -> set[str]:
    """The components, those that listen to them, and those that any of them listens to."""
    upstream: list[tuple[str, ListenedToComponent]] = []
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, ListenedToComponent):
            upstream.append((name, pipe))
    found = set(components)
    for name, encoder in upstream:
        if name in components:
            found |= set(encoder.listening_components)
    for name, encoder in reversed(upstream):
        if found & set(encoder.listening_components):
            found.add(name)
    return found


def _labels(nlp: Language, names: Collection[str]) -> list[tuple[str, str]]:
    return [(n, label) for n, pipe in nlp.pipeline if n in names for label in getattr(pipe, "labels", ())]


def _unfreeze(pipe: Pipe, *, is_wanted: bool) -> None:
    """Gradients for all that may be trained one day, and no dropout in torch and in parsers: `drop` does not reach
    those."""
    if is_wanted and getattr(pipe, "frozen", False) is True:
        cast("Backbone", pipe).frozen = False
    drop_parser_dropout(pipe.model)
    for tunable in tunable_shims(pipe.model):
        tunable.tuning = None
        if isinstance(tunable, TuningShim):
            tunable.apply_tuning()
        elif isinstance(tunable, LayersShim):
            tunable.unbind()
    for node in pipe.model.walk():
        for shim in node.shims:
            modules = getattr(getattr(shim, "_model", None), "modules", None)
            for module in () if modules is None else modules():
                _no_dropout(module)


def _no_dropout(module: "nn.Module") -> None:
    """`train()` is called before each batch. Modules stay in prediction mode, but for recurrent layers: a GPU sends
    gradients through those in training mode only."""
    if "RNNBase" in {kind.__name__ for kind in type(module).__mro__}:
        cast("nn.RNNBase", module).dropout, module.training = 0.0, True
        return
    module.training = False
    vars(module)["train"] = lambda mode=True: module


def _check(fisher: DiagonalFisher, pipes: Sequence[tuple[str, Pipe]]) -> None:
    names = [name for name, _ in pipes]
    unseen = [name for name in names if not fisher.counts[name]]
    if unseen:
        raise ValueError(Errors.T680.format(names=unseen))
    if not fisher.is_finite():
        raise ValueError(Errors.T685.format(names=names))
    parameters = {name: parameters_of(name, pipe) for name, pipe in pipes}
    empty = [name for name, own in parameters.items() if not any(p.name in fisher for p in own)]
    if empty == names:
        raise ValueError(Errors.T686.format(names=names, count=max(fisher.counts.values())))
    for name in empty:
        if parameters[name]:
            logger.warning(Warnings.W680.format(name=name, count=fisher.counts[name]))
