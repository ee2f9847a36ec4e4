"""The voice of commands: results on standard output, warnings and errors on standard error, `--quiet`, `--json`."""

import contextlib
import io
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import click
import numpy
import typer
from spacy import util
from wasabi import msg

from ..errors import Errors, WrongUsage
from ..integrity import write_whole
from ..progress import no_progress


def check_json(path: Path | None) -> Path | None:
    """Look whether results may be written to a file, before any work is done.

    RAISES (typer.BadParameter): When it is no .json file, or its folder does not exist.
    """
    if path is not None and str(path) != "-" and (path.suffix != ".json" or not path.resolve().parent.is_dir()):
        raise typer.BadParameter(Errors.T480.format(path=path))
    return path


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors")]
Json = Annotated[
    Path | None,
    typer.Option("--json", help="File for the numbers of the table; - for the screen", callback=check_json),
]


@dataclass
class Voice:
    """How the command that runs speaks."""

    quiet: bool
    json_path: Path | None
    screen: TextIO
    results: dict[str, Any] = field(default_factory=dict)


_voice: ContextVar[Voice | None] = ContextVar("voice", default=None)


@contextlib.contextmanager
def speaking(quiet: bool, json_path: Path | None) -> Iterator[None]:
    """Within, a command speaks as its options say. A user's mistake becomes one line on standard error, and exit
    code 1, or 2 where it can be seen in the command line.

    quiet (bool): Whether nothing is said on standard output but what `give` prints.
    json_path (Optional[Path]): File for what `result` keeps; - for standard output, which holds nothing else then.
    """
    voice = Voice(quiet, json_path, sys.stdout)
    is_silent = quiet or str(json_path) == "-"
    token = _voice.set(voice)
    unsaid = io.StringIO()
    try:
        with contextlib.ExitStack() as stack:
            if is_silent:
                stack.enter_context(contextlib.redirect_stdout(unsaid))
            if quiet:
                stack.enter_context(no_progress())
            yield
            _write(voice)
    except WrongUsage as error:
        raise typer.BadParameter(str(error)) from error
    except (ValueError, ImportError, OSError) as error:
        fail(str(error))
    except click.UsageError as error:  # spaCy raises click's own, which Typer may not know.
        raise typer.BadParameter(error.format_message()) from error
    except BaseException as error:
        if not (isinstance(error, (SystemExit, typer.Exit)) and _code(error) == 0):
            sys.stderr.write(unsaid.getvalue())  # It may say what is wrong: spaCy prints its errors.
        raise
    finally:
        _voice.reset(token)


def fail(message: str) -> NoReturn:
    """Print an error on standard error, and leave with exit code 1."""
    with contextlib.redirect_stdout(sys.stderr):
        msg.fail(message, exits=1)


def warn(message: str) -> None:
    """Print a warning on standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        msg.warn(message)


def give(text: str) -> None:
    """Print what was asked for, with --quiet too."""
    voice = _voice.get()
    print(text, file=None if voice is None else voice.screen)


def result(**values: Any) -> None:
    """Keep numbers for --json, by name."""
    voice = _voice.get()
    if voice is not None:
        voice.results.update(values)


def log_info() -> None:
    """Let spaCy's logger tell of the steps, unless the command is quiet."""
    voice = _voice.get()
    if voice is None or not voice.quiet:
        util.logger.setLevel(logging.INFO)


def _write(voice: Voice) -> None:
    """The results as JSON. A number that is not finite becomes null."""
    if voice.json_path is None:
        return
    is_screen = str(voice.json_path) == "-"
    text = json.dumps(_plain(voice.results), indent=2, ensure_ascii=is_screen)
    if is_screen:
        give(text)
    else:
        write_whole(voice.json_path, f"{text}\n".encode("utf8", "backslashreplace"))


_PLAIN: dict[type, Callable[[Any], Any]] = {
    dict: lambda values: {str(key): _plain(value) for key, value in values.items()},
    list: lambda values: [_plain(value) for value in values],
    tuple: lambda values: [_plain(value) for value in values],
    numpy.ndarray: lambda values: _plain(values.tolist()),
    numpy.generic: lambda value: _plain(value.item()),
    float: lambda value: value if math.isfinite(value) else None,
    Path: str,
}


def _plain(value: Any) -> Any:
    for kind, make in _PLAIN.items():
        if isinstance(value, kind):
            return make(value)
    return value


def _code(error: BaseException) -> Any:
    return error.code if isinstance(error, SystemExit) else getattr(error, "exit_code", 1)
