"""The file of tokens: the tokenizer's words in their order, white space left out, long texts in parts."""

from collections import Counter

import pytest
import spacy

from spacy_transfer.pretraining.token_file import write_tokens

TEXTS = ["The cat  sings, \n it's Fine.", "\u00a0", "a\x1cb \u2028 über 😀", "x y z " * 7]


class Bar:
    def __init__(self):
        self.n = 0

    def update(self):
        self.n += 1


@pytest.mark.parametrize("lower", [False, True])
def test_words_are_those_of_the_tokenizer(lower, tmp_path):
    nlp, bar = spacy.blank("en"), Bar()
    tokens = write_tokens(iter(TEXTS), nlp, tmp_path / "t", longest=8, lower=lower)
    docs = [[token for token in nlp.make_doc(text) if not token.is_space] for text in TEXTS]
    words = [[token.lower_ if lower else token.text for token in doc] for doc in docs]
    lines = tokens.read(bar)
    for seen in (1, 2):  # From the beginning each time.
        found = list(lines)
        assert bar.n == seen * tokens.n_lines == seen * len(found)
        assert [word for line in found for word in line] == [word for doc in words for word in doc]
    assert [len(line) for line in found] == [len(words[0]), len(words[2]), 8, 8, 5]
    assert tokens.counts == Counter(word for doc in words for word in doc)


def test_words_that_no_file_can_hold_are_left_out(tmp_path):
    nlp = spacy.blank("en")
    nlp.tokenizer = lambda text: spacy.tokens.Doc(nlp.vocab, words=["Việt Nam", "a\nb", "c\td", "e\0f", " ", "g"])
    tokens = write_tokens(["any"], nlp, tmp_path / "t", longest=8)
    assert list(tokens.counts) == ["Việt Nam", "g"]
    assert list(tokens.read(Bar())) == [["Việt Nam", "g"]]
