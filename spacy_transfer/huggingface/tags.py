"""The labels of token classifiers: entity tags in several notations, or tags of words."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy
from spacy.parts_of_speech import IDS

from ..errors import Errors
from ..heads.tagging.schemes import SchemeKind
from .state_dicts import HeadWeights

TokenTask = Literal["ner", "tagger"]
# BILUO, BIOES (IOBES), BMES and BMEWO.
PARTS = {"B": "B", "I": "I", "M": "I", "L": "L", "E": "L", "U": "U", "S": "U", "W": "U"}
# The tags whose row a missing tag copies, the most similar first.
NEAREST = {"B": "UIL", "I": "LBU", "L": "IUB", "U": "BLI"}
LOWER = math.log(100.0)
"""How much lower the bias is of a row that is made of another: the tag has a hundredth of the other's probability."""


@dataclass(frozen=True)
class TagRows:
    """How rows of a checkpoint's output layer become those of a head.

    task (str): "ner" or "tagger".
    rows (List[int]): For every row of the head, the checkpoint's that it is, or is made of.
    made (List[bool]): Whether it is made: the checkpoint has no such tag.
    scheme (str): "bio" or "biluo", of entity tags.
    attribute (str): "tag" or "pos", of other tags.
    """

    task: TokenTask
    labels: list[str]
    rows: list[int]
    made: list[bool]
    scheme: SchemeKind = "bio"
    attribute: Literal["tag", "pos"] = "tag"

    @property
    def kept(self) -> list[int]:
        """RETURNS (List[int]): The rows of the head that are the checkpoint's own."""
        return [i for i, made in enumerate(self.made) if not made]


def read_tags(source: str, names: Sequence[str], task: TokenTask | None = None) -> TagRows:
    """What the labels of a token classifier are. With an "O" among them, or a "B-" or "I-" before one, they are entity
    tags: IOB1, IOB2, BILUO, BIOES, or labels without any prefix (each is then an "I-"); others are tags of words, for
    `token.pos_` where all are names of Universal Dependencies' parts of speech.

    A tag of our scheme that the checkpoint lacks gets a copy of the row of the most similar tag, with a bias lower by
    `LOWER`. So it is never the best tag: predictions stay the same (with `lenient = true`), probabilities almost the
    same, and training starts from a useful row. The rows of IOB1, where "B-" only separates two entities of a label,
    are carried unchanged: with `lenient = true` they have the same meaning.

    task (Optional[str]): "ner" or "tagger"; None to tell by the names.
    RAISES (ValueError): When there are entity tags among them, and some cannot be used.
    """
    separator = _separator(names)
    if task is None:
        task = "ner" if separator or "O" in names else "tagger"
    if task == "tagger":
        attribute: Literal["tag", "pos"] = "pos" if {*names} <= {*filter(None, IDS)} else "tag"
        return TagRows("tagger", list(names), [*range(len(names))], [False] * len(names), attribute=attribute)
    found, unusable = dict[tuple[str, str], int](), list[str]()
    for i, name in enumerate(names):
        tag = _split(name, separator)
        if tag is None or tag in found:
            unusable.append(name)
        else:
            found[tag] = i
    labels = list(dict.fromkeys(label for _, label in found if label))
    if unusable or ("O", "") not in found or not labels:
        problems = [f"no entity tags, or the same as another: {unusable}"] if unusable else []
        problems += ["there is no 'O'"] if ("O", "") not in found else []
        problems += ["no label of entities"] if not labels else []
        raise ValueError(Errors.T389.format(source=source, problems="; ".join(problems), labels=list(names)))
    scheme: SchemeKind = "biluo" if {part for part, _ in found} & {"L", "U"} else "bio"
    return _arrange(found, labels, scheme)


def _separator(names: Sequence[str]) -> str:
    """What stands between the parts and the labels of tags; "" where there are labels alone."""
    if any(re.match("[BI]-.", name) for name in names):
        return "-"
    # "_" is in many a label: all must look like tags.
    others = [name for name in names if name != "O"]
    tags = [re.match(f"[{''.join(PARTS)}]_.", name) for name in others]
    return "_" if all(tags) and any(name[0] in "BI" for name in others) else ""


def _split(name: str, separator: str) -> tuple[str, str] | None:
    """Part and label of a tag; None for none."""
    if name == "O":
        return "O", ""
    if not separator:
        return "I", name
    part, _, label = name.partition(separator)
    return (PARTS[part], label) if part in PARTS and label else None


def _arrange(found: dict[tuple[str, str], int], labels: list[str], scheme: SchemeKind) -> TagRows:
    rows, made = [found["O", ""]], [False]
    parts = "BI" if scheme == "bio" else "BILU"
    for label in labels:
        for part in parts:
            made.append((part, label) not in found)
            rows.append(next(found[kin, label] for kin in part + NEAREST[part] if (kin, label) in found))
    return TagRows("ner", labels, rows, made, scheme=scheme)


def arrange_rows(head: HeadWeights, tags: TagRows) -> HeadWeights:
    """A checkpoint's head with the rows of ours.

    RETURNS (HeadWeights): With as many rows as our head has.
    """
    weight, bias = head.layers[-1]
    lower = numpy.array(tags.made) * numpy.float32(LOWER)
    return HeadWeights([*head.layers[:-1], (weight[tags.rows], bias[tags.rows] - lower)], head.activation)
