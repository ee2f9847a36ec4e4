"""`ent._.confidence`: the probability of an entity."""

from bisect import bisect_left

from spacy.tokens import Span
from spacy.util import logger

from ...errors import Warnings

MARK = "probabilities_of"
"""In the attrs of a span group: the component whose entities it holds."""


def confidence(span: Span) -> float | None:
    """`ent._.confidence`: the probability of an entity, from the span group in which a `transfer_ner` left it.

    span (Span): An entity.
    RETURNS (Optional[float]): Between 0 and 1; None for a span that none of them found.
    """
    for group in span.doc.spans.values():
        if MARK in group.attrs:
            at = bisect_left(range(len(group)), span.start, key=lambda i: group[i].start)
            if at < len(group) and (group[at].end, group[at].label) == (span.end, span.label):
                return group.attrs["scores"][at]
    return None


def register_confidence(spans_key: str) -> None:
    """Declare the extension attribute, unless the user has one of that name.

    spans_key (str): Where the probabilities are anyway, for the warning.
    """
    if not Span.has_extension("confidence"):
        Span.set_extension("confidence", getter=confidence)
    elif Span.get_extension("confidence")[2] is not confidence:
        logger.warning(Warnings.W332.format(key=spans_key))
