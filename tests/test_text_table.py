"""Tables of text: columns stand under their names, however long the cells are."""

from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_transfer.text_table import text_table

cells = st.text("ab ./", min_size=1, max_size=80).map(str.strip).filter(bool)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=5), st.text("lr", min_size=3, max_size=3))
def test_columns_stand_under_their_names(rows, aligns):
    header = ("source", "loss", "notes")
    head, divider, *lines = text_table(rows, header=header, aligns=aligns).split("\n")
    begins = [0] + [i + 1 for i in range(len(divider)) if divider[i - 1 : i + 2] == " " * 2 + "-"]
    spans = list(zip(begins, [*(begin - 3 for begin in begins[1:]), None], strict=True))
    for line, cells_ in zip([head, *lines], [header, *rows], strict=True):
        assert [line[begin:end].strip() for begin, end in spans] == list(cells_)


def test_the_line_under_a_long_last_column_is_short():
    _, divider, _ = text_table([("x", "y" * 90)], header=("a", "b")).split("\n")
    assert len(divider) == 1 + 3 + 30
    assert text_table([("x", 1.5)]) == "x   1.5"
