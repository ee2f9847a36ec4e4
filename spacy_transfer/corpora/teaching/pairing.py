"""Pairing: components here, and the components of a teacher that they learn from."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from spacy.language import Language

from ...errors import Errors
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


def cats_for(names: Sequence[str], nlp: Language, cats: Mapping[str, float]) -> dict[str, float]:
    """Categories of a text that are about some classifiers: a text may have those of others as well.

    nlp (Language): The pipeline in training. Before they are initialised, all may be about them.
    """
    own = {label for name in names for label in getattr(nlp.get_pipe(name), "labels", ())}
    return {label: score for label, score in cats.items() if not own or label in own}


def check_here(nlp: Language, names: Sequence[str], teacher: Teacher) -> None:
    """RAISES (ValueError): When the pipeline in training lacks a component, or has it frozen.

    nlp (Language): The pipeline. A warning is logged if its language is not the teacher's.
    """
    key = teacher.key
    teacher.compare_language(nlp)
    known = [name for name, _ in nlp.components]
    frozen = nlp.config["training"].get("frozen_components", [])
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=3, cutoff=0.4) or "none"
            raise ValueError(Errors.T543.format(key=key, name=name, names=known, near=near))
        if name in frozen:
            raise ValueError(Errors.T555.format(key=key, name=name))


def check_written(nlp: Language, pairs: Mapping[str, str], teacher: Teacher) -> None:
    """RAISES (ValueError): When the annotation of a component cannot be rehearsed, or the one here does not learn it.

    pairs (Mapping[str, str]): See `as_pairs`.
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

    names (Sequence[str]): Of the components of which the texts do say something.
    """
    frozen = nlp.config["training"].get("frozen_components", [])
    for name in nlp.pipe_names:
        kind = nlp.get_pipe_meta(name).factory
        if kind in MUST_BE_TOLD and name not in names and name not in frozen:
            raise ValueError(Errors.T550.format(key=key, name=name, kind=kind, instead=MUST_BE_TOLD[kind]))


def check_soft(nlp: Language, pairs: Mapping[str, str], teacher: Teacher) -> None:
    """RAISES (ValueError): When a component cannot take the scores of the one that it is to learn from.

    pairs (Mapping[str, str]): See `as_pairs`.
    """
    for name, other in pairs.items():
        given, taken = teacher.shared[other]["kind"], getattr(nlp.get_pipe(name), "takes_soft", None)
        if given is None or given != taken or not _fits(nlp.get_pipe(name), teacher.shared[other]):
            facts = {"key": teacher.key, "name": name, "other": other, "source": teacher.source}
            words = {"given": given or "none", "taken": taken or "none"}
            raise ValueError(Errors.T544.format(**facts, **words))
        _check_scheme(nlp.get_pipe(name), name, teacher, other)


def _check_scheme(pipe: object, name: str, teacher: Teacher, other: str) -> None:
    """BIO's tags are among those of BILUO, and mean other things there."""
    shared, scheme = teacher.shared[other], getattr(pipe, "scheme", None)
    parts = {tag[0] for tag in shared.get("tags", ()) if tag != "O"}
    if scheme is not None and parts and parts != set(scheme.parts):
        theirs = "biluo" if "U" in parts else "bio"
        facts = {"key": teacher.key, "name": name, "other": other, "source": teacher.source}
        raise ValueError(Errors.T562.format(own=getattr(pipe, "kind", None), theirs=theirs, **facts))


def _fits(pipe: object, shared: Answer) -> bool:
    """Probabilities of labels that exclude each other say something else than those of labels that do not."""
    return shared["kind"] != "labels" or bool(shared["exclusive"]) == bool(getattr(pipe, "exclusive", None))


def check_map(label_map: Mapping[str, str], pairs: Mapping[str, str], teacher: Teacher) -> None:
    """RAISES (ValueError): When no component of the teacher has a label that is to be renamed.

    pairs (Mapping[str, str]): See `as_pairs`.
    """
    known = [teacher.shared[other] for other in pairs.values()]
    labels = sorted({label for each in known for label in (*each.get("labels", ()), *each["known"])})
    for label in label_map:
        if label not in labels:
            near = get_close_matches(label, labels, n=3, cutoff=0.4) or "none"
            names = {"name": ", ".join(pairs), "other": ", ".join(dict.fromkeys(pairs.values()))}
            facts = {"key": teacher.key, "source": teacher.source, "labels": labels, "near": near, **names}
            raise ValueError(Errors.T548.format(problem=f"there is no label {label!r}", **facts))


