"""RawText.v1: a stream of raw texts for `spacy pretrain`, of which a share is held out by hash."""

import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc

from ..checks import COUNT, COUNT_OR_NONE, Range, require
from ..errors import Errors, Warnings
from .texts import read_texts

logger = logging.getLogger("spacy")

READER = "spacy_transfer_reader"
_KEY = "corpora.pretrain"
_SHARE = Range(0, 1, has_high=False)


def create_raw_text_v1(
    *,
    path: Path | None,
    field: str = "text",
    held_out: float = 0.02,
    max_held_out: int = 500,
    max_words: int = 500,
    limit: int = 0,
    shuffle: int = 10000,
    seed: int = 0,
) -> Callable[[Language], Iterator[Doc]]:
    """Read raw texts anew in each epoch, in another order. Exact duplicates are read once.

    A text is held out by a hash of itself, so that the same texts are held out whatever the order, the number of files
    or the machine.

    path (Optional[Path]): A file, or a folder of files: a text on each line (.txt and any other name), JSON objects
        (.jsonl) or docs (.spacy), each of which may be packed (.gz).
    field (str): Key of the text in .jsonl.
    held_out (float): Share of the texts that no step learns from, 0 <= held_out < 1.
    max_held_out (int): The most held-out texts that the loss is computed on.
    max_words (int): Longer texts are cut into docs of at most this many tokens, of about equal length.
    limit (int): The most texts that are read; 0 for all.
    shuffle (int): Texts are drawn from a buffer of this many; 0 keeps the order of the files.
    seed (int): Of the order.
    RETURNS (Callable[[Language], Iterator[Doc]]): The reader.
    """
    if path is None:
        raise ValueError(Errors.T820)
    require(_KEY, _SHARE, held_out=held_out)
    require(_KEY, COUNT, max_words=max_words, max_held_out=max_held_out)
    require(_KEY, COUNT_OR_NONE, limit=limit, shuffle=shuffle)
    # `spacy pretrain` resolves readers without a schema: paths come as strings.
    return RawText(Path(path), field, held_out, max_held_out, max_words, limit, shuffle, seed)


class RawText:
    """The reader. Each doc that it gives knows it (see `reader_of`), so that an objective can ask for held-out docs.

    path (Path), field (str), held_out (float), max_held_out (int), max_words (int), limit (int), shuffle (int),
        seed (int): See `create_raw_text_v1`.
    """

    def __init__(
        self,
        path: Path,
        field: str,
        held_out: float,
        max_held_out: int,
        max_words: int,
        limit: int,
        shuffle: int,
        seed: int,
    ) -> None:
        self._path, self._field, self._share, self._max_held_out = path, field, held_out, max_held_out
        self._max_words, self._limit, self._shuffle, self._seed = max_words, limit, shuffle, seed
        self._nlp: Language | None = None
        self.epoch = -1
        self.n_docs: int | None = None
        """Docs in an epoch, once one has been read."""

    def __call__(self, nlp: Language) -> Iterator[Doc]:
        """YIELDS (Doc): The training docs of one epoch."""
        self._nlp = nlp
        self.epoch += 1
        count = 0
        for text in self._in_other_order(self._texts(held_out=False)):
            for doc in self._docs_of(text):
                doc.user_data[READER] = self
                count += 1
                yield doc
        if not count:
            raise ValueError(Errors.T821.format(path=self._path, share=self._share))
        self.n_docs = count

    def held_out_docs(self) -> list[Doc]:
        """RETURNS (List[Doc]): The held-out docs, the same ones at every call."""
        if not self._share:
            return []
        texts = islice(self._texts(held_out=True), self._max_held_out)
        docs = [doc for text in texts for doc in self._docs_of(text)]
        if not docs:
            logger.warning(Warnings.W822.format(path=self._path, share=self._share))
        return docs

    def count_words(self, n_texts: int = 20000) -> Counter[str]:
        """RETURNS (Counter[str]): How often each token stands in the first training texts."""
        counts: Counter[str] = Counter()
        for text in islice(self._texts(held_out=False), n_texts):
            counts.update(token.text for doc in self._docs_of(text) for token in doc)
        return counts

    @property
    def _language(self) -> Language:
        assert self._nlp is not None, "held-out docs are made with the tokenizer of the pipeline that is pretrained"
        return self._nlp

    def _texts(self, held_out: bool) -> Iterator[str]:
        seen = set[int]()
        for text in read_texts(self._path, f"{_KEY}.path", self._field):
            if self._limit and len(seen) >= self._limit:
                return
            digest = int.from_bytes(hashlib.blake2b(text.encode("utf8", "surrogatepass"), digest_size=8).digest())
            if digest in seen:
                continue
            seen.add(digest)
            if (digest / 2**64 < self._share) == held_out:
                yield text

    def _in_other_order(self, texts: Iterator[str]) -> Iterator[str]:
        """Draw from a buffer that is filled up again."""
        draw, buffer = random.Random(f"{self._seed} {self.epoch}"), list[str]()
        for text in texts:
            if len(buffer) < self._shuffle:
                buffer.append(text)
            elif not self._shuffle:
                yield text
            else:
                i = draw.randrange(self._shuffle)
                buffer[i], text = text, buffer[i]
                yield text
        draw.shuffle(buffer)
        yield from buffer

    def _docs_of(self, text: str) -> Iterator[Doc]:
        """The text as one doc, or as several of about equal length. spaCy refuses texts beyond `nlp.max_length`."""
        nlp = self._language
        for begin in range(0, len(text), nlp.max_length):
            doc = nlp.make_doc(text[begin : begin + nlp.max_length])
            if len(doc) <= self._max_words:
                yield doc
                continue
            n_parts = -(-len(doc) // self._max_words)
            bounds = [len(doc) * i // n_parts for i in range(n_parts + 1)]
            for first, last in zip(bounds, bounds[1:], strict=False):
                yield doc[first:last].as_doc()


def reader_of(docs: list[Doc]) -> RawText | None:
    """RETURNS (Optional[RawText]): The reader that gave these docs; None where it is not ours."""
    found = next((doc.user_data[READER] for doc in docs if READER in doc.user_data), None)
    return found if isinstance(found, RawText) else None
