"""The weights of an old pipeline, matched with those of its successor: by name, and rows of labels by label."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import cast

from spacy.language import Language
from thinc.api import get_array_module

from ..errors import Errors
from ..pipeline.labels.component_rows import EntityRows, LabelRows, TokenRows, rows_of_kind
from ..pipeline.labels.plan import LabelPlan, move_axis
from ..pipeline.parameters import NamedParameter, parameters_of
from ..tuning.fisher import DiagonalFisher
from ..types import Floats, Pipe, pipe_of, pipes_of

Axes = dict[tuple[int, str], tuple[int, ...]]
"""Axes along which a parameter has a slice for each row, by `Parameter.key`."""


@dataclass(frozen=True)
class OldParameter:
    """What is known of one parameter: arrays of numpy or cupy, or tensors of torch, as the parameter's own.

    origin (FloatsXd): Its values; zeros in what is new.
    importance (Optional[FloatsXd]): Of each value, 0 in what is new; None for 1 everywhere.
    """

    origin: Floats
    importance: Floats | None

    def known_importance(self) -> Floats:
        """RETURNS (FloatsXd): The importance of each value, as an array."""
        return self.origin * 0 + 1 if self.importance is None else self.importance


@dataclass
class Matches:
    """How much of a pipeline was found in the old one.

    whole (List[str]): Names of parameters that are there with all their values.
    partly (Dict[str, str]): Those that have grown, and by what.
    missing (List[str]): Those that are not there, or of another shape.
    """

    whole: list[str] = field(default_factory=list)
    partly: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def describe(self, most: int = 6) -> str:
        """RETURNS (str): One line."""
        parts = [f"{len(self.whole)} parameters"]
        parts += [f"{name} ({what})" for name, what in self.partly.items()]
        more = f" and {len(self.missing) - most} more" if len(self.missing) > most else ""
        free = f"; free, since the old pipeline has nothing of their name and shape: {', '.join(self.missing[:most])}"
        return ", ".join(parts) + (f"{free}{more}" if self.missing else "")


Held = dict[str, tuple[NamedParameter, OldParameter]]
"""Parameters as they are now and their old values, by name of the parameter."""


class OldWeights:
    """Copies of the weights of components, with their importance.

    fisher (Optional[DiagonalFisher]): Their importance; None for 1.
    """

    def __init__(self, nlp: Language, components: Collection[str], fisher: DiagonalFisher | None) -> None:
        self._old: dict[str, OldParameter] = {}
        self._rows: dict[str, tuple[str, ...]] = {}
        self._axes: dict[str, tuple[int, ...]] = {}
        for name, pipe in pipes_of(nlp):
            if name in components:
                self._rows[name], axes = _label_axes(name, pipe)
                for p in parameters_of(name, pipe):
                    value = cast(Floats, p.parameter.value_copy())
                    self._old[p.name] = OldParameter(value, None if fisher is None else fisher.mean(p.name, value))
                    if (key := p.parameter.key) in axes and not p.is_torch:
                        self._axes[p.name] = axes[key]

    def scale(self, factor: float) -> None:
        """Multiply all importances."""
        for name, old in self._old.items():
            if old.importance is not None:
                self._old[name] = OldParameter(old.origin, old.importance * factor)

    def mean_importance(self) -> float:
        """RETURNS (float): Over all weights."""
        known = [old.importance for old in self._old.values() if old.importance is not None]
        size = sum(_size(array) for array in known)
        return sum(float(array.sum()) for array in known) / size if size else 1.0

    def look_up(self, name: str, pipe: Pipe, found: Matches | None = None) -> Held:
        """Find the old values of a component's parameters, in the shapes that they have now.

        name (str), pipe (Pipe): The component as it is now.
        found (Optional[Matches]): What was found is added to it.
        RETURNS (Dict[str, Tuple[NamedParameter, OldParameter]]): By name; what is not there is left out.
        """
        found = Matches() if found is None else found
        rows = _label_axes(name, pipe)[0] if name in self._rows else ()
        both: Held = {}
        for parameter in parameters_of(name, pipe):
            old = self._fit(parameter, rows, found)
            if old is not None:
                both[parameter.name] = (parameter, old)
        return both

    def _fit(self, parameter: NamedParameter, rows: tuple[str, ...], found: Matches) -> OldParameter | None:
        """The old values in the shape of now."""
        name, old = parameter.name, self._old.get(parameter.name)
        now = cast(Floats, parameter.parameter.value)
        if old is None or type(old.origin) is not type(now):
            found.missing.append(name)
            return None
        before = self._rows.get(parameter.component, ())
        if name in self._axes and rows and rows != before:
            placed = _by_rows(old, now, self._axes[name], before, rows)
            if placed is not None:
                found.partly[name] = f"{len(set(rows) & set(before))} of {len(rows)} rows"
                return placed
        if old.origin.shape == now.shape:
            found.whole.append(name)
            return old
        small, large = tuple(old.origin.shape), tuple(now.shape)
        if len(small) != len(large) or any(a > b for a, b in zip(small, large, strict=True)):
            found.missing.append(name)
            return None
        found.partly[name] = f"{small} of {large}"
        return _leading(old, now)


def old_components(old: Language, components: Collection[str], source: str) -> list[str]:
    """RETURNS (List[str]): Names of those components that an old pipeline has too.

    source (str): What it is called, for the message.
    RAISES (ValueError): When there is none.
    """
    names = [name for name in components if name in old.pipe_names and parameters_of(name, pipe_of(old, name))]
    if not names:
        raise ValueError(Errors.T687.format(source=source, found=old.pipe_names, wanted=list(components)))
    return names


def _label_axes(name: str, pipe: Pipe) -> tuple[tuple[str, ...], Axes]:
    """Names of the rows of a component's output, and which axes of which parameters they count along."""
    rows = rows_of_kind(name, pipe)
    if rows is None or rows.find_output() is None:
        return (), {}
    axes: Axes = {}
    for i, node in enumerate(rows.nodes()):
        for param in node.param_names:
            if node.has_param(param):
                axes[node.id, param] = _axes(rows, param, node.get_param(param).ndim, is_output=i == 0)
    return rows.rows, axes


