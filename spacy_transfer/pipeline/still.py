"""Only some rows of a head learn: a new label, while all that the head knew stays bit for bit as it was."""

from collections.abc import Iterable
from typing import Any

from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.util import logger
from thinc.api import Model

from ..errors import Errors, Warnings
from ..heads.labels import remove
from .label_rows import label_rows
from .labels import find_pipe


class StillRows:
    """What of a head stays, and how it is kept: no gradient comes from its labels, and after each step it is put back,
    so that neither decay nor momentum of an optimizer moves it. It belongs to a training and is not saved.

    model (Model): The head. Its backbone is not looked after.
    output (Model): Its output layer, with W of shape (n_labels, width) and b.
    moving (Iterable[int]): Rows that learn.
    """

    def __init__(self, model: Model, output: Model, moving: Iterable[int]) -> None:
        self.output = output
        self.still: Any = output.ops.xp.ones(output.get_dim("nO"), dtype=bool)
        self.still[list(moving)] = False
        nodes = [node for node in model.walk() if not isinstance(node, Tok2VecListener) and not node.shims]
        own = [(node, name) for node in nodes for name in node.param_names if node.has_param(name)]
        self._kept = [(node, name, node.get_param(name).copy()) for node, name in own]

    def only_moving(self, d_scores: Any) -> Any:
        """RETURNS (Floats2d): Gradients of the logits, 0 for rows that stay."""
        return d_scores * ~self.still

    def restore(self) -> None:
        """Put back what must not move."""
        for node, name, kept in self._kept:
            param: Any = node.get_param(name)
            if node is self.output:
                param[self.still] = kept[self.still]
            else:
                param[...] = kept


def learn_only(nlp: Language, name: str, labels: str | Iterable[str] | None) -> None:
    """Let only the rows of some labels learn from now on: those that were added, say. The rows of all other labels and
    the layers before them stay bit for bit, whatever the optimizer. It is for the training at hand and is not saved.

    The backbone is another component: set `frozen = true` there, or the scores of all labels move with it.

    nlp (Language): The pipeline.
    name (str): Of a `transfer_textcat` or `transfer_textcat_multilabel`.
    labels (Union[str, Iterable[str], None]): Those that learn; None for all.
    RAISES (ValueError): When the component cannot do it, or a label is not known.
    """
    pipe = find_pipe(nlp, name)
    if labels is None:
        pipe.still = None
    else:
        keep_still(pipe, [labels] if isinstance(labels, str) else list(labels), nlp)


def keep_still(pipe: Any, labels: Iterable[str], nlp: Language | None) -> None:
    """The same for a component that may not be in a pipeline.

    pipe (TrainablePipe): The component.
    labels (Iterable[str]): Those that learn; none is allowed.
    nlp (Optional[Language]): The pipeline.
    """
    labels = list(labels)
    if not hasattr(pipe, "still"):
        raise ValueError(Errors.T378.format(name=pipe.name, found=type(pipe).__name__))
    rows = label_rows(pipe.name, pipe)
    if labels:
        remove(rows.labels, labels, name=pipe.name)  # Says which are not known.
    pipe.still = StillRows(pipe.model, rows.output(), [rows.labels.index(label) for label in labels])
    for name, other in [] if nlp is None else nlp.components:
        listens = pipe.name in getattr(other, "listening_components", [])
        if listens and not getattr(other, "frozen", False):
            logger.warning(Warnings.W364.format(name=pipe.name, backbone=name))
