"""The work of each process, whatever starts it: load the pipeline, annotate shards."""

import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab

from .._compat import spacy_cli_parts
from ..backbones.cached_rows.repeats import one_stream
from ..errors import Errors
from ..pipeline.labels.carry import load
from ..types import Config
from .input_rows import Row
from .job import Job, load_job, pipeline_fingerprint
from .output_columns import getters
from .outputs import as_line, make_writer, whole_file

_BATCHES = 8  # Batches that go through the pipeline at once.
_FIRST = 2000  # The most texts that fill the tokenizer's cache.


@dataclass(frozen=True)
class Options:
    """How the work is done; the output does not depend on it.

    batch_size (int): Texts in a batch.
    threads (Optional[int]): Of each process; None for what torch takes.
    fail_fast (bool): Stop at the first row that breaks.
    """

    batch_size: int = 64
    threads: int | None = None
    fail_fast: bool = False
    code: Path | None = None
    use_gpu: int = -1


class Worker:
    """Annotates shards of a job.

    nlp (Optional[Language]): The pipeline, if it is loaded already.
    on_rows (Callable[[int], object]): Is told how many rows more are done.
    """

    def __init__(
        self,
        job: Job,
        options: Options,
        nlp: Language | None = None,
        on_rows: Callable[[int], object] = lambda count: None,
    ) -> None:
        self._job, self._options, self._on_rows = job, options, on_rows
        self._nlp = nlp or load_pipeline(job.pipeline, options)
        self._columns = getters(self._nlp, job.settings.columns)
        self._knows_words = False

    @classmethod
    def in_folder(cls, folder: Path, options: Options) -> "Worker":
        """A worker in a process or on a machine of its own.

        RAISES (ValueError): When this machine sees another output folder, or another pipeline.
        """
        job = load_job(folder)
        if job is None:
            raise ValueError(Errors.T972.format(what=f"no job in {folder}", host=socket.gethostname()))
        if pipeline_fingerprint(job.pipeline) != job.known_by["pipeline"]:
            raise ValueError(Errors.T972.format(what=f"another pipeline {job.pipeline}", host=socket.gethostname()))
        return cls(job, options)

    def __call__(self, number: int) -> int:
        """Annotate and write a shard, if that is not done yet.

        RETURNS (int): How many rows broke.
        """
        job, broken = self._job, list[Config]()
        if job.shard(number).exists():
            return 0
        self._learn_words(number)
        # What the vocabulary learns from the texts of a batch is forgotten after it: memory stays as it is.
        with whole_file(job.shard(number), job.work) as file:
            writer = make_writer(job.settings.format, file, self._columns)
            with contextlib.closing(writer), self._nlp.memory_zone(), one_stream():
                rows = job.rows(number, self._nlp.vocab)
                while some := list(islice(rows, self._options.batch_size * _BATCHES)):
                    pairs = self._annotate(some, broken)
                    writer.add([row for row, _ in pairs], [doc for _, doc in pairs])
                    self._on_rows(len(some))
            # Errors are there when the shard is, and none of an earlier try are.
            job.errors(number).unlink(missing_ok=True)
            if broken:
                with whole_file(job.errors(number), job.work) as errors:
                    errors.writelines(map(as_line, broken))
        return len(broken)

    def _learn_words(self, number: int) -> None:
        """Fill the tokenizer's cache of words, once and up to its bound (10,000 by default). In a memory zone spaCy
        reads it, but adds nothing, so that all words are split anew."""
        if self._knows_words:
            return
        self._knows_words = True
        # Docs of .spacy files bring all words of their file: not into this vocabulary.
        for row in islice(self._job.rows(number, Vocab()), min(_FIRST, self._job.count(number) // 10)):
            if row.doc is not None:
                break  # They have their tokens.
            # What breaks here breaks once more with its batch, and is told there.
            with contextlib.suppress(Exception):
                self._nlp.make_doc(row.text)

    def _annotate(self, rows: Sequence[Row], broken: list[Config]) -> list[tuple[Row, Doc]]:
        """Rows with their docs, without those that break."""
        good = [row for row in rows if not row.error]
        found = {id(row): doc for row, doc in self._piped(good)}
        for row in rows:
            if id(row) not in found:
                if self._options.fail_fast:
                    raise ValueError(Errors.T973.format(id=row.id, error=row.error))
                broken.append({"id": row.id, "text": row.text or None, "meta": row.meta, "error": row.error})
        return [(row, found[id(row)]) for row in rows if id(row) in found]

    def _piped(self, rows: Sequence[Row]) -> Iterable[tuple[Row, Doc]]:
        """Texts that break are looked for by halves."""
        if not rows:
            return
        try:
            texts = [row.doc or row.text for row in rows]
            docs = list(self._nlp.pipe(texts, batch_size=self._options.batch_size))
        except Exception as error:
            if len(rows) == 1:
                rows[0].error = f"{type(error).__name__}: {error}"
                return
            middle = len(rows) // 2
            yield from self._piped(rows[:middle])
            yield from self._piped(rows[middle:])
            return
        yield from zip(rows, docs, strict=True)


def load_pipeline(pipeline: str, options: Options) -> Language:
    """RETURNS (Language): The pipeline, on the device and with the threads that were asked for."""
    parts = spacy_cli_parts()
    parts.import_code(options.code)
    parts.setup_gpu(options.use_gpu, silent=True)
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    return load(pipeline, "PIPELINE")
