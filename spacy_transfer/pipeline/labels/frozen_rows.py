"""Frozen rows of a head: only the rows of some labels are trained, all others stay bit-identical."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar, cast

from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.util import logger
from thinc.api import Model

from ...errors import Errors, Warnings
from ...heads.tagging.tokens import TokenScores
from ...types import Bools, Floats
from .component_rows import label_rows
from .edit import find_pipe
from .plan import remove
from .rows import LabelPipe

ScoresT = TypeVar("ScoresT", Floats, TokenScores)
"""Scores of a head's model, or their gradients."""


class FrozenRows:
    """The frozen part of a head. Its labels give no gradient. After each step its weights are restored, so that no
    weight decay or momentum of an optimizer changes them. It belongs to a training and is not saved.

    model (Model): The head. Its backbone is not looked after.
    nodes (Sequence[Model]): Layers with a part for each label: the output layer first, with W of shape (n_rows, width)
        and b; then a CRF's scores of neighbours.
    """

    def __init__(self, model: Model, nodes: Sequence[Model], moving: Iterable[int]) -> None:
        self.is_frozen: Bools = nodes[0].ops.xp.ones(nodes[0].get_dim("nO"), dtype=bool)
        self.is_frozen[list(moving)] = False
        self._nodes = list(nodes)
        layers = [node for node in model.walk() if not isinstance(node, Tok2VecListener) and not node.shims]
        own = [(node, name) for node in layers for name in node.param_names if node.has_param(name)]
        self._kept = [(node, name, cast(Floats, node.get_param(name)).copy()) for node, name in own]
        tok2vec = model.maybe_get_ref("tok2vec")
        backbone = set() if tok2vec is None else {node.id for node in tok2vec.walk()}
        shims = [shim for node in model.walk() if node.id not in backbone for shim in node.shims]
        modules = [shim._model for shim in shims if hasattr(shim, "_model")]
        self._states = [(m, {name: part.clone() for name, part in m.state_dict().items()}) for m in modules]

    def zero_frozen(self, d_scores: ScoresT) -> ScoresT:
        """RETURNS (Union[Floats2d, TokenScores]): Gradients of the logits, 0 for frozen rows; and of the transitions, 0
        where both rows are frozen."""
        trained = ~self.is_frozen
        found: object = d_scores.only(trained) if isinstance(d_scores, TokenScores) else d_scores * trained
        return cast(ScoresT, found)

    def restore(self) -> None:
        """Restore the frozen weights."""
        for node, name, kept in self._kept:
            param = cast(Floats, node.get_param(name))
            if node is self._nodes[0]:
                param[self.is_frozen] = kept[self.is_frozen]
            elif any(node is other for other in self._nodes):
                # Transitions are frozen between frozen tags.
                is_frozen = self.is_frozen if param.ndim == 1 else self.is_frozen[:, None] & self.is_frozen
                param[is_frozen] = kept[is_frozen]
            else:
                param[...] = kept
        for module, state in self._states:
            module.load_state_dict(state)


class FreezableHead(LabelPipe, Protocol):
    """One of our heads."""

    frozen_rows: FrozenRows | None


def learn_only(nlp: Language, name: str, labels: str | Iterable[str] | None) -> None:
    """Train only the rows of some labels from now on, such as labels that were added. The rows of all other labels and
    the layers before them stay bit-identical, whatever the optimizer. This holds for the present training and is not
    saved.

    The backbone is another component: set `frozen = true` there, or the scores of all labels change with it.

    nlp (Language): The pipeline.
    name (str): Of a `transfer_*` head.
    labels (Union[str, Iterable[str], None]): Those that learn; None for all.
    RAISES (ValueError): When the component cannot do it, or a label is not known.
    """
    pipe = cast(FreezableHead, find_pipe(nlp, name))
    if labels is None:
        pipe.frozen_rows = None
    else:
        freeze_known_rows(pipe, [labels] if isinstance(labels, str) else list(labels), nlp)


def freeze_known_rows(pipe: FreezableHead, labels: Iterable[str], nlp: Language | None) -> None:
    """The same for a component that may not be in a pipeline.

    labels (Iterable[str]): Those that learn; none is allowed.
    """
    labels = list(labels)
    if not hasattr(pipe, "frozen_rows"):
        raise ValueError(Errors.T378.format(name=pipe.name, found=type(pipe).__name__))
    rows = label_rows(pipe.name, pipe)
    if labels:
        remove(rows.labels, labels, name=pipe.name)  # Says which are not known.
    moving = [i for i, row in enumerate(rows.rows) if rows.label_of(row) in labels]
    pipe.frozen_rows = FrozenRows(pipe.model, list(rows.nodes()), moving)
    for name, other in [] if nlp is None else nlp.components:
        listens = pipe.name in getattr(other, "listening_components", [])
        if listens and not getattr(other, "frozen", False):
            logger.warning(Warnings.W364.format(name=pipe.name, backbone=name))
