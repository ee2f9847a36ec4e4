"""Reading .spacy files."""

import zlib
from collections.abc import Iterator
from pathlib import Path

from spacy.language import Language
from spacy.training import Corpus, Example
from spacy.training.corpus import walk_corpus

from ..errors import Errors


def read_examples(nlp: Language, path: Path | str) -> Iterator[Example]:
    """Read examples as `spacy.training.Corpus` does. Errors name the file.

    path (Path): A .spacy file, or a folder of them.
    RAISES (ValueError): When a file is damaged, or is no .spacy file.
    """
    if Path(path).is_file() and not Path(path).name.endswith(".spacy"):
        raise ValueError(Errors.T218.format(path=path))
    for file in walk_corpus(path, ".spacy"):
        reader = Corpus(file)(nlp)
        while True:
            try:
                example = next(reader)
            except StopIteration:
                break
            except (ValueError, KeyError, IndexError, TypeError, OSError, zlib.error) as error:
                raise ValueError(Errors.T217.format(path=file, error=error)) from error
            yield example
