"""Views of docs: what is deleted, cropped and cut is made of the doc's words, in their order."""

import numpy
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spacy_transfer.pretraining.objectives.views import (
    Views,
    are_alike,
    crop,
    delete_words,
    keep_words,
    neighbours,
    text_ids,
    words_of,
)

NLP = spacy.blank("en")
TEXTS = st.lists(st.sampled_from(["a", "don't", "(b)", "c.", "\n", "d"]), min_size=1, max_size=12).map(" ".join)


def words(doc):
    return [token.text for token in doc if not token.is_space]


def is_subsequence(some, of):
    rest = iter(of)
    return all(word in rest for word in some)


@given(TEXTS, st.floats(0.01, 0.99), st.integers(0, 99))
def test_a_share_of_the_words_is_deleted(text, share, seed):
    doc = NLP.make_doc(text)
    left = delete_words(doc, share, numpy.random.default_rng(seed))
    count = len(words_of(doc))
    n_deleted = min(count - 1, max(1, round(count * share))) if count else 0
    assert len(left) == count - n_deleted and is_subsequence(words(left), words(doc))


@given(TEXTS, st.floats(0.01, 1.0), st.integers(0, 99))
def test_a_crop_is_a_span(text, least, seed):
    doc = NLP.make_doc(text)
    all_words = words(doc)
    if all_words:
        part = words(crop(doc, least, numpy.random.default_rng(seed)))
        assert max(1, least * len(all_words)) <= len(part)
        assert any(all_words[i : i + len(part)] == part for i in range(len(all_words)))


@given(TEXTS, st.integers(0, 99))
def test_neighbours_are_the_whole_doc_in_two_parts(text, seed):
    doc = NLP.make_doc(text)
    count = len(words(doc))
    if count > 1:
        before, after = neighbours(doc, numpy.random.default_rng(seed))
        assert words(before) + words(after) == words(doc)
        assert min(len(before), len(after)) >= max(1, count // 3)


@pytest.mark.parametrize(
    ("text", "kept", "expected"),
    [
        ("I don't know", [1, 2], "don't"),
        ("I don't know", [1, 3], "do know"),
        ("a (b) c", [0, 2, 4], "a b c"),
        ("a\nb", [0, 2], "a b"),
        ("a b", [], ""),
    ],
)
def test_what_is_kept_keeps_its_spaces_and_never_grows_together(text, kept, expected):
    assert keep_words(NLP.make_doc(text), numpy.array(kept, dtype=numpy.int64)).text == expected


def test_every_crop_can_be_drawn():
    doc, draw = NLP.make_doc("a b c"), numpy.random.default_rng(0)
    assert {crop(doc, 0.1, draw).text for _ in range(200)} == {"a", "b", "c", "a b", "b c", "a b c"}


def test_pairs_by_kind():
    draw = numpy.random.default_rng(0)
    short, long = NLP.make_doc("a b c d"), NLP.make_doc("a b c d e f g h")

    def pair(kind, doc, is_train=True):
        views = Views(kind, deletion=0.25, crop=0.5, neighbours_from=8)
        return [[token.text for token in view] for view in views.pair(doc, draw, is_train)]

    assert pair("dropout", short) == [list("abcd")] * 2
    # Without dropout the two would be equal.
    assert [len(view) for view in pair("dropout", short, is_train=False)] == [3, 3]
    assert [len(view) for view in pair("delete", long)] == [6, 6]
    assert sum(pair("neighbours", long), []) == list("abcdefgh")
    assert all(2 <= len(view) <= 4 and "".join(view) in "abcd" for view in pair("neighbours", short))
    assert all(4 <= len(view) and "".join(view) in "abcdefgh" for view in pair("crop", long))


def test_texts_with_a_view_in_common():
    docs = [NLP.make_doc(text) for text in ["a b", "a c", "b", "a b "]]
    first = [NLP.make_doc(text) for text in ["a", "a", "b", "b"]]
    second = [NLP.make_doc(text) for text in ["a b", "c", "b", "a"]]
    sets = [{d.text.strip() for d in views} for views in zip(docs, first, second, strict=True)]
    expected = [[bool(one & other) for other in sets] for one in sets]
    assert are_alike(text_ids(docs, first, second)).tolist() == expected
    assert expected[0] == [True, True, False, True]
    assert are_alike(text_ids([], [])).shape == (0, 0)
