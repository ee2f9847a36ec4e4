"""Names of labels as words, and texts with the labels that they stand for."""

import pytest

from spacy_transfer.heads.label_texts import check_label_texts, label_texts, open_name


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("card_arrival", "card arrival"),
        ("cardArrival", "card arrival"),
        ("Refund_not_showing_up", "Refund not showing up"),
        ("CARD-ARRIVAL", "card arrival"),
        ("Sci/Tech", "Sci Tech"),
        ("top_up_by_ATM", "top up by ATM"),
        ("größe.messen", "größe messen"),
        ("don't_know", "don't know"),
        ("退款", "退款"),
        ("हिंदी_समाचार", "हिंदी समाचार"),
        ("A1", None),
        ("3", None),
        ("LABEL_0", None),
        ("A", None),
        ("__", None),
        ("", None),
        ("x_y", None),
    ],
)
def test_names_that_read_like_words(label, words):
    assert open_name(label) == words


def test_texts_and_the_labels_that_they_stand_for():
    labels = ["card_arrival", "A1", "refund"]
    assert label_texts("x", None, labels, True) == {}
    assert label_texts("x", "names", labels, True) == {"card arrival": ["card_arrival"], "refund": ["refund"]}
    given = {"A1": [" one ", "two"], "refund": "money back"}
    assert label_texts("x", given, labels, True) == {"one": ["A1"], "two": ["A1"], "money back": ["refund"]}
    both = {"A1": ["one", "one"], "refund": "one"}
    assert label_texts("x", both, labels, False) == {"one": ["A1", "refund"]}


@pytest.mark.parametrize("given", ["nmaes", {}, {"a": ""}, {"a": "  "}, {"a": []}, {"a": "x", "b": ["y", ""]}])
def test_settings_that_hold_no_text(given):
    with pytest.raises(ValueError, match=r"T921.*components\.x\.label_texts"):
        check_label_texts("x", given)


def test_settings_that_do():
    for given in (None, "names", {"a": "x"}, {"a": ["x", "y"]}):
        check_label_texts("x", given)


def test_labels_that_are_not_known_or_have_the_same_text():
    with pytest.raises(ValueError, match=r"T922.*'card_arival'.*\['card_arrival'\].*components\.x\.labels"):
        label_texts("x", {"card_arival": "where is it"}, ["card_arrival", "refund"], True)
    with pytest.raises(ValueError, match=r"T923.*'one' is the text of \['a', 'b'\]"):
        label_texts("x", {"a": "one", "b": ["two", "one"]}, ["a", "b"], True)
    with pytest.raises(ValueError, match=r"T923.*\['card_arrival', 'cardArrival'\]"):
        label_texts("x", "names", ["card_arrival", "cardArrival"], True)
