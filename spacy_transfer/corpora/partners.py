"""Who learns from whom: components here, and the components of a teacher that they are named together with."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from spacy.language import Language

from ..errors import Errors
from .answers import CATS, WRITTEN, Answer
from .teacher import Teacher

MUST_BE_TOLD = {
    "textcat": "transfer_textcat",
    "spancat": "components without it",
    "spancat_singlelabel": "components without it",
    "span_finder": "components without it",
    "senter": "components without it",
}
"""Stock components that learn from a text without annotation that nothing holds, and what to take in their place."""


def as_pairs(components: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """RETURNS (Dict[str, str]): Names of components of the teacher, by those of the ones here that learn from them.

    components (Union[List[str], Dict[str, str]]): As configured; in a list, both have the same name.
    """
    return dict(components) if isinstance(components, Mapping) else {name: name for name in components}


def check_here(nlp: Language, names: Sequence[str], key: str) -> None:
    """RAISES (ValueError): When the pipeline in training lacks a component, or has it frozen.

    nlp (Language): The pipeline.
    names (Sequence[str]): Of the components.
    key (str): Where they stand in the config.
    """
    known = [name for name, _ in nlp.components]
    frozen = nlp.config["training"].get("frozen_components", [])
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=3, cutoff=0.4) or "none"
            raise ValueError(Errors.T543.format(key=key, name=name, names=known, near=near))
        if name in frozen:
            raise ValueError(Errors.T555.format(key=key, name=name))


def check_written(nlp: Language, pairs: Mapping[str, str], teacher: Teacher) -> None:
    """RAISES (ValueError): When a component writes what cannot be rehearsed, or what the one here does not learn.

    nlp (Language): The pipeline in training.
    pairs (Mapping[str, str]): See `as_pairs`.
    teacher (Teacher): Whose annotation it is.
    """
    for name, other in pairs.items():
        theirs = teacher.shared[other]["assigns"]
        facts = {"key": teacher.key, "source": teacher.source}
        if not set(theirs) & set(WRITTEN):
            raise ValueError(Errors.T542.format(name=other, found=theirs or "nothing", **facts))
        attribute = getattr(nlp.get_pipe(name), "attribute", None)
        mine = nlp.get_pipe_meta(name).assigns if attribute is None else [f"token.{attribute}"]
        if not set(theirs) & set(mine) & set(WRITTEN):
            raise ValueError(Errors.T551.format(name=name, other=other, found=theirs, wanted=list(mine), **facts))


def check_others(nlp: Language, names: Sequence[str], key: str) -> None:
    """RAISES (ValueError): When a component would learn from texts that say nothing of it.

    nlp (Language): The pipeline in training.
    names (Sequence[str]): Of the components of which the texts do say something.
    key (str): Where they stand in the config.
    """
    frozen = nlp.config["training"].get("frozen_components", [])
    for name in nlp.pipe_names:
        kind = nlp.get_pipe_meta(name).factory
        if kind in MUST_BE_TOLD and name not in names and name not in frozen:
            raise ValueError(Errors.T550.format(key=key, name=name, kind=kind, instead=MUST_BE_TOLD[kind]))


def check_soft(nlp: Language, pairs: Mapping[str, str], teacher: Teacher) -> None:
    """RAISES (ValueError): When a component cannot take the scores of the one that it is to learn from.

    nlp (Language): The pipeline in training.
    pairs (Mapping[str, str]): See `as_pairs`.
    teacher (Teacher): Whose scores they are.
    """
    for name, other in pairs.items():
        given, taken = teacher.shared[other]["kind"], getattr(nlp.get_pipe(name), "takes_soft", None)
        if given is None or given != taken or not _fits(nlp.get_pipe(name), teacher.shared[other]):
            facts = {"key": teacher.key, "name": name, "other": other, "source": teacher.source}
            words = {"given": given or "none", "taken": taken or "none"}
            raise ValueError(Errors.T544.format(**facts, **words))


def _fits(pipe: Any, shared: Answer) -> bool:
    """Probabilities of labels that exclude each other say something else than those of labels that do not."""
    return shared["kind"] != "labels" or bool(shared["exclusive"]) == bool(pipe.exclusive)


def check_map(label_map: Mapping[str, str], pairs: Mapping[str, str], teacher: Teacher) -> None:
    """RAISES (ValueError): When no component of the teacher has a label that is to be renamed.

    label_map (Mapping[str, str]): Names here, by those there.
    pairs (Mapping[str, str]): See `as_pairs`.
    teacher (Teacher): Whose labels they are.
    """
    known = [teacher.shared[other] for other in pairs.values()]
    labels = sorted({label for each in known for label in (*each.get("labels", ()), *each["known"])})
    for label in label_map:
        if label not in labels:
            near = get_close_matches(label, labels, n=3, cutoff=0.4) or "none"
            names = {"name": ", ".join(pairs), "other": ", ".join(dict.fromkeys(pairs.values()))}
            facts = {"key": teacher.key, "source": teacher.source, "labels": labels, "near": near, **names}
            raise ValueError(Errors.T548.format(problem=f"there is no label {label!r}", **facts))


def check_labels(nlp: Language, pairs: Mapping[str, str], teacher: Teacher) -> None:
    """A component that was initialised without a label of its source would learn from an answer with that label that
    none holds.

    nlp (Language): The pipeline in training.
    pairs (Mapping[str, str]): See `as_pairs`.
    teacher (Teacher): Whose labels they are.
    RAISES (ValueError): When one lacks a label. Of entities it does not speak: those are added, or have errors of their
        own.
    """
    for name, other in pairs.items():
        shared, own = teacher.shared[other], getattr(nlp.get_pipe(name), "labels", ())
        lacks = sorted(set(shared["known"]).difference(own))
        if CATS in shared["assigns"] and own and lacks:
            facts = {"key": teacher.key, "name": name, "other": other, "source": teacher.source}
            raise ValueError(Errors.T556.format(lacks=lacks, labels=list(own), **facts))


def renamed(shared: Answer, label_map: Mapping[str, str], name: str, key: str) -> Answer:
    """What a component gives, with the labels called as they are here.

    shared (Answer): See `Teacher.shared`.
    label_map (Mapping[str, str]): Names here, by those there.
    name (str): Of the component here.
    key (str): Where the map stands in the config.
    RETURNS (Answer): A copy.
    """
    if "labels" not in shared or not label_map:
        return dict(shared)
    labels = shared["labels"]
    facts = {"key": key, "name": name, "other": shared["component"], "source": shared["source"], "labels": labels}
    names = [label_map.get(label, label) for label in labels]
    twice = sorted({label for label in names if names.count(label) > 1})
    if twice:
        raise ValueError(Errors.T548.format(problem=f"several become one: {twice}", near=twice, **facts))
    tags = _renamed_tags(shared, label_map)
    return {**shared, "labels": names, **({} if tags is None else {"tags": tags})}


def _renamed_tags(shared: Answer, label_map: Mapping[str, str]) -> list[str] | None:
    """Those of a tagger are its labels; those of entities have a part before the label, and "O" has none."""
    if "tags" not in shared or shared["tags"] == shared["labels"]:
        return None if "tags" not in shared else [label_map.get(tag, tag) for tag in shared["tags"]]
    parts = (tag.partition("-") for tag in shared["tags"])
    return [f"{part}{dash}{label_map.get(label, label)}" for part, dash, label in parts]
