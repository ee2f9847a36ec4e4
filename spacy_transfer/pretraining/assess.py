"""Held-out losses of a source as it comes, and of pretrained files, side by side."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import srsly
from spacy.schemas import ConfigSchemaPretrain
from spacy.tokens import Doc
from spacy.training.pretrain import create_pretraining_model, ensure_docs
from spacy.util import dot_to_object, load_model_from_config, registry
from thinc.api import Config, Model, fix_random_seed

from ..backbones.pretrained_weights import PRETRAINING
from ..corpora.raw_text import reader_of
from ..errors import Errors
from ..progress import progress
from ..text_table import text_table
from ..types import Config as Block
from .objective import Measured, Pretraining, PretrainingAttrs, pretraining_of
from .to_source import require_pretraining

_SOURCE = "source"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    perplexity (Optional[float]): None where the loss is no negative log-likelihood.
    note (str): What to know when it is compared with others.
    """

    name: str
    loss: float
    perplexity: float | None
    note: str


@dataclass(frozen=True)
class Assessment:
    """The table.

    unit (str): What the losses are means over.
    n_units (int): How many of them are held out, in the first row.
    """

    objective: str
    unit: str
    n_docs: int
    n_units: int
    rows: list[Row]

    def as_dict(self) -> Block:
        """RETURNS (Dict[str, Any]): For JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """RETURNS (str): The table."""

        lines = [
            (row.name, f"{row.loss:.4f}", "" if row.perplexity is None else f"{row.perplexity:,.1f}", row.note)
            for row in self.rows
        ]
        header = ("", "loss", "perplexity", "")
        text = text_table(lines, header=header, aligns="lrrl")
        return f"{text}\n\n{self.objective}: mean over each {self.unit}, {self.n_units} in {self.n_docs} held-out docs."


def assess(config: Config, files: list[Path]) -> Assessment:
    """Compute the held-out loss of a source and of pretrained files, with the same masks for all.

    config (Config): The config of the pretraining.
    files (List[Path]): What `spacy pretrain` wrote.
    RETURNS (Assessment): The table.
    RAISES (ValueError): When a file is of another objective or does not fit the config, or nothing is held out.
    """
    config = require_pretraining(config)
    for path in files:
        if not path.is_file():
            raise ValueError(Errors.T862.format(key="FILE", path=path))
    seed = config["training"]["seed"]
    if seed is not None:
        fix_random_seed(seed)
    model, first = _build(config)
    if not PretrainingAttrs.fits(model):
        raise ValueError(Errors.T867.format(found=config["pretraining"]["objective"].get("@architectures")))
    pretraining = pretraining_of(model)
    reader = reader_of(first)
    docs = [] if reader is None else reader.held_out_docs()
    if not docs:
        raise ValueError(Errors.T866)
    settings = pretraining.objective.start(first, reader)
    pretraining.restore(settings, None)
    bar = progress(what="Held-out texts", total=len(docs) * (1 + len(files)))
    measured = [pretraining.held_out(docs)]
    bar.update(len(docs))
    is_fresh = bool(getattr(pretraining.output._model, "is_fresh", pretraining.output._model is not None))
    notes = ["its output layer begins anew" if is_fresh else ""]
    for path in files:
        data = path.read_bytes()
        _check_file(path, data)
        model.get_ref("tok2vec").from_bytes(data)
        measured.append(pretraining.held_out(docs))
        bar.update(len(docs))
        notes.append("" if pretraining.settings == settings else "its output layer has other settings")
    bar.close()
    names = [_SOURCE, *map(str, files)]
    rows = [_row(pretraining, *line) for line in zip(names, measured, notes, strict=True)]
    objective = pretraining.objective
    return Assessment(objective.name, objective.unit, len(docs), measured[0].count, rows)


def _build(config: Config) -> tuple[Model[list[Doc], Measured], list[Doc]]:
    """What `spacy pretrain` would train, and its first batch."""
    config["initialize"]["init_tok2vec"] = None
    nlp = load_model_from_config(config)
    filled = nlp.config.interpolate()
    settings = registry.resolve(filled["pretraining"], schema=ConfigSchemaPretrain)
    # As spaCy does: the other corpora may have no path.
    corpus = registry.resolve({"corpus": dot_to_object(filled, settings["corpus"])})["corpus"]
    model = create_pretraining_model(nlp, settings)
    first = ensure_docs(next(iter(settings["batcher"](corpus(nlp))), []))
    return model, first


def _check_file(path: Path, data: bytes) -> None:
    saved = srsly.msgpack_loads(data)
    if not isinstance(saved, dict) or (saved.get(PRETRAINING) or {}).get("settings") is None:
        raise ValueError(Errors.T865.format(path=path))


def _row(pretraining: Pretraining, name: str, measured: Measured, note: str) -> Row:
    is_likelihood = pretraining.objective.is_likelihood
    perplexity = math.exp(min(measured.mean, 700.0)) if is_likelihood else None
    return Row(name, measured.mean, perplexity, note)
