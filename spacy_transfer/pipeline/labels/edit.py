"""Change the labels of a trained component, and keep the weights of the others: `spacy_transfer.add_labels` and the
like. In a config: `carry_from`, and `spacy-transfer.CarryHead.v1`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import cast

from spacy.language import Language
from spacy.util import logger

from ...errors import Errors, Warnings
from ...types import Config
from . import plan as plans
from .component_rows import label_rows
from .plan import LabelPlan
from .rows import LabelPipe


def add_labels(nlp: Language, name: str, labels: str | Iterable[str]) -> LabelPlan:
    """Give a trained component more labels. The scores of the others, relative to each other, do not change.

    Works on `transfer_*` heads and on spaCy's `textcat`, `textcat_multilabel`, `tagger` and `ner`. A new label has
    weights of 0 until it is trained, and the lowest bias of the others. As always in spaCy, `ner` does not predict it
    before it has seen it in training.

    nlp (Language): The pipeline.
    name (str): Of the component.
    labels (Union[str, Iterable[str]]): The new ones.
    RETURNS (LabelPlan): What was done: `describe()` says it in a line.
    RAISES (ValueError): When there is no such component, its labels cannot change, or a label is there already.
    """
    return _change(nlp, name, lambda old: plans.add(old, _list(labels), name=name))


def remove_labels(nlp: Language, name: str, labels: str | Iterable[str]) -> LabelPlan:
    """Remove labels from a trained component, with their weights.

    nlp (Language), name (str): As for `add_labels`.
    labels (Union[str, Iterable[str]]): Those to be removed.
    RETURNS (LabelPlan): What was done.
    RAISES (ValueError): When a label is not known, or too few are left.
    """
    return _change(nlp, name, lambda old: plans.remove(old, _list(labels), name=name))


def rename_labels(nlp: Language, name: str, names: Mapping[str, str]) -> LabelPlan:
    """Give labels other names. No weight changes.

    nlp (Language), name (str): As for `add_labels`.
    names (Mapping[str, str]): New names, by old ones.
    RETURNS (LabelPlan): What was done.
    RAISES (ValueError): When an old name is not known, or a new one is taken.
    """
    return _change(nlp, name, lambda old: plans.rename(old, names, name=name))


def merge_labels(nlp: Language, name: str, labels: Iterable[str], into: str) -> LabelPlan:
    """Make several labels one. One row of weights cannot compute exactly what several compute together: it starts near
    it (see `spacy_transfer.pipeline.labels.plan.merged_row`), and needs a short training.

    nlp (Language), name (str): As for `add_labels`.
    labels (Iterable[str]): Two or more.
    into (str): Name of the one: a new name, or one of theirs.
    RETURNS (LabelPlan): What was done.
    RAISES (ValueError): When a label is not known, or the name is another label's.
    """
    return _change(nlp, name, lambda old: plans.merge(old, _list(labels), into, name=name))


def set_labels(
    nlp: Language,
    name: str,
    labels: Sequence[str],
    label_map: Mapping[str, str] | None = None,
    *,
    may_merge: bool = False,
) -> LabelPlan:
    """Give a trained component a label set. Labels are matched by name; others are new or dropped.

    nlp (Language), name (str): As for `add_labels`.
    labels (Sequence[str]): All labels, in the order they shall have.
    label_map (Optional[Mapping[str, str]]): New names, by old ones, where they differ.
    may_merge (bool): Whether several old labels may become one.
    RETURNS (LabelPlan): What was done.
    RAISES (ValueError): When label_map names an unknown label, or maps two onto one and may_merge does not say so.
    """
    return _change(nlp, name, lambda old: plans.between(old, labels, label_map, name=name, may_merge=may_merge))


def find_pipe(nlp: Language, name: str) -> LabelPipe:
    """A component, disabled ones included. Whether it has labels is for `label_rows` to say.

    RAISES (ValueError): When there is none of that name; lists those with similar names.
    """
    found = dict(nlp.components)
    if name not in found:
        near = get_close_matches(name, found, n=4, cutoff=0.4) or list(found)
        raise ValueError(Errors.T371.format(name=name, near=near))
    return cast(LabelPipe, found[name])


def _change(nlp: Language, name: str, make: Callable[[tuple[str, ...]], LabelPlan]) -> LabelPlan:
    pipe = find_pipe(nlp, name)
    rows = label_rows(name, pipe)
    plan = make(rows.labels)
    rows.check(plan)
    before, params = rows.rows, rows.read()
    rows.set_labels(plan)
    of_rows = rows.row_plan(plan, before, rows.rows)
    rows.write(rows.moved(params, of_rows), len(of_rows.labels))
    rows.finish(of_rows, rows)
    if hasattr(pipe, "frozen_rows"):
        pipe.frozen_rows = None  # It has the old places of rows.
    for label in plan.labels:
        nlp.vocab.strings.add(label)
        pipe.vocab.strings.add(label)
    _settings(name, pipe.cfg, plan)
    _settings(name, nlp.get_pipe_config(name), plan)
    _initialize_block(nlp, name, plan)
    model = nlp.get_pipe_config(name).get("model", {})
    if isinstance(model, dict) and isinstance(model.get("nO"), int):
        model["nO"] = len(of_rows.labels)
    logger.info("%s: %s", name, plan.describe())
    return plan


def _settings(name: str, settings: Config, plan: LabelPlan) -> None:
    """Change settings of single labels, in a component or in its block of the config."""
    for key, value in list(settings.items()):
        if key == "positive_label" and value is not None:
            settings[key] = _positive(name, value, plan)
        elif isinstance(value, dict) and value and set(value) <= set(plan.old):
            found = {new: value[parts[0]] for new, parts in _pairs(plan) if parts and parts[0] in value}
            if key == "class_weights":
                found = {label: found.get(label, 1.0) for label in plan.labels}
            settings[key] = found
        elif key == "weights" and isinstance(value, list) and len(value) == len(plan.old):
            by_label = dict(zip(plan.old, value, strict=True))
            settings[key] = [by_label[parts[0]] if parts else 1.0 for _, parts in _pairs(plan)]


def _initialize_block(nlp: Language, name: str, plan: LabelPlan) -> None:
    """A later training begins from the new labels."""
    block = nlp.config.get("initialize", {}).get("components", {}).get(name, {})
    labels = block.get("labels")
    if isinstance(labels, (list, tuple)):
        block["labels"] = list(plan.labels)
    elif labels is not None:
        logger.warning(Warnings.W360.format(name=name))
    if block.get("positive_label") is not None:
        block["positive_label"] = _positive(name, block["positive_label"], plan)


def _positive(name: str, label: str, plan: LabelPlan) -> str | None:
    now = next((new for new, parts in _pairs(plan) if label in parts), None)
    if now is None or len(plan.labels) != 2:
        logger.warning(Warnings.W361.format(name=name, label=label))
        return None
    return now


def _pairs(plan: LabelPlan) -> list[tuple[str, tuple[str, ...]]]:
    return list(zip(plan.labels, plan.sources, strict=True))


def _list(labels: str | Iterable[str]) -> list[str]:
    return [labels] if isinstance(labels, str) else list(labels)
