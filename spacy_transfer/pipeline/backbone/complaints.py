"""Errors and warnings at a backbone's initialisation: no texts, heads that do not listen, a source with a fault."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spacy.language import Language
from thinc.api import Model

from ...errors import Errors, Warnings

if TYPE_CHECKING:
    from .component import Backbone

# What reads texts by itself: layers of spaCy and Thinc that look words up.
_EMBEDS = ("hashembed", "static_vectors", "charembed")
OURS = {"ner": "transfer_ner", "tagger": "transfer_tagger", "textcat": "transfer_textcat"}
OURS["textcat_multilabel"] = "transfer_textcat_multilabel"


@contextmanager
def named(name: str) -> Iterator[None]:
    """Within, errors of a source say which component has it."""
    try:
        yield
    except ValueError as error:
        found = re.match(r"\[T1\d\d\] (?=source = )", str(error))
        if found is None:
            raise
        raise ValueError(f"{found[0]}components.{name}.model.{str(error)[found.end() :]}") from error


def no_examples(name: str, nlp: Language | None) -> str:
    """RETURNS (str): Why there is no example: most often the path is that of another kind of file."""
    paths = {} if nlp is None else nlp.config.get("paths", {})
    path = str(paths.get("train") or "")
    if not Path(path).suffix or path.endswith(".spacy"):
        return Errors.T404.format(name=name)
    return Errors.T438.format(name=name, key="paths.train", path=path, suffix=Path(path).suffix)


def deaf_heads(backbone: "Backbone") -> list[str]:
    """Later components that will learn an encoder of their own, though there is a pretrained one.

    RETURNS (List[str]): Their names. Components that bring their weights are left out.
    """
    found = []
    for name, pipe in backbone.training_log.later.items():
        model = getattr(pipe, "model", None)
        if name not in backbone.listener_map and isinstance(model, Model) and _starts_from_nothing(model):
            found.append(name)
    return found


def warn_of_deaf(backbone: "Backbone", nlp: Language) -> None:
    """Warn of components that do not listen. Stock components that are added without a model do not."""
    for name in deaf_heads(backbone):
        own = OURS.get(nlp.get_pipe_meta(name).factory)
        instead = f"the factory {own!r}" if own else "a factory of this package"
        warnings.warn(Warnings.W438.format(head=name, name=backbone.name, instead=instead), stacklevel=3)


def _starts_from_nothing(model: Model) -> bool:
    embeds = [node for node in model.walk() if node.name in _EMBEDS]
    return any(all(node.has_param(name) is None for name in node.param_names) for node in embeds)
