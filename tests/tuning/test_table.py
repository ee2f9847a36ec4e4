"""The table of groups as text, and what schedules say of themselves."""

import itertools

import pytest
from thinc.api import constant_then, slanted_triangular, warmup_linear

from spacy_transfer.tuning import schedules, table


@pytest.mark.parametrize(
    ("depths", "shown"),
    [
        ((), "-"),
        ((0,), "0"),
        ((0, 1, 2, 3), "0-3"),
        ((6, 5, 7), "5-6, top"),
        ((0, 2, 3, 6), "0, 2-3, 6"),
        ((7,), "top"),
    ],
)
def test_depths(depths, shown):
    assert table.show_depths(depths, 6) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (950, "950"),
        (1000, "1.00K"),
        (88_700, "88.7K"),
        (999_900, "1.00M"),
        (22_565_376, "22.6M"),
        (1_200_000_000, "1.20B"),
    ],
)
def test_counts(count, shown):
    assert table.show_count(count) == shown


@pytest.mark.parametrize("count", [10**n * d // 7 for n in range(3, 11) for d in (1, 3, 9)])
def test_counts_are_right_to_three_digits(count):
    shown = table.show_count(count)
    size = {"K": 1e3, "M": 1e6, "B": 1e9}.get(shown[-1], 1.0)
    assert float(shown.rstrip("KMB")) * size == pytest.approx(count, rel=5e-3)


def test_rows():
    rows = [
        table.Row("backbone", "", (0, 1), 2, 2000, "no", 0.1, None, (0.0,), "constant"),
        table.Row("backbone", "", (2, 3), 2, 300, "later", 5e-6, 5e-5, (0.0, 0.01), "linear"),
        table.Row("tagger", "heads", (), 0, 20, "yes", 0.001, None, (0.0,), "constant"),
    ]
    lines = [line.split("  ") for line in table.to_text(rows).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == list(table.HEADER)
    assert cells[2] == ["backbone", "0-1", "2.00K", "no", "-", "-", "-"]
    assert cells[3] == ["backbone", "2, top", "300", "later", "5e-06", "0.01 or 0", "linear, highest 5e-05"]
    assert cells[4] == ["tagger: heads", "-", "20", "yes", "0.001", "0", "constant"]
    assert "embeddings" in cells[5][0]
    assert "embeddings" not in table.to_text(rows[2:])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: schedules.linear_v1(learn_rate=0.5, total_steps=40, warmup_steps=4), "linear"),
        (lambda: schedules.cosine_v1(learn_rate=0.5, total_steps=40, warmup_steps=4), "cosine"),
        (lambda: schedules.one_cycle_v1(learn_rate=0.5, total_steps=40), "one_cycle"),
        (lambda: schedules.slanted_triangular_v1(learn_rate=0.5, total_steps=40), "slanted_triangular"),
        (lambda: schedules.inverse_sqrt_v1(learn_rate=0.5, warmup_steps=4), "inverse_sqrt"),
        (lambda: warmup_linear(0.5, 4, 40), "warmup_linear"),
        (lambda: slanted_triangular(0.5, 40), "slanted_triangular"),
    ],
)
def test_schedules_say_what_they_are_and_lose_no_rate(make, name):
    schedule = make()
    rates = [next(schedule)]
    assert schedules.describe(schedule) == (name, pytest.approx(0.5))
    rates += itertools.islice(schedule, 39)
    assert rates == list(itertools.islice(make(), 40))
    assert max(rates) == pytest.approx(0.5, rel=1e-2)


def test_schedules_of_which_nothing_is_known():
    assert schedules.describe(None) == ("constant", None)
    assert schedules.describe(iter([0.1, 0.2])) == ("list", None)
    assert schedules.describe(constant_then(0.1, 3, iter([0.2]))) == ("constant_then", None)
