"""The weights that belong to labels, for each kind of component."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol, cast

from spacy.pipeline.ner import EntityRecognizer
from spacy.pipeline.tagger import Tagger
from spacy.pipeline.textcat import TextCategorizer
from thinc.api import Model

from ...errors import Errors
from ...heads import regression
from ...heads.regression import RegressionAttrs
from ...heads.textcat import TextCatAttrs
from .plan import LabelPlan, by_rows, move_axis, move_transitions
from .rows import LabelPipe, LabelRows, Params


class TagPipe(LabelPipe, Protocol):
    """`transfer_ner` or `transfer_tagger`."""

    @property
    def tags(self) -> Sequence[str]: ...

    def check_label(self, label: str) -> None: ...


class ClassifierRows(LabelRows):
    """Of `transfer_textcat`, `transfer_textcat_multilabel`, and spaCy's own of these."""

    def __init__(self, name: str, pipe: LabelPipe) -> None:
        super().__init__(name, pipe)
        self.kind = "sigmoid" if TextCatAttrs.of(pipe.model).multi_label else "softmax"
        self.fewest = 1 if self.kind == "sigmoid" else 2

    def find_output(self) -> Model | None:
        model = self.pipe.model
        ref = "output" if "output" in model.ref_names else "output_layer"
        top = model.maybe_get_ref(ref)
        found = [node for node in (top.walk() if top is not None else ()) if "W" in node.param_names]
        # In an ensemble a later layer mixes the labels: each weight changes the scores of all labels.
        last = [node for node in model.walk(order="dfs_post") if "W" in node.param_names][-1:]
        return found[0] if len(found) == 1 and found[0] is last[0] else None


class TaggerRows(LabelRows):
    """Of spaCy's `tagger`."""

    def find_output(self) -> Model | None:
        model = self.pipe.model
        ref = next((ref for ref in ("output_layer", "softmax") if ref in model.ref_names), None)
        return None if ref is None else model.get_ref(ref)


class EntityRows(LabelRows):
    """Of spaCy's `ner`: a row for each action of its transition system."""

    ACTIONS = {"B": 1, "I": 2, "L": 3, "U": 4}

    def __init__(self, name: str, pipe: EntityRecognizer) -> None:
        super().__init__(name, pipe)
        self.moves = pipe.moves

    @property
    def rows(self) -> tuple[str, ...]:
        moves = self.moves
        return tuple(moves.get_class_name(i) for i in range(moves.n_moves))

    def row_plan(self, plan: LabelPlan, old: Sequence[str], new: Sequence[str]) -> LabelPlan:
        return by_rows(plan, old, new)

    def set_labels(self, plan: LabelPlan) -> None:
        """Actions are sorted by frequency whenever they are read, so rows are found by the names of their actions."""
        moves = self.moves
        counts = {action: dict(of_action) for action, of_action in moves.labels.items()}
        known = set(plan.old)
        for action in self.ACTIONS.values():
            before = counts.get(action, {})
            kept = {label: count for label, count in before.items() if label not in known}
            lowest = min([0, *before.values()])
            for label, parts in zip(plan.labels, plan.sources, strict=True):
                if parts:
                    kept[label] = max(before.get(part, -1) for part in parts)
                else:
                    lowest -= 1
                    kept[label] = lowest
            counts[action] = kept
        moves.initialize_actions(counts)

    def check(self, plan: LabelPlan) -> None:
        super().check(plan)
        if plan.merged and not self.pipe.model.attrs["has_upper"]:
            raise ValueError(Errors.T367.format(name=self.name))

    def find_output(self) -> Model:
        model = self.pipe.model
        return model.get_ref("upper" if model.attrs["has_upper"] else "lower")

    def moved(self, params: list[Params], plan: LabelPlan) -> list[Params]:
        model = self.pipe.model
        if model.attrs["has_upper"]:
            return super().moved(params, plan)
        axes = {"W": 1, "b": 0, "pad": 2}
        return [{key: move_axis(plan, array, axes[key], model.ops.xp) for key, array in params[0].items()}]

    def write(self, params: list[Params], n_rows: int) -> None:
        super().write(params, n_rows)
        model = self.pipe.model
        place = 2 if model.attrs["has_upper"] else 1
        # spaCy's forward function reads these two by their places as well.
        model.set_ref("upper" if place == 2 else "lower", model.layers[place])

    def finish(self, plan: LabelPlan, source: LabelRows) -> None:
        """Keep an action that has never been seen out of the predictions until training meets it, as spaCy does."""
        unseen = {plan.old[i] for i in source.pipe.model.attrs["unseen_classes"] if i < len(plan.old)}
        own = self.pipe.model.attrs["unseen_classes"]
        own.clear()
        own.update(i for i, parts in enumerate(plan.sources) if unseen.issuperset(parts))


