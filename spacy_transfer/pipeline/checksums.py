"""Saving of components: their files are whole, and have checksums."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import srsly
from spacy import util
from spacy.errors import Errors as SpacyErrors
from spacy.pipeline.trainable_pipe import TrainablePipe
from thinc.api import Model
from thinc.util import convert_recursive, is_xp_array

from ..errors import Errors
from ..heads.layers import TemperatureAttrs
from ..integrity import has_checksum, read_checked, unpack, write_checked
from ..types import ArrayModule, Config

# Stands in the file `cfg` of components that have checksums: one that is missing there is an error.
_MARK = "checksums"
_PipeT = TypeVar("_PipeT", bound="CheckedFiles")


class CheckedFiles(TrainablePipe):
    """A component whose `to_disk` and `from_disk` use checksums. The files are spaCy's, `cfg` and `model`, with
    `cfg.sha256` and `model.sha256` beside them."""

    needs_checksum = False
    """Whether the model has had a checksum from the first version on."""

    def before_saving(self) -> None:
        """Called before the model is saved."""

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """RETURNS (bytes): The component. A step that waits is made first."""
        self.before_saving()
        return super().to_bytes(exclude=exclude)

    def from_bytes(self: _PipeT, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> _PipeT:
        """Load the component.

        RETURNS (CheckedFiles): self.
        RAISES (ValueError): When a weight is no number.
        """
        super().from_bytes(bytes_data, exclude=exclude)
        _check_numbers(self.model, f"components.{self.name}")
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component, each file with its checksum.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): Fields to leave out.
        """
        self.before_saving()
        writers = {
            "cfg": lambda p: write_checked(p, srsly.json_dumps({**self.cfg, _MARK: "sha256"}, indent=2).encode("utf8")),
            "vocab": lambda p: self.vocab.to_disk(p, exclude=exclude),
            "model": lambda p: write_checked(p, self.model.to_bytes()),
        }
        util.to_disk(path, writers, exclude)

    def from_disk(self: _PipeT, path: str | Path, *, exclude: Iterable[str] = ()) -> _PipeT:
        """Load the component. A file that is missing, cut short or changed is an error; checksums may be missing in
        what was saved before there were any.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): Fields to leave out.
        RETURNS (CheckedFiles): self.
        """
        folder, exclude = Path(path), list(exclude)
        is_old = not has_checksum(folder / "cfg")
        cfg: Config = {}
        if "cfg" not in exclude:
            cfg = _read_cfg(folder / "cfg")
            is_old = cfg.pop(_MARK, None) is None
        if not is_old:
            _check_whole(folder, exclude)
        data = None
        if "model" not in exclude:
            data = read_checked(folder / "model", may_lack=is_old and not self.needs_checksum)
        self.cfg.update(cfg)
        if "vocab" not in exclude:
            self.vocab.from_disk(folder / "vocab", exclude=exclude)
        if data is not None:
            _fill(self.model, data, str(folder / "model"))
        return self


def _read_cfg(path: Path) -> Config:
    data = read_checked(path, may_lack=True)
    try:
        cfg = srsly.json_loads(data.decode("utf8"))
    except ValueError as error:
        raise ValueError(Errors.T437.format(where=path, error=error)) from error
    if not isinstance(cfg, dict):
        raise ValueError(Errors.T437.format(where=path, error="it holds no dictionary"))
    if _MARK in cfg:
        read_checked(path)  # A checksum that was there when this was written.
    return cfg


def _check_whole(folder: Path, exclude: list[str]) -> None:
    """The vocabulary is the last that spaCy writes of a pipeline. Without it spaCy loads all the same, and knows no
    norms, vectors or strings."""
    pipeline = folder.parent
    if "vocab" in exclude and (pipeline / "config.cfg").exists() and not (pipeline / "vocab").exists():
        raise ValueError(Errors.T407.format(path=pipeline / "vocab"))


def _fill(model: Model, data: bytes, where: str) -> None:
    msg = convert_recursive(is_xp_array, model.ops.asarray, unpack(data, where))
    nodes = msg.get("nodes")
    if not isinstance(nodes, list) or len(nodes) != sum(1 for _ in model.walk()):
        raise ValueError(SpacyErrors.E149)
    try:
        model.from_dict(msg)
    except AttributeError:
        raise ValueError(SpacyErrors.E149) from None
    except (TypeError, LookupError) as error:
        raise ValueError(Errors.T437.format(where=where, error=repr(error))) from error
    _check_numbers(model, where)


def _check_numbers(model: Model, where: str) -> None:
    """Refuse weights that are NaN or infinite: all that they predict would be wrong, and no error would say so."""
    for node in model.walk():
        for name in node.param_names:
            if node.has_param(name) and not _is_finite(node.ops.xp, node.get_param(name)):
                what = "values that are NaN or infinite"
                raise ValueError(Errors.T133.format(where=where, name=f"{node.name}.{name}", what=what))
        temperature = TemperatureAttrs.of(node).temperature
        if not (isinstance(temperature, int | float) and 0 < temperature < float("inf")):
            raise ValueError(Errors.T133.format(where=where, name="temperature", what=repr(temperature)))


def _is_finite(xp: ArrayModule, values: Any) -> bool:
    # The sum is several times as fast. It is not finite if one number is not; it may also overflow.
    return bool(xp.isfinite(xp.sum(values)) or xp.isfinite(values).all())
