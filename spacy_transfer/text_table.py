"""Tables of text whose columns are as wide as what stands in them."""

from collections.abc import Collection, Sequence
from typing import Literal, cast

_LAST = 30


def text_table(rows: Collection[Sequence[object]], *, header: Sequence[str] = (), aligns: str = "") -> str:
    """wasabi's table without its limit of 30 characters a column, beyond which it does not align what comes after. The
    line under the header ends there if the last column is longer.

    rows (Collection[Sequence[object]]): The cells.
    header (Sequence[str]): Names of the columns.
    aligns (str): "l" or "r" for each column; all left if empty.
    RETURNS (str): The table, without a line break at either end.
    """
    from wasabi import table

    lines = [header, *rows] if header else [*rows]
    widths = [max(len(str(cell)) for cell in column) for column in zip(*lines, strict=True)]
    if widths and not aligns.endswith("r"):
        widths[-1] = min(widths[-1], _LAST)
    places = cast(list[Literal["l", "r"]], [*aligns])
    text: str = table(rows, header=header or None, divider=bool(header), widths=widths, aligns=places or None)
    return text.strip("\n")
