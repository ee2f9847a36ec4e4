"""One training by many ranks: each learns from its share of a batch, and all make the same step."""

import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from spacy.language import Language
from spacy.pipeline.entity_linker import EntityLinker
from spacy.pipeline.textcat import TextCategorizer
from spacy.training import Example
from thinc.api import Model, Optimizer, fix_random_seed, noop

from .._compat import insert_component, remove_component
from ..backbones.shims.tunable import Tunable, tunable_shims
from ..errors import Errors
from ..pipeline.backbone.component import Backbone
from ..pipeline.parameters import flush, has_weights
from ..random_state import same_random_state
from ..tuning.weighing import Seen
from ..types import Losses, Pipe, pipes_of
from .buckets import digest_of, digest_of_weights, slots_of, sum_gradients, trained_parameters
from .process_group import ProcessGroup
from .stock_tok2vec import complete_backward

NAME = "spacy-transfer.Ranks.v1"
"""What the component is called that sums gradients, while it is in the pipeline."""
_MEANS = (TextCategorizer.get_loss, EntityLinker.get_loss)
"""Losses that are means over a batch. Their gradients are sums, as those of all components."""


class SharedTraining:
    """Takes the place of `nlp.update` and `nlp.evaluate` for one training.

    spaCy has no hook around the step of all components: `before_update` gets neither batch nor losses, an optimizer
    gets one parameter at a time, and a component for training alone could only change the others' batch in place.

    Random numbers: outside `update` all ranks are in the same state, so that they shuffle alike. Within, each has its
    own, which follows from the common state; dropout is not the same on all.
    """

    def __init__(self, nlp: Language, group: ProcessGroup) -> None:
        self.nlp, self.group = nlp, group
        self._update, self._evaluate = nlp.update, nlp.evaluate
        self._sum = GradientSum(self)
        self._is_alone = False
        self._later = ExitStack()
        self._step = -1
        self._start_step(())
        nlp.update = self.update  # type: ignore[method-assign]
        nlp.evaluate = self.evaluate  # type: ignore[method-assign]

    def stop(self) -> None:
        """Give the pipeline its own methods back."""
        remove_component(self.nlp, self._sum)
        for name in ("update", "evaluate"):
            vars(self.nlp).pop(name, None)

    def go_on(self, step: int) -> None:
        """The next step is the one after this."""
        self._step = step

    def _start_step(self, exclude: Collection[str]) -> None:
        self._exclude = frozenset(exclude)
        self._losses: Losses = {}
        self._shares: list[tuple[Losses, float]] = []
        self._digest = 0

    # In place of the methods of the pipeline

    def update(
        self,
        examples: Iterable[Example],
        _: object = None,
        *,
        sgd: Any = None,
        losses: Losses | None = None,
        exclude: Iterable[str] = (),
        **settings: Any,
    ) -> Losses:
        """Learn from this rank's share of a batch. Gradients are summed when the step comes.

        An update with an optimizer of its own is none of `spacy train`: it is not shared.
        """
        losses = {} if losses is None else losses
        if sgd is not False:
            return self._update(examples, _, sgd=sgd, losses=losses, exclude=exclude, **settings)
        batch, self._is_alone = list(examples), False
        remove_component(self.nlp, self._sum)
        if not self._shares:
            self._step += 1
            self._start_step(list(exclude))
        self._losses = losses
        for example in batch:
            self._digest = zlib.crc32(example.reference.text.encode("utf8"), self._digest)
        own, found = share(batch, self.group.rank, self.group.size), Losses()
        self._shares.append((found, len(own) / max(1, len(batch))))
        with own_random_state(self.group.rank), complete_backward(self._trained()):
            self._update(own, _, sgd=cast(Any, False), losses=found, exclude=exclude, **settings)
        insert_component(self.nlp, 0, NAME, self._sum)
        return losses

    def evaluate(self, examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
        """The first rank evaluates, and gives the others its scores. Before, all compare their weights.

        RAISES (ValueError): When weights are not the same.
        """
        if self._is_alone:  # Called by a logger or a callback, on the first rank alone.
            return self._evaluate(examples, **settings)
        digest = 0
        for name, pipe in self._trained():
            digest = digest_of_weights(trained_parameters(name, pipe), digest)
        (is_same,) = self.group.agree(digest)
        if not is_same:
            raise ValueError(Errors.T258.format(step=self._step))
        scores: dict[str, Any] = {}
        if self.group.is_first:
            with same_random_state():
                scores = self._evaluate(examples, **settings)
            self._later.enter_context(same_random_state())
        self._is_alone = True
        found = self.group.give({k: v for k, v in scores.items() if isinstance(v, (int, float))})
        return scores if self.group.is_first else found

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within, a logger runs, on the first rank alone: it may evaluate, and use random numbers. Afterwards these are
        as on the other ranks, also where saving has used some."""
        self._is_alone = True
        with self._later, same_random_state():
            yield

    # A step

    def _trained(self) -> list[tuple[str, Pipe]]:
        """Components that the coming step may change."""
        return [(name, pipe) for name, pipe in pipes_of(self.nlp) if has_weights(pipe) and name not in self._exclude]

    def sum_step(self) -> None:
        """Sum what all ranks have learned for a step: gradients, losses, numbers of docs.

        RAISES (ValueError): When ranks have different batches or parameters.
        """
        trained = self._trained()
        backbones = [pipe for _, pipe in trained if isinstance(pipe, Backbone)]
        shims = [shim for _, pipe in trained for shim in tunable_shims(pipe.model)]
        for _, pipe in trained:
            flush(pipe)
        for shim in shims:
            shim.end_batch()
        slots = [slot for name, pipe in trained for slot in slots_of(name, pipe, _tasks_of(pipe))]
        same_batch, same_slots = self.group.agree(self._digest, digest_of(slots))
        if not (same_batch and same_slots):
            what = "parameters" if same_batch else "texts in its batch"
            raise ValueError(Errors.T257.format(rank=self.group.rank, step=self._step, what=what))
        self._sum_numbers(trained, backbones, shims)
        sum_gradients(self.group, slots)
        for backbone in backbones:
            if backbone.tasks.gradients is not None:
                backbone.tasks.gradients.drop_empty()
        self._shares = []

    def _sum_numbers(
        self, trained: Sequence[tuple[str, Pipe]], backbones: Sequence[Backbone], shims: Sequence[Tunable]
    ) -> None:
        import torch

        means = {name for name, pipe in trained if getattr(type(pipe), "get_loss", None) in _MEANS}
        numbers: list[float] = [*(shim.n_docs for shim in shims), *(pipe.steps.has_gradient for pipe in backbones)]
        for name, _ in trained:
            own = [(found[name], part) for found, part in self._shares if name in found]
            numbers += [len(own), sum(loss * (part if name in means else 1.0) for loss, part in own)]
        for pipe in backbones:
            for task in pipe.listener_map:
                seen = pipe.tasks.seen.get(task, Seen())
                numbers += [seen.loss, seen.count, seen.squares]
        sums = torch.tensor(numbers, dtype=torch.float64)
        self.group.sum(sums)
        totals = iter(sums.tolist())
        for shim in shims:
            shim.weigh_pull(round(next(totals)))
        for pipe in backbones:
            pipe.steps.agree(next(totals) > 0)
        for name, _ in trained:
            count, loss = next(totals), next(totals)
            if count:
                self._losses[name] = self._losses.get(name, 0.0) + loss
        for pipe in backbones:
            for task in pipe.listener_map:
                seen = Seen(next(totals), round(next(totals)), next(totals))
                if seen.count:
                    pipe.tasks.seen[task] = seen


def shared_training_of(nlp: Language) -> SharedTraining | None:
    """RETURNS (Optional[SharedTraining]): The training by ranks that a pipeline is in; None in one process."""
    found = getattr(vars(nlp).get("update"), "__self__", None)
    return found if isinstance(found, SharedTraining) else None


class GradientSum:
    """Stands first in the pipeline from an update to the step: `spacy train` calls its `finish_update` before any
    component has stepped. While components train, predict and are saved, it is not there."""

    is_trainable = True

    def __init__(self, training: SharedTraining) -> None:
        self._training, self.name = training, NAME
        self.model: Model = noop()

    def __call__(self, doc: object) -> object:
        """RETURNS (object): The doc as it is."""
        return doc

    def finish_update(self, sgd: Optimizer) -> None:
        """Sum the gradients of all ranks. The components step with them afterwards."""
        remove_component(self._training.nlp, self)
        self._training.sum_step()


def share(batch: Sequence[Example], rank: int, size: int) -> list[Example]:
    """A rank's part of a batch: texts of all lengths, so that no rank waits long for another.

    RETURNS (List[Example]): Examples in the order of the batch; none where there are fewer than ranks.
    """
    return [batch[i] for i in places_of_share([len(example.predicted) for example in batch], rank, size)]


def places_of_share(lengths: Sequence[int], rank: int, size: int) -> list[int]:
    """RETURNS (List[int]): Which texts of a batch are a rank's, by their lengths, ascending."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    own: list[int] = []
    for number, start in enumerate(range(0, len(order), size)):
        # Every other round goes backwards: who has the longest text of one round has the shortest of the next.
        place = start + (rank if number % 2 == 0 else size - 1 - rank)
        own += order[place : place + 1]
    return sorted(own)


@contextmanager
def own_random_state(rank: int) -> Iterator[None]:
    """Within, random numbers are this rank's own. They follow from torch's common state, which moves on: whoever
    restores that state gets the same numbers again."""
    import torch

    seed = int(torch.randint(2**31 - 1, ())) + 7919 * rank
    with same_random_state():
        fix_random_seed(seed % 2**32)
        yield


def _tasks_of(pipe: Pipe) -> list[str]:
    return list(pipe.listener_map) if isinstance(pipe, Backbone) else []
