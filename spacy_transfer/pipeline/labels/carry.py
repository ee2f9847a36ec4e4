"""Carry a trained head into another pipeline: rows by the names of their labels, and the layers before them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import spacy
from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.util import logger
from thinc.api import Model

from ...errors import Errors, Warnings
from ...installed import like
from ...random_state import same_random_state
from .compare import backbone_of, differences
from .component_rows import ClassifierRows, label_rows, rows_of_kind
from .edit import find_pipe, set_labels
from .frozen_rows import FreezableHead, freeze_known_rows
from .plan import LabelPlan, between
from .rows import LabelPipe, LabelRows


@dataclass(frozen=True)
class CarryReport:
    """What was carried.

    name (str): Of the component.
    source (str): The pipeline it came from.
    component (str): The component there.
    plan (LabelPlan): Which rows were carried, merged, new and dropped.
    layers (Tuple[str]): Layers before the output layer that were copied in.
    left (Tuple[str]): Layers that were not, with the reason.
    """

    name: str
    source: str
    component: str
    plan: LabelPlan
    layers: tuple[str, ...]
    left: tuple[str, ...]

    def describe(self) -> str:
        """RETURNS (str): One line."""
        layers = f"; layers {', '.join(self.layers)}" if self.layers else ""
        left = f"; not carried: {', '.join(self.left)}" if self.left else ""
        return f"{self.name}: from {self.component!r} of {self.source}: {self.plan.describe()}{layers}{left}"


def carry_head(
    nlp: Language,
    name: str,
    source: str | Language,
    *,
    component: str | None = None,
    label_map: Mapping[str, str] | None = None,
    merge: bool = False,
) -> CarryReport:
    """Copy what a component of another pipeline has learned into one that is initialised. Rows go by the names of
    their labels; rows of labels that the source does not have are new (see `labels.plan.move_rows`).
    Layers before the output layer are copied where their shapes agree.

    nlp (Language): The pipeline.
    name (str): Of the component that receives.
    source (Union[str, Language]): The other pipeline: a folder, a package, or itself.
    component (Optional[str]): Of the component there; None for the one of this name, or the only one of this kind.
    label_map (Optional[Mapping[str, str]]): The labels' names here, by those there, where they differ.
    merge (bool): Whether several labels there may become one here.
    RETURNS (CarryReport): What was carried.
    RAISES (ValueError): When the source cannot be read or has no such component, when widths or decoders differ, or
        label_map names unknown labels.
    """
    return carry_into(nlp, name, find_pipe(nlp, name), source, component, label_map, merge)


def carry_into(
    nlp: Language | None,
    name: str,
    pipe: LabelPipe,
    source: str | Language,
    component: str | None = None,
    label_map: Mapping[str, str] | None = None,
    merge: bool = False,
) -> CarryReport:
    """The same for a component that may not be in a pipeline."""
    key = f"initialize.components.{name}.carry_from"
    called = source if isinstance(source, str) else source.meta["name"]
    other_nlp = load(source, key) if isinstance(source, str) else source
    rows = label_rows(name, pipe)
    other_name = _matching(rows, other_nlp, called, component)
    other = label_rows(other_name, find_pipe(other_nlp, other_name))
    plan = between(other.labels, rows.labels, label_map, name=name, may_merge=merge)
    rows.check(plan)
    if not other.has_weights():
        raise ValueError(Errors.T369.format(name=other_name))
    of_rows = rows.row_plan(plan, other.rows, rows.rows)
    _check_shapes(rows, other, called)
    rows.check_source(other)
    params = other.moved(other.read(), of_rows)
    rows.write(params, len(of_rows.labels))
    rows.finish(of_rows, other)
    layers, left = _carry_layers(pipe.model, other.pipe.model, rows, other)
    report = CarryReport(name, called, other_name, plan, tuple(layers), tuple(left))
    logger.info("%s", report.describe())
    if left:
        logger.warning(Warnings.W362.format(name=name, source=called, left=", ".join(left)))
    if nlp is not None:
        found = differences(backbone_of(nlp, name), backbone_of(other_nlp, other_name))
        if found:
            logger.warning(Warnings.W363.format(name=name, source=called, differences="; ".join(found)))
    return report


@dataclass(frozen=True)
class Carry:
    """What a head takes from another pipeline when it is initialised: keys of `[initialize.components.NAME]`.

    carry_from (Optional[str]): A pipeline whose head is carried over, by the names of labels: a folder or package.
    carry_component (Optional[str]): The component there; None for the one of this name, or the only one of its kind.
    label_map (Optional[Dict[str, str]]): The labels' names here, by those there, where they differ.
    merge (bool): Whether several labels there may become one here.
    only_new (bool): Train only the rows of new labels; all else stays bit for bit.
    """

    carry_from: str | None = None
    carry_component: str | None = None
    label_map: dict[str, str] | None = None
    merge: bool = False
    only_new: bool = False

    def check(self, name: str, fit: str | None = None) -> None:
        """RAISES (ValueError): When settings contradict each other; before anything is computed.

        name (str): Of the component.
        fit (Optional[str]): Another way to fill the output layer.
        """
        for key, value in vars(self).items():
            if value and self.carry_from is None:
                raise ValueError(Errors.T375.format(name=name, key=key))
        if self.carry_from is not None and fit is not None:
            raise ValueError(Errors.T376.format(name=name))

    def into(self, pipe: FreezableHead, nlp: Language | None) -> CarryReport | None:
        """Carry a head into a component that has labels and weights.

        pipe (TrainablePipe): The component.
        nlp (Optional[Language]): Its pipeline.
        RETURNS (Optional[CarryReport]): What was carried; None without a source.
        """
        if self.carry_from is None:
            return None
        part = self.carry_component, self.label_map, self.merge
        report = carry_into(nlp, pipe.name, pipe, self.carry_from, *part)
        if self.only_new:
            freeze_known_rows(pipe, report.plan.new, nlp)
        return report


def create_carry_head_v1(
    *,
    components: dict[str, str] = {},  # noqa: B006 (confection needs a dict; it is only read)
    source_components: dict[str, str] | None = None,
    labels: dict[str, list[str]] | None = None,
    label_map: dict[str, dict[str, str]] | None = None,
    merge: bool = False,
    then: Callable[[Language], object] | None = None,
) -> Callable[[Language], Language]:
    """For `[initialize.after_init]`: carry heads into stock components, whose `[initialize.components]` block has no
    `carry_from`, and change the labels of sourced ones, which spaCy does not initialise. It runs when a training
    begins; what is saved needs no source.

    components (Dict[str, str]): The pipelines that heads come from, by the names of the components here.
    source_components (Optional[Dict[str, str]]): The components there, by those here, where their names differ.
    labels (Optional[Dict[str, List[str]]]): The label sets that components shall have; null for those they have from
        the data. A sourced component keeps what it knows of them.
    label_map (Optional[Dict[str, Dict[str, str]]]): By component: names of labels here, by their old ones.
    merge (bool): Whether several old labels may become one.
    then (Optional[Callable[[Language], object]]): Another callback, to run afterwards: spaCy has one place for both.
    RETURNS (Callable[[Language], Language]): The callback.
    """
    labels, label_map, there = labels or {}, label_map or {}, source_components or {}
    for name in (*label_map, *there):
        if name not in components and name not in labels:
            known = get_close_matches(name, [*components, *labels], n=3, cutoff=0.4) or [*components, *labels]
            way = f"Name it there too. Near it: {known}"
            raise ValueError(Errors.T379.format(problem=f"{name!r} is neither in components nor in labels", way=way))

    def carry(nlp: Language) -> Language:
        for name, wanted in labels.items():
            own = {} if name in components else label_map.get(name)
            set_labels(nlp, name, list(wanted), own, may_merge=merge)
        for name, source in components.items():
            carry_head(nlp, name, source, component=there.get(name), label_map=label_map.get(name), merge=merge)
        if then is not None:
            then(nlp)
        return nlp

    return carry


def load(source: str, key: str) -> Language:
    """Load a pipeline.

    key (str): Where it was named, for messages.
    """
    try:
        with same_random_state():
            return spacy.load(source)
    except OSError as error:
        raise ValueError(Errors.T372.format(key=key, source=source) + like(source)) from error


def _matching(rows: LabelRows, nlp: Language, called: str, component: str | None) -> str:
    """The component to carry from: named, or of the same name, or the only one of its kind."""
    found = {name: rows_of_kind(name, pipe) for name, pipe in nlp.components}
    alike = [name for name, other in found.items() if other is not None and _is_alike(rows, other)]
    name = component or (rows.name if rows.name in alike else alike[0] if len(alike) == 1 else rows.name)
    if name in alike:
        return name
    pipes = dict(nlp.components)
    kind = type(pipes[name]).__name__ if name in pipes else "component that is not there"
    wanted, key = type(rows.pipe).__name__, "carry_component, or source_components"
    raise ValueError(
        Errors.T373.format(name=rows.name, other=name, source=called, found=kind, wanted=wanted, key=key, near=alike)
    )


def _is_alike(rows: LabelRows, other: LabelRows) -> bool:
    # Rows of a softmax have a meaning only together, but they can initialise those of a sigmoid, and the reverse.
    if isinstance(rows, ClassifierRows):
        return isinstance(other, ClassifierRows)
    return type(rows) is type(other)


def _check_shapes(rows: LabelRows, other: LabelRows, called: str) -> None:
    mine, theirs = rows.read(), other.read()
    differs = len(mine) != len(theirs) or set(mine[0]) != set(theirs[0]) or mine[0]["W"].ndim != theirs[0]["W"].ndim
    prefixes = [{row.partition("-")[0] for row in some.rows if "-" in row} for some in (rows, other)]
    has_prefixes = not isinstance(rows, ClassifierRows) and rows.rows != rows.labels
    if differs or (has_prefixes and prefixes[0] != prefixes[1]):
        raise ValueError(Errors.T377.format(name=rows.name, found=list(other.rows), wanted=list(rows.rows)))
    sizes = [_width(some.output()) for some in (rows, other)]
    if sizes[0] != sizes[1]:
        raise ValueError(Errors.T374.format(name=rows.name, wanted=sizes[0], found=sizes[1], source=called))


def _width(output: Model) -> object:
    width = {name: output.get_dim(name) for name in output.dim_names if name != "nO"}
    return next(iter(width.values())) if len(width) == 1 else width


def _carry_layers(mine: Model, theirs: Model, rows: LabelRows, other: LabelRows) -> tuple[list[str], list[str]]:
    """Copy the layers between the backbone and the output layer, in their order."""
    here, there = _between(mine, rows), _between(theirs, other)
    carried: list[str] = []
    left: list[str] = []
    for i, node in enumerate(here):
        twin = there[i] if i < len(there) else None
        if twin is not None and node.name == twin.name and _shapes(node) == _shapes(twin):
            for name in _shapes(node):
                node.set_param(name, node.ops.xp.array(node.ops.asarray(twin.get_param(name))))
            carried.append(node.name)
            for shim, other_shim in zip(node.shims, twin.shims, strict=True):
                shim.from_bytes(other_shim.to_bytes())
        else:
            found = "nothing" if twin is None else f"{twin.name} {_shapes(twin)}"
            left.append(f"{node.name} {_shapes(node)} (there: {found})")
    return carried, left


def _between(model: Model, rows: LabelRows) -> list[Model]:
    """Layers with parameters that have no slice for each label. Listeners are left out."""
    skip = {node.id for node in rows.nodes()}
    return [
        node
        for node in model.walk()
        if node.id not in skip and (_shapes(node) or node.shims) and not isinstance(node, Tok2VecListener)
    ]


def _shapes(node: Model) -> dict[str, Sequence[int]]:
    return {name: tuple(node.get_param(name).shape) for name in node.param_names if node.has_param(name)}
