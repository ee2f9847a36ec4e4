"""Only some rows of a head learn: a new label, while all that the head knew stays bit for bit as it was."""

from collections.abc import Iterable, Sequence
from typing import Any

from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.util import logger
from thinc.api import Model

from ...errors import Errors, Warnings
from ...heads.tagging.tokens import TokenScores
from .component_rows import label_rows
from .edit import find_pipe
from .plan import remove


class FrozenRows:
    """What of a head stays, and how it is kept: no gradient comes from its labels, and after each step it is put back,
    so that neither decay nor momentum of an optimizer moves it. It belongs to a training and is not saved.

    model (Model): The head. Its backbone is not looked after.
    nodes (Sequence[Model]): Layers with a part for each label: the output layer first, with W of shape (n_rows, width)
        and b; then a CRF's scores of neighbours.
    """

    def __init__(self, model: Model, nodes: Sequence[Model], moving: Iterable[int]) -> None:
        self.is_frozen: Any = nodes[0].ops.xp.ones(nodes[0].get_dim("nO"), dtype=bool)
        self.is_frozen[list(moving)] = False
        self._nodes = list(nodes)
        layers = [node for node in model.walk() if not isinstance(node, Tok2VecListener) and not node.shims]
        own = [(node, name) for node in layers for name in node.param_names if node.has_param(name)]
        self._kept = [(node, name, node.get_param(name).copy()) for node, name in own]
        tok2vec = model.maybe_get_ref("tok2vec")
        backbone = set() if tok2vec is None else {node.id for node in tok2vec.walk()}
        shims: Any = [shim for node in model.walk() if node.id not in backbone for shim in node.shims]
        modules = [shim._model for shim in shims if hasattr(shim, "_model")]
        self._states = [(m, {name: part.clone() for name, part in m.state_dict().items()}) for m in modules]

    def zero_frozen(self, d_scores: Any) -> Any:
        """RETURNS (Union[Floats2d, TokenScores]): Gradients of the logits, 0 for rows that stay; and of scores of
        neighbours, 0 where both stay."""
        if isinstance(d_scores, TokenScores):
            return d_scores.only(~self.is_frozen)
        return d_scores * ~self.is_frozen

    def restore(self) -> None:
        """Put back what must not move."""
        for node, name, kept in self._kept:
            param: Any = node.get_param(name)
            if node is self._nodes[0]:
                param[self.is_frozen] = kept[self.is_frozen]
            elif any(node is other for other in self._nodes):
                is_frozen = self._between(param.ndim)
                param[is_frozen] = kept[is_frozen]
            else:
                param[...] = kept
        for module, state in self._states:
            module.load_state_dict(state)

    def _between(self, n_dims: int) -> Any:
        """What scores of neighbours stay: those between tags that do."""
        return self.is_frozen if n_dims == 1 else self.is_frozen[:, None] & self.is_frozen


def learn_only(nlp: Language, name: str, labels: str | Iterable[str] | None) -> None:
    """Let only the rows of some labels learn from now on: those that were added, say. The rows of all other labels and
    the layers before them stay bit for bit, whatever the optimizer. It is for the training at hand and is not saved.

    The backbone is another component: set `frozen = true` there, or the scores of all labels move with it.

    nlp (Language): The pipeline.
    name (str): Of a `transfer_*` head.
    labels (Union[str, Iterable[str], None]): Those that learn; None for all.
    RAISES (ValueError): When the component cannot do it, or a label is not known.
    """
    pipe = find_pipe(nlp, name)
    if labels is None:
        pipe.frozen_rows = None
    else:
        freeze_known_rows(pipe, [labels] if isinstance(labels, str) else list(labels), nlp)


def freeze_known_rows(pipe: Any, labels: Iterable[str], nlp: Language | None) -> None:
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