def check_labels(nlp: Language, pairs: Mapping[str, str], teacher: Teacher, label_map: Mapping[str, str]) -> None:
    """A component that was initialised without a label of its source would learn from an answer with that label that
    none holds.

    pairs (Mapping[str, str]): See `as_pairs`.
    RAISES (ValueError): When one lacks a category, or several become one. Of entities it does not speak: those are
        added, or have errors of their own, and several may become one.
    """
    for name, other in pairs.items():
        shared, own = teacher.shared[other], getattr(nlp.get_pipe(name), "labels", ())
        if CATS not in shared["assigns"]:
            continue
        names = _unique_names(shared["known"], label_map, shared, name, teacher.key)
        lacks = sorted(set(names).difference(own))
        if own and lacks:
            facts = {"key": teacher.key, "name": name, "other": other, "source": teacher.source}
            raise ValueError(Errors.T556.format(lacks=lacks, labels=list(own), **facts))


def translated(answer: Answer, label_map: Mapping[str, str]) -> Answer:
    """An answer in the words of the pipeline in training.

    answer (Answer): From `annotation`, with "confidence" and "thresholds".
    label_map (Mapping[str, str]): Names here, by those there. If several entities become one, so do their
        probabilities.
    RETURNS (Answer): With other tags, dependencies, entities and categories; nothing else is changed.
    """
    if not label_map:
        return answer
    found = dict(answer)
    for part in ("token.tag", "token.pos", "deps"):
        if part in found:
            found[part] = [label_map.get(value, value) for value in found[part]]
    if "ents" in found:
        found["ents"] = [[start, end, label_map.get(label, label)] for start, end, label in found["ents"]]
    for part in ("cats", "thresholds"):
        if part in found:
            found[part] = {label_map.get(label, label): score for label, score in found[part].items()}
    sure = found.get("confidence", {})
    if "ents" in sure:
        scores: dict[tuple[int, int, str], float] = {}
        for start, end, label, score in sure["ents"]:
            span = (start, end, label_map.get(label, label))
            scores[span] = scores.get(span, 0.0) + score
        found["confidence"] = {**sure, "ents": [[*span, score] for span, score in scores.items()]}
    return found


def renamed(shared: Answer, label_map: Mapping[str, str], name: str, key: str) -> Answer:
    """The shared part of a component's answers, with the names of labels here.

    shared (Answer): See `Teacher.shared`.
    key (str): Key of the map in the config.
    RETURNS (Answer): A copy.
    """
    if "labels" not in shared or not label_map:
        return dict(shared)
    names = _unique_names(shared["labels"], label_map, shared, name, key)
    tags = _renamed_tags(shared, label_map)
    return {**shared, "labels": names, **({} if tags is None else {"tags": tags})}


def _unique_names(
    labels: Sequence[str], label_map: Mapping[str, str], shared: Answer, name: str, key: str
) -> list[str]:
    names = [label_map.get(label, label) for label in labels]
    twice = sorted({label for label in names if names.count(label) > 1})
    if twice:
        facts = {"key": key, "name": name, "other": shared["component"], "source": shared["source"], "labels": labels}
        raise ValueError(Errors.T548.format(problem=f"several become one: {twice}", near=twice, **facts))
    return names


def _renamed_tags(shared: Answer, label_map: Mapping[str, str]) -> list[str] | None:
    """Those of a tagger are its labels; those of entities have a part before the label, and "O" has none."""
    if "tags" not in shared or shared["tags"] == shared["labels"]:
        return None if "tags" not in shared else [label_map.get(tag, tag) for tag in shared["tags"]]
    parts = (tag.partition("-") for tag in shared["tags"])
    return [f"{part}{dash}{label_map.get(label, label)}" for part, dash, label in parts]
