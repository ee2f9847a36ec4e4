"""Texts of labels: their own names, or descriptions that are given, as examples to learn from."""

import re
from collections.abc import Collection
from difflib import get_close_matches

from ..errors import Errors

LabelTexts = str | dict[str, str | list[str]] | None
"""`label_texts` of `[initialize.components.NAME]`: "names", or one or several descriptions for each label."""
_SEPARATORS = re.compile(r"[\s_\-/\\.:,;|+&()\[\]]+")
SHORTEST = 3
"""Letters in the longest word of a name that reads like words."""


def open_name(label: str) -> str | None:
    """The words of a label's name: "card_arrival" and "cardArrival" give "card arrival".

    RETURNS (Optional[str]): None where the name does not read like words: it has digits, or no word of three letters.
        Letters without upper and lower case, as in Chinese, count for any length.
    """
    if any(char.isdigit() for char in label):
        return None
    parts = [part for part in _SEPARATORS.split(label.lower() if label.isupper() else label) if part]
    words = [word for part in parts for word in _open_camel_case(part)]
    reads = any(
        sum(map(str.isalpha, word)) >= SHORTEST or any(char.isalpha() and char.lower() == char.upper() for char in word)
        for word in words
    )
    return " ".join(words) if reads else None


def _open_camel_case(part: str) -> list[str]:
    starts = [i for i in range(1, len(part)) if part[i].isupper() and part[i - 1].islower()]
    if not starts:
        return [part]
    return [part[begin:end].lower() for begin, end in zip([0, *starts], [*starts, len(part)], strict=True)]


def check_label_texts(name: str, given: LabelTexts) -> None:
    """RAISES (ValueError): When the setting is neither "names" nor a dict of texts with words.

    name (str): Of the component.
    """
    texts = [text for _, text in _pairs(given)] if isinstance(given, dict) else []
    is_empty = isinstance(given, dict) and (not all(given.values()) or not given)
    if given not in (None, "names") and (not texts or is_empty or not all(map(str.strip, texts))):
        raise ValueError(Errors.T921.format(name=name, found=given))


def label_texts(name: str, given: LabelTexts, labels: Collection[str], exclusive: bool) -> dict[str, list[str]]:
    """The texts, each with the labels that it stands for.

    name (str): Of the component.
    exclusive (bool): Whether the labels exclude each other, so that a text stands for one alone.
    RETURNS (Dict[str, List[str]]): Labels by text.
    RAISES (ValueError): When a label is not known, or two that exclude each other have the same text.
    """
    if given is None:
        return {}
    if isinstance(given, dict):
        pairs = _pairs(given)
    else:
        pairs = [(label, words) for label in labels if (words := open_name(label)) is not None]
    found: dict[str, list[str]] = {}
    for label, text in pairs:
        if label not in labels:
            near = get_close_matches(label, labels, n=4, cutoff=0.5) or list(labels)
            raise ValueError(Errors.T922.format(name=name, label=label, labels=near))
        holders = found.setdefault(text, [])
        if label not in holders:
            holders.append(label)
        if exclusive and len(holders) > 1:
            raise ValueError(Errors.T923.format(name=name, text=text, labels=holders))
    return found


def _pairs(given: dict[str, str | list[str]]) -> list[tuple[str, str]]:
    several = {label: [texts] if isinstance(texts, str) else texts for label, texts in given.items()}
    return [(label, text.strip()) for label, texts in several.items() for text in texts]
