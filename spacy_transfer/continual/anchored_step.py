"""A component for one training step alone: it adds an anchor's pull to the gradients of the other components."""

from collections.abc import Collection, Iterable, Mapping
from typing import cast

from spacy.language import Language
from spacy.training import Example
from thinc.api import Model, Optimizer, noop

from .._compat import insert_component, remove_component
from ..errors import Errors
from ..pipeline.backbone.tasks import collected_of
from ..pipeline.parameters import NamedParameter, flush
from ..tuning.anchors import pull, pull_of
from ..types import Floats, Losses, Pipe, pipe_of, pipes_of
from .importance import learned_from
from .old_weights import Held, OldParameter, OldWeights

NAME = "spacy-transfer.Anchor.v1"
"""What the component is called in the pipeline while it is there."""

Shapes = tuple[tuple[object, ...], ...]


class AnchoredStep:
    """Stands first and last in the pipeline for one training step. The losses of heads are sums over docs, and the pull
    alone must train nothing. A callback knows neither how many docs the step will have nor which components get a
    gradient. After each batch both are known.

    `Language.update` goes through a copy of the list of components. So this component takes itself out when it is
    called first, is still called last, and puts itself back for the next batch of the step. While other components
    train, and when one of them fails, the pipeline is as its config says, and can be saved.

    components (Iterable[str]): Names of those that are held.
    old (OldWeights): Where, and how strongly each weight.
    frozen (Collection[str]): Components that the training does not update.
    """

    is_trainable = True

    def __init__(
        self,
        nlp: Language,
        components: Iterable[str],
        old: OldWeights,
        strengths: Mapping[str, float],
        frozen: Collection[str] = (),
    ) -> None:
        self.nlp, self.name = nlp, NAME
        self.model: Model = noop()
        self.strengths = dict(strengths)
        self._components, self._old, self._frozen = tuple(components), old, frozenset(frozen)
        self._found: dict[str, tuple[Shapes, Held]] = {}
        self._waiting: dict[str, int] = {}
        self._is_in_batch = False

    # In the pipeline

    def open(self, behind: object) -> None:
        """Enter the pipeline for a step.

        behind (object): The last component that gets its gradients before the pull.
        """
        place = max(i for i, (_, component) in enumerate(self.nlp.components) if component is behind)
        insert_component(self.nlp, place + 1, NAME, self)
        insert_component(self.nlp, 0, NAME, self)

    def close(self) -> None:
        """Leave the pipeline. Docs of a step that did not come to an end no longer count."""
        remove_component(self.nlp, self)
        self._waiting.clear()
        self._is_in_batch = False

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: Losses | None = None,
    ) -> Losses:
        """Called before the other components, and after them: then their gradients are in.

        examples (Iterable[Example]): The batch.
        RETURNS (Dict[str, float]): The losses, as they are.
        """
        self._is_in_batch = not self._is_in_batch
        if self._is_in_batch:
            remove_component(self.nlp, self)
        else:
            self._add_pulls(list(examples))
            self.open(self.nlp.components[-1][1])
        return {} if losses is None else losses

    def finish_update(self, sgd: Optimizer) -> None:
        """The step is over.

        RAISES (ValueError): When the other components have not been updated yet: they would step without the pull.
        """
        is_in_batch = self._is_in_batch
        self.close()
        if is_in_batch:
            raise ValueError(Errors.T690)

    # The pull

    def penalty(self) -> float:
        """RETURNS (float): strength / 2 * sum(importance * (weights - old weights) ** 2), as it is now, for one doc."""
        total = 0.0
        for name in self._components:
            for key, (named, old) in self._old.look_up(name, pipe_of(self.nlp, name)).items():
                if key in self.strengths:
                    value = cast(Floats, named.parameter.value)
                    weight = pull_of(value, old.origin, self.strengths[key], old.importance)
                    total += 0.5 * float((weight * (value - old.origin)).sum())
        return total

    def _add_pulls(self, examples: list[Example]) -> None:
        for name, pipe in pipes_of(self.nlp):
            if name not in self._components:
                continue
            flush(pipe)
            n_docs = len(learned_from(examples, name, pipe, self._frozen))
            for key, (named, old) in self._look_up(name, pipe).items():
                if key in self.strengths:
                    self._waiting[key] = self._waiting.get(key, 0) + n_docs
                    self._add_pull(key, named, old, pipe)

    def _add_pull(self, key: str, named: NamedParameter, old: OldParameter, pipe: Pipe) -> None:
        """A parameter without a gradient is not pulled; its docs count once it has one."""
        collected, parameter = collected_of(pipe), named.parameter
        if collected is None and parameter.gradient is not None:
            pull(parameter, old.origin, self.strengths[key] * self._waiting.pop(key), old.importance)
        elif collected is not None and collected.moves(named):
            factor = self.strengths[key] * self._waiting.pop(key)
            collected.add(named, pull_of(cast(Floats, parameter.value), old.origin, factor, old.importance))

    def _look_up(self, name: str, pipe: Pipe) -> Held:
        """Adding labels in training replaces layers."""
        shapes = cast(
            Shapes,
            tuple(
                (id(node), *(node.get_param(param).shape for param in node.param_names if node.has_param(param)))
                for node in pipe.model.walk()
            ),
        )
        if name not in self._found or self._found[name][0] != shapes:
            self._found[name] = (shapes, self._old.look_up(name, pipe))
        return self._found[name][1]
