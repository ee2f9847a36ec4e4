"""Heads of several pipelines on one backbone: joined where the backbones give the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from spacy.language import Language
from spacy.tokenizer import Tokenizer
from spacy.ty import ListenedToComponent
from spacy.util import copy_config, logger
from thinc.api import Model

from ...errors import Errors, Warnings
from ...types import Config, pipe_of
from .compare import backbone_of, differences

# Attributes that several components may write without a conflict.
_SHARED = {"doc.tensor", "doc.cats", "doc.spans", "doc._.trf_data"}


@dataclass(frozen=True)
class Graft:
    """A component that was joined.

    head (str): The pipeline it came from.
    component (str): What it was called there.
    name (str): What it is called now.
    backbone (Optional[str]): The component whose rows it reads; None if it reads no other.
    """

    head: str
    component: str
    name: str
    backbone: str | None


def graft(
    base: Language,
    heads: Mapping[str, Language],
    *,
    names: Mapping[str, str] | None = None,
    take: Sequence[str] = (),
) -> list[Graft]:
    """Join the heads of other pipelines to a pipeline. They listen to its backbone from then on, which runs once for
    all of them; each predicts what it did before, bit for bit, since the backbones are found to be the same: settings,
    width, weights, adapters and tokenizer. Backbones that were tuned differ, however little.

    base (Language): The pipeline that receives; it keeps its backbone and its own heads.
    heads (Mapping[str, Language]): Other pipelines, by what messages call them. Do not use them afterwards: their
        components belong to base now.
    names (Optional[Mapping[str, str]]): New names of components, by old ones; "2:ner" is that of the second pipeline.
    take (Sequence[str]): The components to join, by their old names; all but backbones if it is empty.
    RETURNS (List[Graft]): What was joined.
    RAISES (ValueError): When backbones or tokenizers differ (it says in what), when names clash, or one is not known.
    """
    names = dict(names or {})
    _check_names(heads, names, take)
    planned: list[tuple[Graft, Language]] = []
    taken = set(base.component_names)
    for number, (called, nlp) in enumerate(heads.items(), 1):
        _check_tokenizer(base, called, nlp)
        found = [name for name, pipe in nlp.components if not isinstance(pipe, ListenedToComponent)]
        chosen = [name for name in found if not take or name in take]
        if not found:
            raise ValueError(Errors.T755.format(head=called, found=nlp.component_names))
        for name in chosen:
            new = names.get(f"{number}:{name}", names.get(name, name))
            if new in taken:
                raise ValueError(Errors.T752.format(head=called, name=new))
            taken.add(new)
            planned.append((Graft(called, name, new, _backbone(base, called, nlp, name)), nlp))
    for one, nlp in planned:
        _warn_of_rivals(base, one, nlp)
        _join(base, one, nlp)
    return [one for one, _ in planned]


def _check_names(heads: Mapping[str, Language], names: Mapping[str, str], take: Sequence[str]) -> None:
    known = {name for nlp in heads.values() for name in nlp.component_names}
    numbered = {f"{i}:{name}" for i, nlp in enumerate(heads.values(), 1) for name in nlp.component_names}
    for option, given, fits in (("--name", names, known | numbered), ("--take", take, known)):
        for name in given:
            if name not in fits:
                problem = f"no pipeline has that component. There are: {sorted(known)}"
                raise ValueError(Errors.T754.format(option=option, given=name, problem=problem))


def _check_tokenizer(base: Language, called: str, nlp: Language) -> None:
    one, other = (cast(Tokenizer, some.tokenizer) for some in (base, nlp))
    if nlp.lang != base.lang:
        what, difference = "nlp.lang", f"{nlp.lang!r} and {base.lang!r}"
    elif type(one) is not type(other) or one.to_bytes(exclude=["vocab"]) != other.to_bytes(exclude=["vocab"]):
        what, difference = "tokenizer", "rules or exceptions"
    else:
        return
    raise ValueError(Errors.T757.format(head=called, what=what, base=base.meta["name"], difference=difference))


def _backbone(base: Language, called: str, nlp: Language, name: str) -> str | None:
    """The backbone of base that gives the rows a head was trained on."""
    own = backbone_of(nlp, name)
    if own is None:
        return None
    candidates = [name for name, pipe in base.components if isinstance(pipe, ListenedToComponent)]
    if not candidates:
        raise ValueError(Errors.T753.format(base=base.meta["name"] or "BASE", found=base.component_names))
    # The one of the same name first: the message is about that one.
    candidates.sort(key=lambda candidate: candidate != own[1])
    found = {candidate: _all_differences(base, candidate, nlp, own[1]) for candidate in candidates}
    for candidate, listed in found.items():
        if not listed:
            return candidate
    wanted = candidates[0]
    lines = "\n".join(f"  - {line}" for line in found[wanted])
    raise ValueError(Errors.T751.format(head=called, found=own[1], base="BASE", wanted=wanted, differences=lines))


def _all_differences(base: Language, backbone: str, nlp: Language, other: str) -> list[str]:
    found = differences((base, backbone), (nlp, other))
    models = [pipe_of(some, name).model for some, name in ((base, backbone), (nlp, other))]
    if any(node.name == "static_vectors" for model in models for node in model.walk()):
        if base.vocab.vectors.to_bytes() != nlp.vocab.vectors.to_bytes():
            found.append("the word vectors of the vocabulary, which the backbone reads")
    return found


def _warn_of_rivals(base: Language, one: Graft, nlp: Language) -> None:
    mine = set(nlp.get_pipe_meta(one.component).assigns) - _SHARED
    for other in base.component_names:
        both = mine & set(base.get_pipe_meta(other).assigns)
        if both:
            what = ", ".join(sorted(both))
            logger.warning(Warnings.W751.format(head=one.head, name=one.name, other=other, what=what))
    pipe = dict(nlp.components)[one.component]
    for other, own in base.components:
        labels = set(getattr(pipe, "labels", ())) & set(getattr(own, "labels", ()))
        if labels and "doc.cats" in set(nlp.get_pipe_meta(one.component).assigns) & set(
            base.get_pipe_meta(other).assigns
        ):
            what = f"doc.cats of {', '.join(sorted(labels))}"
            logger.warning(Warnings.W751.format(head=one.head, name=one.name, other=other, what=what))


def _join(base: Language, one: Graft, nlp: Language) -> None:
    model = getattr(nlp.get_pipe(one.component), "model", None)
    settings = copy_config(nlp.config["initialize"].get("components", {}).get(one.component, {}))
    if one.backbone is not None and isinstance(model, Model):
        # With two backbones in the pipeline, "*" means the later one.
        for node in model.walk():
            if hasattr(node, "upstream_name"):
                node.upstream_name = one.backbone
    base.add_pipe(one.component, name=one.name, source=nlp)
    if one.backbone is not None:
        _listen_to(base.get_pipe_config(one.name), one.backbone)
        base._link_components()
    if settings:
        base.config["initialize"].setdefault("components", {})[one.name] = settings


def _listen_to(block: Config, backbone: str) -> None:
    """The config of a head that listens, in whatever depth."""
    for value in block.values():
        if isinstance(value, dict):
            if "Listener." in str(value.get("@architectures", "")):
                value["upstream"] = backbone
            _listen_to(value, backbone)
