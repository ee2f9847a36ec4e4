"""`LabelRows`: the labels of a component, and a row of weights for each. See `label_rows` for the kinds."""

from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import FloatsXd

from ...errors import Errors
from ...types import AnyModel, Config, Floats
from .plan import Kind, LabelPlan, move_rows

Params = dict[str, Floats]
"""The parameters of a layer, by their names."""


class LabelPipe(Protocol):
    """A component with labels, ours or spaCy's own."""

    name: str
    vocab: Vocab
    model: AnyModel
    cfg: Config

    @property
    def labels(self) -> Sequence[str]: ...


class LabelRows:
    """The labels of a component with a row for each, in the output layer of its model."""

    kind: Kind = "softmax"
    fewest = 1

    def __init__(self, name: str, pipe: LabelPipe) -> None:
        self.name = name
        self.pipe = pipe

    # Names

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str]): The labels, in the order of the component."""
        return tuple(self.pipe.labels)

    @property
    def rows(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str]): What the rows stand for, in their order."""
        return self.labels

    def label_of(self, row: str) -> str | None:
        """RETURNS (Optional[str]): The label that a row belongs to; None for one that belongs to none."""
        return row

    def set_labels(self, plan: LabelPlan) -> None:
        """Write the names of a plan into the component."""
        self.pipe.cfg["labels"] = list(plan.labels)

    def check(self, plan: LabelPlan) -> None:
        """Check that a plan can be carried out, before anything is changed."""
        if not self.has_weights():
            raise ValueError(Errors.T369.format(name=self.name))
        if len(plan.labels) < self.fewest:
            raise ValueError(Errors.T370.format(name=self.name, labels=list(plan.labels), fewest=self.fewest))

    def check_source(self, other: "LabelRows") -> None:
        """Check that rows of another component of the same kind have the same meaning, before anything is changed."""

    def finish(self, plan: LabelPlan, source: "LabelRows") -> None:
        """Update what depends on the rows, once the parameters are in.

        source (LabelRows): Where they came from; the component itself when only its labels change.
        """

    def row_plan(self, plan: LabelPlan, old: Sequence[str], new: Sequence[str]) -> LabelPlan:
        """RETURNS (LabelPlan): What a plan for the labels means for the rows."""
        return plan

    # Weights

    def find_output(self) -> Model | None:
        """RETURNS (Optional[Model]): The layer with the rows; None where the model has no such layer."""
        raise NotImplementedError

    def output(self) -> Model:
        """RETURNS (Model): The layer with the rows.

        RAISES (ValueError): When there is none.
        """
        found = self.find_output()
        if found is None:
            raise ValueError(Errors.T366.format(name=self.name, found=self.pipe.model.name))
        return found

    def nodes(self) -> Iterator[Model]:
        """YIELDS (Model): All layers that have a part for each row, the output layer first."""
        yield self.output()

    def has_weights(self) -> bool:
        """RETURNS (bool): Whether the component has been initialised."""
        return bool(self.output().has_param("W"))

    def read(self) -> list[Params]:
        """RETURNS (List[Dict[str, FloatsXd]]): The parameters of `nodes`."""
        return [{name: cast(Floats, node.get_param(name)) for name in node.param_names} for node in self.nodes()]

    def moved(self, params: list[Params], plan: LabelPlan) -> list[Params]:
        """What parameters are after a change.

        params (List[Dict[str, FloatsXd]]): From `read`.
        """
        W, b = params[0]["W"], params[0]["b"]
        # A sparse layer keeps its rows one after the other.
        new_W, new_b = move_rows(plan, W.reshape((len(b), -1)), b, self.kind, self.pipe.model.ops.xp)
        return [{"W": new_W.reshape((-1,) if W.ndim == 1 else new_W.shape), "b": new_b}]

    def write(self, params: list[Params], n_rows: int) -> None:
        """Put parameters in. Layers that change their shape are replaced: an optimizer's moments of the old shape are
        no use to them.

        params (List[Dict[str, FloatsXd]]): For each of `nodes`.
        n_rows (int): How many rows there are now.
        """
        root = self.pipe.model
        for old, given in zip(list(self.nodes()), params, strict=True):
            self._replace(root, old, resized(old, given, n_rows), n_rows)
        if hasattr(self.pipe, "_rehearsal_model"):
            self.pipe._rehearsal_model = None  # It has the old labels.

    def _replace(self, root: Model, old: Model, new: Model, n_rows: int) -> None:
        around = [node for node in root.walk() if node is not old and any(layer is old for layer in node.walk())]
        sizes = {node.id: node.maybe_get_dim("nO") for node in around}
        width = old.maybe_get_dim("nO")
        root.replace_node(old, new)
        for node in around:
            if "nO" in node.dim_names and sizes[node.id] in (width, None):
                node.set_dim("nO", n_rows, force=True)


def resized(old: Model, given: Params, n_rows: int) -> Model:
    """A layer like another, with other parameters.

    old (Model): A layer without layers of its own.
    """
    sizes = {name: old.maybe_get_dim(name) for name in old.dim_names}
    if "nO" in sizes:
        sizes["nO"] = n_rows
    asarray, contiguous = old.ops.asarray, old.ops.xp.ascontiguousarray
    params = {name: contiguous(asarray(cast(FloatsXd, array))) for name, array in given.items()}
    return Model(old.name, old._func, attrs=dict(old.attrs), dims=sizes, params=params, init=old.init, ops=old.ops)
