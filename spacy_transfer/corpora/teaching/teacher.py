"""A teacher: a pipeline that annotates each text once."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy
import spacy
from spacy import util
from spacy.language import Language
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc

from ...errors import Errors, Warnings
from ...installed import like
from ...random_state import same_random_state
from ...types import Pipe, pipe_of, pipes_of
from ..doc_copies import copy_for
from ..output_folder import check_stays
from .answer_cache import AnswerCache, default_folder, doc_key
from .answers import FORMAT, Answer, Ask, annotation, confidences, scores, softness

Item = TypeVar("Item")
BATCH = 64
_SHARED = b"what is the same for all docs"


class Teacher:
    """A trained pipeline. It is loaded when a text has no answer in the cache.

    Answers are kept on disk by the fingerprint of the pipeline and by text, since spaCy reads corpora more than once.
    Its components see the tokens that the student has, each after all that come before it in its own pipeline.

    source (str): Name or folder of the pipeline.
    ask (Ask): What is wanted of which components.
    key (str): Its key in the config, for messages.
    cache (Optional[Path]): Folder for answers; None for the user's folder for caches.
    """

    def __init__(self, source: str, ask: Ask, *, key: str, cache: Path | None = None) -> None:
        check_stays(source, key)  # Without initialisation the source would be deleted before it is read.
        self.source, self.ask, self.key = source, ask, key
        self.cache = default_folder() if cache is None else Path(cache)
        self._nlp: Language | None = None
        self._shared: dict[str, Answer] | None = None
        self._path: Path | None = None
        self._opened: Path | None = None
        self._has_compared = False

    @property
    def nlp(self) -> Language:
        """RETURNS (Language): The pipeline."""
        if self._nlp is None:
            self._nlp = self._load()
        return self._nlp

    @property
    def shared(self) -> dict[str, Answer]:
        """RETURNS (Dict[str, Answer]): Of each component what is the same for all texts: what it writes ("assigns"),
        the "kind" of its scores (None without), their "labels", from which score on a category holds ("thresholds").
        """
        if self._shared is None:
            with closing(self._open()) as cache:
                self._shared = cache.get([_SHARED]).get(_SHARED)
                if self._shared is None:
                    self._shared = {name: self._describe(name) for name in self.ask.names}
                    self._put(cache, [(_SHARED, self._shared)])
            for about in self._shared.values():
                about["source"] = self.source  # A copy of a pipeline has the same fingerprint, and another name.
        return self._shared

    def compare_language(self, nlp: Language) -> None:
        """Warn, once, where a pipeline is of another language."""
        if not self._has_compared:
            self._has_compared = True
            theirs = util.load_config(self.path / "config.cfg")["nlp"]["lang"]
            if "xx" not in (theirs, nlp.lang) and theirs != nlp.lang:
                facts = {"key": self.key, "source": self.source, "theirs": theirs, "own": nlp.lang}
                util.logger.warning(Warnings.W542.format(**facts))

    def annotate(
        self, items: Iterable[Item], doc_of: Callable[[Item], Doc]
    ) -> Iterator[tuple[Item, dict[str, Answer]]]:
        """Ask about docs, a batch at a time.

        YIELDS (Tuple[Item, Dict[str, Answer]]): What came in, in its order; and by component what `annotation` gives,
            with "scores" and "confidence" where they are wanted.
        """
        with closing(self._open()) as cache:
            stream = iter(items)
            while batch := list(islice(stream, BATCH)):
                docs = [doc_of(item) for item in batch]
                keys = [doc_key(doc) for doc in docs]
                known = cache.get(keys)
                new = {key: doc for key, doc in zip(keys, docs, strict=True) if key not in known}
                if new:
                    answers = dict(zip(new, self._answer(list(new.values())), strict=True))
                    self._put(cache, answers.items())
                    known |= answers
                for item, key in zip(batch, keys, strict=True):
                    yield item, known[key]

    def _put(self, cache: AnswerCache, answers: Iterable[tuple[bytes, Answer]]) -> None:
        """Keep what this pipeline says, and no other that has taken its place meanwhile."""
        if cache.path != self._cache_path():
            raise ValueError(Errors.T558.format(key=self.key, source=self.source))
        cache.put(answers)

    def _answer(self, docs: Sequence[Doc]) -> list[dict[str, Answer]]:
        """To docs without tokens there is no answer. Loading layers of torch draws random numbers: a training must not
        depend on what has been kept on disk."""
        with same_random_state():
            return self._ask(docs)

    def _ask(self, docs: Sequence[Doc]) -> list[dict[str, Answer]]:
        answers: list[dict[str, Answer]] = [{name: {} for name in self.ask.names} for _ in docs]
        found = [answer for answer, doc in zip(answers, docs, strict=True) if len(doc)]
        copies = [copy_for(doc, self.nlp) for doc in docs if len(doc)]
        shared = self.shared
        for name, pipe in pipes_of(self.nlp):
            wanted = shared.get(name)
            # Scores come before annotation: an ner takes entities on a doc as given.
            if name in self.ask.soft and wanted and wanted["kind"] != "rows":
                self._add_scores(found, name, pipe, wanted["kind"], copies)
            if name in self.ask.hard and self.ask.confidence and (sure := confidences(pipe, copies)) is not None:
                _add(found, name, "confidence", sure)
            if name == self.nlp.pipe_names[-1] and name not in self.ask.hard and (wanted or {}).get("kind") != "rows":
                break
            copies = (
                list(pipe.pipe(copies, batch_size=BATCH)) if hasattr(pipe, "pipe") else [pipe(doc) for doc in copies]
            )
            if name in self.ask.soft and wanted and wanted["kind"] == "rows":
                self._add_scores(found, name, pipe, "rows", copies)
            if name in self.ask.hard and wanted:
                for answer, doc in zip(found, copies, strict=True):
                    answer[name] |= annotation(wanted["assigns"], doc, wanted["known"])
        return answers

    def _add_scores(
        self, found: list[dict[str, Answer]], name: str, pipe: Pipe, kind: str, docs: Sequence[Doc]
    ) -> None:
        """A student's loss would be NaN, or infinite, with all that it learns from these scores."""
        _, each = scores(pipe, kind, docs)
        for answer, doc in zip(each, docs, strict=True):
            if not all(numpy.isfinite(values).all() for values in answer.values()):
                facts = {"key": self.key, "source": self.source, "name": name, "text": doc.text[:80]}
                raise ValueError(Errors.T564.format(kind=kind, **facts))
        _add(found, name, "scores", each)

    def _describe(self, name: str) -> Answer:
        with same_random_state():
            return self._described(name)

    def _described(self, name: str) -> Answer:
        pipe = pipe_of(self.nlp, name)
        assigns = list(self.nlp.get_pipe_meta(name).assigns)
        kind = softness(pipe, assigns)
        exclusive = not isinstance(pipe, MultiLabel_TextCategorizer)
        found: Answer = {"assigns": assigns, "kind": kind, "exclusive": exclusive, "source": self.source}
        found |= {
            "component": name,
            "known": sorted(getattr(pipe, "labels", ())),
            "probabilities": name in self.ask.hard and confidences(pipe, []) is not None,
        }
        if isinstance(pipe, MultiLabel_TextCategorizer):
            found["thresholds"] = getattr(pipe, "thresholds", None) or dict.fromkeys(pipe.labels, pipe.cfg["threshold"])
        if kind is not None and name in self.ask.soft and kind != "rows":
            found |= scores(pipe, kind, [])[0]
        return found

    # Where it comes from

    def _load(self) -> Language:
        path = self.path
        config = util.load_config(path / "config.cfg")
        blocks = config.get("components", {})
        # Rows must be there for whoever asks after the last of its own heads.
        keep = {name: {"keep_rows": True} for name, block in blocks.items() if block.get("keep_rows") is False}
        try:
            nlp = spacy.load(path, config={"components": keep} if keep else {})
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(Errors.T540.format(key=self.key, source=self.source, error=error)) from error
        for name in self.ask.names:
            if name not in nlp.pipe_names:
                near = get_close_matches(name, nlp.pipe_names, n=3, cutoff=0.4) or "none"
                facts = {"key": self.key, "source": self.source, "name": name, "near": near}
                off = f"It is disabled there, as are {nlp.disabled}. " if name in nlp.disabled else ""
                raise ValueError(Errors.T541.format(names=nlp.pipe_names, off=off, **facts))
        last = max(nlp.pipe_names.index(name) for name in self.ask.names)
        for name in nlp.pipe_names[last + 1 :]:
            nlp.disable_pipe(name)
        return nlp

    @property
    def path(self) -> Path:
        """RETURNS (Path): The pipeline's folder."""
        if self._path is None:
            self._path = self._find()
        return self._path

    def _find(self) -> Path:
        folder = Path(self.source).expanduser()
        if not folder.is_dir() and self.source.isidentifier() and util.is_package(self.source):
            folder = util.get_package_path(self.source)
        inner = sorted(config.parent for config in folder.glob("*/config.cfg")) if folder.is_dir() else []
        if (folder / "config.cfg").exists():
            return folder
        if len(inner) != 1:
            error = "there is no such folder and no such package." + like(self.source)
            if folder.is_dir():
                error = f"{folder} holds no config.cfg" if not inner else f"it holds several: {[p.name for p in inner]}"
            raise ValueError(Errors.T540.format(key=self.key, source=self.source, error=error))
        return inner[0]

    def _open(self) -> AnswerCache:
        path = self._cache_path()
        if path != self._opened:
            # The pipeline has changed: another one was saved in its folder.
            self._nlp = self._shared = None
            self._opened = path
        return AnswerCache(path, self.key)

    def _cache_path(self) -> Path:
        request = json.dumps([FORMAT, spacy.__version__, self.ask.hard, self.ask.soft, self.ask.confidence])
        name = hashlib.sha256(f"{pipeline_fingerprint(self.path)} {request}".encode()).hexdigest()[:24]
        return self.cache / f"{name}.sqlite"


def _add(found: list[dict[str, Answer]], name: str, part: str, values: Sequence[Answer]) -> None:
    for answer, value in zip(found, values, strict=True):
        answer[name][part] = value


def pipeline_fingerprint(folder: Path) -> str:
    """sha256 of all files of a pipeline, taken once a process as long as none of them changes.

    RETURNS (str): 64 hex digits.
    """
    files = [file for file in sorted(folder.resolve().rglob("*")) if file.is_file() and file.suffix != ".pyc"]
    return _digest(folder.resolve(), tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=8)
def _digest(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, size, _ in files:
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()
