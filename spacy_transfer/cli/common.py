"""Parts of all commands: reading a config, loading a pipeline, replacing a folder, printing a table."""

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from spacy import util
from spacy.language import Language
from thinc.api import Config

from .._compat import spacy_cli_parts
from ..errors import Errors, WrongUsage
from ..installed import like
from ..text_table import text_table
from .voice import warn

if TYPE_CHECKING:
    from ..backbones.sources import Source

AnyPath = TypeVar("AnyPath", str, Path, Path | None)


def existing(path: AnyPath) -> AnyPath:
    """RETURNS (Path): What was typed, a path that is there.

    RAISES (typer.BadParameter): When it is not.
    """
    if path is not None and not Path(path).exists():
        raise typer.BadParameter(Errors.T483.format(path=path))
    return path


def installed(pipeline: str | None) -> str | None:
    """RETURNS (Optional[str]): What was typed, the name or folder of a pipeline.

    RAISES (typer.BadParameter): When it is none.
    """
    if pipeline is None or pipeline.startswith("blank:") or (Path(pipeline) / "config.cfg").is_file():
        return pipeline
    if not pipeline or not util.is_package(pipeline):
        raise typer.BadParameter(Errors.T756.format(path=pipeline) + like(pipeline))
    return pipeline


def one_of(*known: str) -> Callable[[str | None], str | None]:
    """RETURNS (Callable): It gives what was typed, or raises `typer.BadParameter` where that is none of the known."""

    def check(found: str | None) -> str | None:
        if found is not None and found not in known:
            raise typer.BadParameter(Errors.T982.format(found=found, known=", ".join(known)))
        return found

    return check


def language(code: str) -> str:
    """RETURNS (str): What was typed, the code of a language that spaCy has.

    RAISES (typer.BadParameter): When it is none.
    """
    try:
        util.get_lang_class(code)
    except ImportError as error:
        if "[E048]" in str(error):  # Else a package does not import that spaCy looks for parts in.
            raise typer.BadParameter(Errors.T995.format(lang=code, error=" ".join(str(error).split()))) from error
    return code


def find_source(source: str) -> "Source":
    """RETURNS (Source): What was typed as the source of an encoder.

    RAISES (WrongUsage): When it cannot be found.
    """
    from ..backbones.sources import resolve_source

    try:
        return resolve_source(source)
    except ValueError as error:
        raise WrongUsage(str(error)) from error


# Beside arguments of their own, commands take overrides of the config: --training.max_steps 100
OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}
ConfigPath = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG", help="Path to config file", callback=lambda path: path if str(path) == "-" else existing(path)
    ),
]
PipelineName = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="Name or folder of a trained pipeline", callback=installed)
]
CodePath = Annotated[
    Path | None,
    typer.Option(
        "--code",
        "-c",
        help="Path to Python file with additional code (registered functions) to be imported",
        callback=existing,
    ),
]
UseGpu = Annotated[int, typer.Option("--gpu-id", "-g", help="GPU ID or -1 for CPU")]


def prepare(code: Path | None, use_gpu: int) -> None:
    """Import a file of Python, and choose the device."""
    parts = spacy_cli_parts()
    parts.import_code(code)
    parts.setup_gpu(use_gpu, silent=True)


def split_names(names: str) -> list[str]:
    """RETURNS (List[str]): The names in a list with commas; empty ones are left out."""
    return [name.strip() for name in names.split(",") if name.strip()]


def read_config(path: Path, arguments: list[str], *, code: Path | None, use_gpu: int) -> Config:
    """Read a config with its overrides, as `spacy train` does.

    path (Path): The file, or "-" for standard input.
    code (Optional[Path]): A file of Python to import first.
    use_gpu (int): Id of a GPU, or -1.
    RETURNS (Config): The config, with its variables.
    """
    parts = spacy_cli_parts()
    overrides = parts.parse_config_overrides(arguments)
    prepare(code, use_gpu)
    with parts.show_validation_error(path):
        return util.load_config(path, overrides=overrides, interpolate=False)


def initialise(config: Config, path: Path, *, use_gpu: int) -> Language:
    """The pipeline, initialised for training.

    use_gpu (int): Id of a GPU, or -1.
    """
    from spacy.training.initialize import init_nlp

    with spacy_cli_parts().show_validation_error(path, hint_fill=False):
        return init_nlp(config, use_gpu=use_gpu)


def load_pipeline(path: str) -> Language:
    """RETURNS (Language): The pipeline in a folder or package.

    RAISES (ValueError): When there is none.
    """
    import spacy

    try:
        return spacy.load(path)
    except OSError as error:
        raise ValueError(Errors.T756.format(path=path) + like(path)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Within, write a new folder beside it, which takes its place in the end: a failure leaves the old one unchanged.

    path (Path): The folder; it need not exist.
    YIELDS (Path): The new folder, which does not exist yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".transfer-", dir=path.parent) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        yield new
        if path.exists():
            path.rename(old)
        new.rename(path)


@contextlib.contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Print the warnings about checkpoints (W38x) without the lines of code they come from."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        if str(warning.message).startswith("[W38"):
            warn(str(warning.message))


def show_table(rows: Collection[Sequence[object]], *, header: Sequence[str] = (), aligns: str = "") -> None:
    """Print a table: see `text_table`."""
    print(f"\n{text_table(rows, header=header, aligns=aligns)}\n")  # noqa: T201
