"""Candidates: blocks of backbones, from a config, from sources, and from a file of named blocks."""

import configparser
import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spacy.util import load_config

from ..backbones.sources import resolve_path, resolve_source
from ..errors import Errors
from ..types import Config

TRANSFORMER = "spacy-transfer.TransformerBackbone.v1"
VECTORS = "spacy-transfer.VectorsBackbone.v1"
PIPELINE = "spacy-transfer.PipelineBackbone.v1"
OWN = "own"
_KNOWN = {TRANSFORMER, VECTORS, PIPELINE}
_HEADER = 128
"""Bytes of an empty table of vectors, which a pipeline without vectors has too."""


@dataclass(frozen=True)
class Candidate:
    """A backbone that may stand in the config.

    name (str): For tables.
    block (Dict[str, Any]): Its block `model`.
    sweeps (bool): Whether each depth is a candidate of its own.
    is_own (bool): Whether it is the config's own.
    """

    name: str
    block: Config
    sweeps: bool = False
    is_own: bool = False

    @property
    def n_top(self) -> int:
        """RETURNS (int): Of how many top layers the rows are, side by side."""
        layers = self.block.get("layers")
        return layers if isinstance(layers, int) else 1

    @property
    def is_transformer(self) -> bool:
        """RETURNS (bool): Whether it has rows of docs of its own."""
        return self.block["@architectures"] == TRANSFORMER

    def at(self, depth: int | None) -> Config:
        """RETURNS (Dict[str, Any]): The block, cut to a depth; None for the block as it is."""
        if depth is None:
            return self.block
        n_top = min(self.n_top, depth)
        layers = {"layers": n_top if n_top > 1 else "last"} if self.n_top > 1 else {}
        return {**self.block, "depth": depth, **layers}


@dataclass(frozen=True)
class Unread:
    """A candidate that cannot be read.

    reason (str): The message of the error.
    """

    name: str
    reason: str


def document_kind(block: Config) -> str:
    """RETURNS (str): What a backbone's rows of docs are: "mean" or "cls"."""
    return str(block.get("document", "mean"))


def own_candidate(block: Config) -> Candidate:
    """RETURNS (Candidate): The config's own backbone; a whole transformer is cut to its depths too."""
    source = block.get("source")
    name = f"{source} ({OWN})" if source else OWN
    return Candidate(name, block, _sweeps(block), True)


def _sweeps(block: Config) -> bool:
    """Whether one pass gives the rows of all depths: not of a learned mix of layers."""
    is_whole = block.get("@architectures") == TRANSFORMER and block.get("depth") is None
    return is_whole and block.get("layers") != "mix"


def from_sources(sources: Sequence[str], own: Config) -> tuple[list[Candidate], list[Unread]]:
    """Candidates by their sources. Where the config has the same architecture, its other settings are taken.

    sources (Sequence[str]): Transformers, files or folders of vectors, spaCy pipelines.
    own (Dict[str, Any]): The block of the config's own backbone.
    RETURNS (Tuple[List[Candidate], List[Unread]]): A pipeline with an encoder and vectors is two candidates.
    """
    found, unread = list[Candidate](), list[Unread]()
    for source in dict.fromkeys(sources):
        try:
            architectures, inside = _architectures(source)
        except (ValueError, OSError, ImportError) as error:
            unread.append(Unread(source, str(error)))
            continue
        for architecture in architectures:
            block = {"@architectures": architecture, "source": inside if architecture == VECTORS else source}
            if own.get("@architectures") == architecture:
                block = {**copy.deepcopy(own), **block}
                block.pop("depth", None)
            what = {VECTORS: " (vectors)", PIPELINE: " (tok2vec)"}.get(architecture, "")
            name = source + what if len(architectures) > 1 else source
            found.append(Candidate(name, block, _sweeps(block)))
    return found, unread


def from_file(path: Path) -> list[Candidate]:
    """Candidates by blocks, which are taken as they are.

    path (Path): A file in the syntax of configs: a section `[NAME]` for each block `model`.
    RAISES (ValueError): When it cannot be read, a section is no block of a backbone, or there is none.
    """
    try:
        config = load_config(path, interpolate=True)
    except (OSError, ValueError, configparser.Error) as error:
        raise ValueError(Errors.T948.format(path=path, error=" ".join(str(error).split()))) from error
    if not config:
        raise ValueError(Errors.T885.format(what=f"{path} has no section"))
    for name, block in config.items():
        if not isinstance(block, dict) or "@architectures" not in block:
            raise ValueError(Errors.T886.format(path=path, name=name))
    return [Candidate(name, dict(block)) for name, block in config.items()]


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """RETURNS (List[Candidate]): Without those that have the block of an earlier one; each with a name of its own."""
    found = list[Candidate]()
    for candidate in candidates:
        if all(candidate.block != other.block for other in found):
            names = {other.name for other in found}
            name = next(name for name in _names(candidate.name) if name not in names)
            found.append(replace(candidate, name=name))
    return found


def _names(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name} ({i})" for i in itertools.count(2))


def _architectures(source: str) -> tuple[list[str], str]:
    """RETURNS (Tuple[List[str], str]): What can read a source; and the source of its vectors, which may be a folder
    inside."""
    path = resolve_path(source)
    if path.is_file() or _holds_vectors(path):
        return [VECTORS], source
    found = resolve_source(source)
    if found.kind == "folder":
        return [TRANSFORMER], source
    config = load_config(found.path / "config.cfg")
    components = config.get("components", {}).values()
    factories = [block.get("factory") for block in components]
    own = [name for block in components if (name := (block.get("model") or {}).get("@architectures")) in _KNOWN]
    if own:
        return own[:1], source
    if any(name in ("transformer", "curated_transformer") for name in factories):
        return [TRANSFORMER], source
    vectors = found.path / "vocab" / "vectors"
    has_vectors = vectors.is_file() and vectors.stat().st_size > _HEADER
    is_inside = path.is_dir() and found.path != path
    inside = f"{source}/{found.path.relative_to(path)}" if is_inside else source
    return ([PIPELINE] if "tok2vec" in factories else []) + ([VECTORS] if has_vectors else []) or [PIPELINE], inside


def _holds_vectors(path: Path) -> bool:
    """Whether a folder has vectors: Model2Vec's, or an array beside a list of words."""
    if not path.is_dir() or (path / "config.cfg").exists():
        return False
    config = path / "config.json"
    if config.exists():
        return '"model2vec"' in config.read_text(encoding="utf8", errors="replace").replace("'", '"')
    return not list(path.glob("*/config.cfg"))
