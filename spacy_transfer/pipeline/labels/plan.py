"""Changes of label sets: which old labels each new one takes its weights from, and the new rows of weights."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import numpy

from ...errors import Errors
from ...types import ArrayModule, Floats

Kind = Literal["softmax", "sigmoid", "number"]


@dataclass(frozen=True)
class LabelPlan:
    """How one label set becomes another.

    old (Tuple[str]): The labels there were, in the order of their rows.
    labels (Tuple[str]): The labels there will be, in order.
    sources (Tuple[Tuple[str]]): For each of these the old labels it takes its weights from: one is carried over as it
        is, several are merged, none is new.
    """

    old: tuple[str, ...]
    labels: tuple[str, ...]
    sources: tuple[tuple[str, ...], ...]

    @property
    def carried(self) -> dict[str, str]:
        """RETURNS (Dict[str, str]): Labels that go on as they are, and what they were called."""
        return {label: found[0] for label, found in self._pairs() if len(found) == 1}

    @property
    def merged(self) -> dict[str, tuple[str, ...]]:
        """RETURNS (Dict[str, Tuple[str]]): Labels that were several, and which."""
        return {label: found for label, found in self._pairs() if len(found) > 1}

    @property
    def new(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str]): Labels that come from nowhere."""
        return tuple(label for label, found in self._pairs() if not found)

    @property
    def dropped(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str]): Old labels that nothing comes from."""
        used = {name for found in self.sources for name in found}
        return tuple(name for name in self.old if name not in used)

    @property
    def old_rows(self) -> list[list[int]]:
        """RETURNS (List[List[int]]): For each label the places in `old` of its sources."""
        place = {label: i for i, label in enumerate(self.old)}
        return [[place[name] for name in found] for found in self.sources]

    def _pairs(self) -> list[tuple[str, tuple[str, ...]]]:
        return list(zip(self.labels, self.sources, strict=True))

    def describe(self) -> str:
        """RETURNS (str): One line: what is carried, renamed, merged, new and dropped."""
        renamed = [f"{old} -> {new}" for new, old in self.carried.items() if old != new]
        merged = [f"{' + '.join(found)} -> {label}" for label, found in self.merged.items()]
        parts = [f"carried {len(self.carried)}{_listed(list(self.carried))}"]
        parts += [f"renamed{_listed(renamed)}"] if renamed else []
        parts += [f"merged{_listed(merged)}"] if merged else []
        parts += [f"new {len(self.new)}{_listed(self.new)}", f"dropped {len(self.dropped)}{_listed(self.dropped)}"]
        return "; ".join(parts)


def add(old: Sequence[str], labels: Iterable[str], *, name: str) -> LabelPlan:
    """Add labels after the old ones.

    RAISES (ValueError): When one is there already, or is given twice.
    """
    added = _names(labels, name)
    there = [label for label in added if label in old]
    if there:
        raise ValueError(Errors.T361.format(name=name, labels=there))
    return _plan(old, [*old, *added], [*((label,) for label in old), *(() for _ in added)], name)


def remove(old: Sequence[str], labels: Iterable[str], *, name: str) -> LabelPlan:
    """Remove labels, and their rows of weights.

    old (Sequence[str]), labels (Iterable[str]), name (str): As for `add`.
    RAISES (ValueError): When one is not known.
    """
    gone = _known(old, labels, name)
    stay = [label for label in old if label not in gone]
    return _plan(old, stay, [(label,) for label in stay], name)


def rename(old: Sequence[str], names: Mapping[str, str], *, name: str) -> LabelPlan:
    """Give labels other names. No weight changes.

    old (Sequence[str]), name (str): As for `add`.
    names (Mapping[str, str]): New names, by old ones. Two may swap.
    RAISES (ValueError): When an old name is not known, or a new one is taken.
    """
    _known(old, names, name)
    return _plan(old, _names([names.get(label, label) for label in old], name), [(label,) for label in old], name)


def merge(old: Sequence[str], labels: Iterable[str], into: str, *, name: str) -> LabelPlan:
    """Make several labels one, at the place of the first of them. See `merged_row` for its weights.

    old (Sequence[str]), name (str): As for `add`.
    into (str): Its name: a new one, or one of them.
    RAISES (ValueError): When one is not known, when there are fewer than two, or the name is taken.
    """
    parts = _known(old, labels, name)
    if len(parts) < 2:
        raise ValueError(Errors.T363.format(name=name, labels=parts, into=into))
    parts = [label for label in old if label in parts]
    stay = [label for label in old if label not in parts[1:]]
    sources = [tuple(parts) if label == parts[0] else (label,) for label in stay]
    return _plan(old, _names([into if label == parts[0] else label for label in stay], name), sources, name)


def between(
    old: Sequence[str],
    new: Sequence[str],
    label_map: Mapping[str, str] | None = None,
    *,
    name: str,
    may_merge: bool = False,
) -> LabelPlan:
    """Replace a label set by another; labels are matched by name.

    label_map (Optional[Mapping[str, str]]): New names, by old ones, where they differ. A label that is mapped goes
        nowhere else.
    may_merge (bool): Whether several old labels may become one.
    RAISES (ValueError): When the map names a label that is not there, on either side, or when two labels meet in one
        and may_merge does not say so.
    """
    label_map = dict(label_map or {})
    _known(old, label_map, name, what="label_map")
    _known(new, dict.fromkeys(label_map.values()), name, what="label_map")
    became = {label: label_map.get(label, label) for label in old}
    sources = [tuple(label for label in old if became[label] == goal) for goal in new]
    plan = _plan(old, new, sources, name)
    if plan.merged and not may_merge:
        goal, parts = next(iter(plan.merged.items()))
        raise ValueError(Errors.T364.format(name=name, parts=list(parts), goal=goal))
    return plan


def by_rows(plan: LabelPlan, old_rows: Sequence[str], new_rows: Sequence[str]) -> LabelPlan:
    """The same change for rows that stand for parts of labels: "B-PER" and "I-PER" for "PER". A row without a label in
    its name ("O") is carried.

    old_rows (Sequence[str]): Names of the rows there were.
    new_rows (Sequence[str]): Names of the rows there will be.
    """
    known, found = set(old_rows), dict(zip(plan.labels, plan.sources, strict=True))
    sources = []
    for row in new_rows:
        prefix, dash, label = row.partition("-")
        names = [f"{prefix}-{part}" for part in found[label]] if dash and label in found else [row]
        sources.append(tuple(name for name in names if name in known))
    return LabelPlan(tuple(old_rows), tuple(new_rows), tuple(sources))


def move_rows(plan: LabelPlan, W: Floats, b: Floats, kind: Kind, xp: ArrayModule = numpy) -> tuple[Floats, Floats]:
    """The output layer after a change. Rows that are carried are copied bit for bit.

    A new row has weights of 0, and the lowest bias of the others (at most 0 for a sigmoid). So an untrained label has
    the same score in all texts, below that of trained labels.

    W (Floats2d): Shape (n_old, width).
    b (Floats1d): Shape (n_old,).
    kind (str): Whether labels share a "softmax", have a "sigmoid" each, or are the "number"s of a regressor, which are
        0 where nothing is known. It decides what merging means.
    RETURNS (Tuple[Floats2d, Floats1d]): Shapes (n_new, width) and (n_new,).
    """
    new_W, new_b = xp.zeros((len(plan.labels), *W.shape[1:]), dtype=W.dtype), xp.zeros(len(plan.labels), dtype=b.dtype)
    lowest = float(b.min()) if len(plan.old) else 0.0
    for i, rows in enumerate(plan.old_rows):
        if len(rows) == 1:
            new_W[i], new_b[i] = W[rows[0]], b[rows[0]]
        elif rows:
            new_W[i], new_b[i] = merged_row(W[rows], b[rows], kind, xp)
        elif kind != "number":
            new_b[i] = lowest if kind == "softmax" else min(lowest, 0.0)
    return new_W, new_b


def merged_row(W: Floats, b: Floats, kind: Kind, xp: ArrayModule = numpy) -> tuple[Floats, float]:
    """One row in place of several. The exact logit is not linear in the state; this is its tangent at a state of zeros.
    It is exact there and, for a softmax, wherever the rows give equal logits. Elsewhere it is lower (log-sum-exp is
    convex), so a merged label never gets more probability than its parts together. Training goes on from there.

    W (Floats2d): Shape (n_parts, width).
    b (Floats1d): Shape (n_parts,).
    kind (str): "softmax": the probability is the sum of the parts', so the logit is their log-sum-exp. "sigmoid": the
        merged label holds where one of the parts does, and they are taken for independent (noisy or, Pearl 1988).
        "number": the mean.
    RETURNS (Tuple[Floats1d, float]): The row and its bias.
    """
    wide = b.astype("f8")
    if kind == "number":
        return W.mean(axis=0), b.mean()
    if kind == "softmax":
        logit = wide.max() + xp.log(xp.exp(wide - wide.max()).sum())
        shares = xp.exp(wide - logit)
    else:
        # -log of the chance that no part holds; then the logit of its opposite, and the slope of that in each part.
        none = xp.logaddexp(0.0, wide).sum()
        logit = none + xp.log(-xp.expm1(-none))
        shares = 1.0 / (1.0 + xp.exp(-wide)) / -xp.expm1(-none)
    return (shares[:, None] * W.astype("f8")).sum(axis=0).astype(W.dtype), logit


def move_axis(plan: LabelPlan, array: Floats, axis: int, xp: ArrayModule = numpy) -> Floats:
    """Carry the slices of an array along one axis, bit for bit; new ones are 0.

    plan (LabelPlan): The change of the slices, without merges.
    """
    old = xp.moveaxis(array, axis, 0)
    new = xp.zeros((len(plan.labels), *old.shape[1:]), dtype=array.dtype)
    for i, rows in enumerate(plan.old_rows):
        if rows:
            new[i] = old[rows[0]]
    return xp.ascontiguousarray(xp.moveaxis(new, 0, axis))


def move_transitions(
    plan: LabelPlan, start: Floats, transition: Floats, end: Floats, b: Floats, xp: ArrayModule = numpy
) -> tuple[Floats, Floats, Floats]:
    """The transitions of a CRF after a change. Those between rows that stay are copied bit for bit, those of new rows
    are 0. Merged, they are the log of the mean of their exponentials, each part weighing what its bias says: paths
    through the merged row sum up to those through its parts, at states of zeros.

    start (Floats1d), end (Floats1d): Shape (n_old,).
    transition (Floats2d): Shape (n_old, n_old).
    b (Floats1d): Biases of the output layer, shape (n_old,).
    RETURNS (Tuple[Floats1d, Floats2d, Floats1d]): The same for the new rows.
    """

    def along(array: Floats, axis: int) -> Floats:
        moved = move_axis(plan, array, axis, xp)
        for i, rows in enumerate(plan.old_rows):
            if len(rows) > 1:
                shares = xp.exp(b[rows].astype("f8") - b[rows].max())
                slices = xp.moveaxis(array, axis, 0)[rows].astype("f8")
                shares = (shares / shares.sum()).reshape((-1,) + (1,) * (slices.ndim - 1))
                xp.moveaxis(moved, axis, 0)[i] = _log_mean(slices, shares, xp)
        return moved

    return along(start, 0), along(along(transition, 0), 1), along(end, 0)


def _log_mean(slices: Floats, shares: Floats, xp: ArrayModule) -> Floats:
    highest = slices.max(axis=0)
    # What is forbidden for every part stays so.
    safe = xp.where(xp.isfinite(highest), highest, 0.0)
    with numpy.errstate(divide="ignore"):
        return safe + xp.log((shares * xp.exp(slices - safe)).sum(axis=0))


def _plan(old: Sequence[str], new: Sequence[str], sources: Sequence[tuple[str, ...]], name: str) -> LabelPlan:
    _check_single(new, name)
    return LabelPlan(tuple(old), tuple(new), tuple(sources))


def _check_single(labels: Sequence[str], name: str) -> None:
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise ValueError(Errors.T362.format(name=name, labels=twice))


def _names(labels: Iterable[str], name: str) -> list[str]:
    found = [labels] if isinstance(labels, str) else list(labels)
    if not found or not all(isinstance(label, str) and label for label in found):
        raise ValueError(Errors.T365.format(name=name, found=found))
    _check_single(found, name)
    return found


def _known(old: Sequence[str], labels: Iterable[str], name: str, what: str = "labels") -> list[str]:
    found = [labels] if isinstance(labels, str) else list(labels)
    if what == "labels":
        found = _names(found, name)
    for label in found:
        if label not in old:
            near = get_close_matches(str(label), old, n=4, cutoff=0.4) or list(old)[:20]
            raise ValueError(Errors.T360.format(name=name, what=what, label=label, near=near))
    return found


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return f" ({', '.join(names[:most])}{more})" if names else ""