def _axes(rows: LabelRows, param: str, n_axes: int, *, is_output: bool) -> tuple[int, ...]:
    if isinstance(rows, TokenRows) and not is_output:
        return tuple(range(n_axes))  # Of a tag, and of the next.
    if isinstance(rows, EntityRows) and not rows.pipe.model.attrs["has_upper"]:
        return ({"W": 1, "b": 0, "pad": 2}[param],)
    return (0,)


def _by_rows(
    old: OldParameter, now: Floats, axes: tuple[int, ...], before: tuple[str, ...], rows: tuple[str, ...]
) -> OldParameter | None:
    """Old values at the places of their labels. A sparse layer keeps its rows one after the other."""
    if old.origin.shape[axes[0]] % len(before) or now.shape[axes[0]] % len(rows):
        return None
    known = set(before)
    plan = LabelPlan(before, rows, tuple((row,) if row in known else () for row in rows))
    is_flat = old.origin.ndim == 1 and old.origin.shape[0] != len(before)
    shape = (len(before), -1) if is_flat else old.origin.shape

    def place(array: Floats) -> Floats:
        array = array.reshape(shape)
        for axis in axes:
            array = move_axis(plan, array, axis, get_array_module(array))
        return array.reshape(now.shape) if is_flat else array

    origin = place(old.origin)
    return None if origin.shape != now.shape else OldParameter(origin, place(old.known_importance()))


def _leading(old: OldParameter, now: Floats) -> OldParameter:
    """Without labels, the old values come first along each axis."""
    corner = tuple(slice(size) for size in old.origin.shape)
    origin, importance = now * 0, now * 0
    origin[corner], importance[corner] = old.origin, old.known_importance()
    return OldParameter(origin, importance)


def _size(array: Floats) -> int:
    return int(array.numel()) if hasattr(array, "numel") else int(array.size)
