"""Bars on a terminal, elsewhere, and where they are switched off."""

import io

from spacy_transfer.progress import no_progress, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_gives_its_items_and_shows_on_a_terminal_alone():
    assert list(progress([1, 2], what="Reading", file=io.StringIO())) == [1, 2]
    assert progress([1], what="Reading", file=io.StringIO()).disable
    bar = progress(what="Reading", unit=" docs", total=3, file=Terminal())
    assert not bar.disable and (bar.desc, bar.unit, bar.total, bar.delay) == ("Reading", " docs", 3, 3.0)
    bar.close()


def test_bars_are_switched_off_within():
    with no_progress():
        assert progress([1], what="Reading", file=Terminal()).disable
    assert not progress([1], what="Reading", file=Terminal()).disable