class TokenRows(LabelRows):
    """Of `transfer_ner` and `transfer_tagger`: `tags` names the rows; a CRF has transitions between them."""

    def __init__(self, name: str, pipe: TagPipe) -> None:
        super().__init__(name, pipe)
        self.tag_pipe = pipe

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(self.tag_pipe.tags)

    def label_of(self, row: str) -> str | None:
        if self.rows == self.labels:
            return row
        return row.partition("-")[2] or None

    def check(self, plan: LabelPlan) -> None:
        super().check(plan)
        for label in plan.labels:
            self.tag_pipe.check_label(label)

    def row_plan(self, plan: LabelPlan, old: Sequence[str], new: Sequence[str]) -> LabelPlan:
        return plan if tuple(old) == plan.old else by_rows(plan, old, new)

    def find_output(self) -> Model:
        return self.pipe.model.get_ref("output")

    def nodes(self) -> Iterator[Model]:
        yield self.output()
        model = self.pipe.model
        if "transitions" in model.ref_names and model.get_ref("transitions") is not None:
            yield model.get_ref("transitions")

    def moved(self, params: list[Params], plan: LabelPlan) -> list[Params]:
        found = super().moved(params, plan)
        if len(params) > 1:
            # Whatever it is called, what lies between tags is the one table among vectors.
            middle = next(name for name, array in params[1].items() if array.ndim == 2)
            names, b = ("start", middle, "end"), params[0]["b"]
            start, transition, end = (params[1][name] for name in names)
            moved = move_transitions(plan, start, transition, end, b, self.pipe.model.ops.xp)
            found.append(dict(zip(names, moved, strict=True)))
        return found


class TargetRows(LabelRows):
    """Of `transfer_regressor`: each target has a row, and the mean and scale in which the row counts. A new target has
    a row of zeros: it says its mean until it is trained. Merged targets are the mean of their predictions: exactly so
    where those are not bounded, and near the middle where they are."""

    kind = "number"

    def find_output(self) -> Model:
        return self.pipe.model.get_ref("output")

    def check_source(self, other: LabelRows) -> None:
        both = [RegressionAttrs.of(rows.pipe.model) for rows in (self, other)]
        mine, theirs = ((own.bounded, own.bounds) for own in both)
        if mine[0] != theirs[0] or (mine[0] and mine[1] != theirs[1]):
            raise ValueError(Errors.T425.format(name=self.name, found=list(theirs), wanted=list(mine)))

    def moved(self, params: list[Params], plan: LabelPlan) -> list[Params]:
        found, model = super().moved(params, plan), self.pipe.model
        gains, W, b = regression.gains(RegressionAttrs.of(model)), params[0]["W"], params[0]["b"]
        for i, rows in enumerate(plan.old_rows):
            if len(rows) > 1:
                own = model.ops.xp.asarray([gains[row] for row in rows], dtype="f")
                shares = own / (len(rows) * self._merged_gain(rows))
                found[0]["W"][i], found[0]["b"][i] = shares @ W[rows], shares @ b[rows]
        return found

    def _merged_gain(self, rows: list[int]) -> float:
        mean, scale = ([sum(values) / len(values)] for values in self._units(rows))
        return regression.gains(replace(RegressionAttrs.of(self.pipe.model), mean=mean, scale=scale))[0]

    def _units(self, rows: list[int]) -> tuple[list[float], list[float]]:
        own = RegressionAttrs.of(self.pipe.model)
        return [own.mean[row] for row in rows], [own.scale[row] for row in rows]

    def finish(self, plan: LabelPlan, source: LabelRows) -> None:
        """Mean and scale go with their targets. What is new has those of its own texts, where it has been initialised,
        or else those of any new target."""
        assert isinstance(source, TargetRows)
        own, found = RegressionAttrs.of(self.pipe.model), list[tuple[float, float]]()
        for i, rows in enumerate(plan.old_rows):
            if rows:
                means, scales = source._units(rows)
                found.append((sum(means) / len(means), sum(scales) / len(scales)))
            elif source is not self:
                found.append((own.mean[i], own.scale[i]))
            else:
                found.append((own.middle, 1.0))
        regression.set_units(self.pipe.model, *([pair[k] for pair in found] for k in range(2)))


def rows_of_kind(name: str, pipe: object) -> LabelRows | None:
    """RETURNS (Optional[LabelRows]): For components of this kind; None where labels have no rows, as in a parser."""
    model = getattr(pipe, "model", None)
    if not isinstance(model, Model):
        return None
    if hasattr(pipe, "tags") and "output" in model.ref_names:
        return TokenRows(name, cast(TagPipe, pipe))
    if RegressionAttrs.fits(model) and "output" in model.ref_names:
        return TargetRows(name, cast(LabelPipe, pipe))
    if isinstance(pipe, TextCategorizer):
        return ClassifierRows(name, pipe)
    if type(pipe) is Tagger:  # The morphologizer and the sentence recognizer are subclasses.
        return TaggerRows(name, cast(LabelPipe, pipe))
    return EntityRows(name, pipe) if isinstance(pipe, EntityRecognizer) else None


def label_rows(name: str, pipe: object) -> LabelRows:
    """The rows of the labels of a component that can have them.

    RETURNS (LabelRows): For its kind. Its `output` raises a coded error if the architecture has no such layer.
    RAISES (ValueError): When components of its kind have no rows of labels.
    """
    rows = rows_of_kind(name, pipe)
    if rows is None:
        raise ValueError(Errors.T368.format(name=name, found=type(pipe).__name__))
    return rows
