"""Texts as tokens, in a file that is read again for each epoch: of a large corpus no more than a line is in memory."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacy.util import minibatch

from ..progress import progress

if TYPE_CHECKING:
    from spacy.language import Language

# No format of word vectors can hold words with these, nor spaces alone.
NO_WORD = re.compile(r"[\0\t\n\r]|\A\s*\Z")
_TEXTS = 1000  # In one memory zone: the strings of the tokens are forgotten after it.


@dataclass
class TokenFile:
    """A file of lines of words with tabs between.

    path (Path): The file.
    counts (Counter[str]): How often each word comes, in the order they came in first.
    n_lines (int): Lines.
    """

    path: Path
    counts: Counter[str]
    n_lines: int

    def read(self, bar: Any) -> "Lines":
        """RETURNS (Lines): The lines, as often as they are iterated over.

        bar (tqdm): Is told of each line.
        """
        return Lines(self.path, bar)


class Lines:
    """Iterates over the file from its beginning each time."""

    def __init__(self, path: Path, bar: Any) -> None:
        self._path, self._bar = path, bar

    def __iter__(self) -> Iterator[list[str]]:
        with self._path.open(encoding="utf8", newline="\n") as file:
            for line in file:
                yield line[:-1].split("\t")
                self._bar.update()


def write_tokens(texts: Iterable[str], nlp: "Language", path: Path, *, longest: int, lower: bool = False) -> TokenFile:
    """Tokenize texts into a file. White space is no word.

    texts (Iterable[str]): The texts.
    nlp (Language): Has the tokenizer.
    path (Path): The file.
    longest (int): Words in a line at most. What is longer is cut in parts.
    lower (bool): Write words in lower case.
    RETURNS (TokenFile): The file, and what is in it.
    """
    counts: Counter[str] = Counter()
    n_lines = 0
    with path.open("w", encoding="utf8", newline="\n") as file:
        for batch in minibatch(progress(texts, what="Tokenizing"), _TEXTS):
            with nlp.memory_zone():
                for text in batch:
                    tokens = [token.lower_ if lower else token.text for token in nlp.tokenizer(text)]
                    words = [word for word in tokens if not NO_WORD.search(word)]
                    counts.update(words)
                    for start in range(0, len(words), longest):
                        file.write("\t".join(words[start : start + longest]) + "\n")
                        n_lines += 1
    return TokenFile(path, counts, n_lines)
