"""`python -m spacy transfer delta PIPELINE OUT`: a pipeline without the weights that it has from its base."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from wasabi import msg

from ...errors import Warnings
from ..app import command
from ..common import CodePath, PipelineName, UseGpu, load_pipeline, prepare, show_table
from ..fit import check_output, save
from ..voice import result, warn

if TYPE_CHECKING:
    from ...engines.deltas import Delta


@command("delta", table=True)
def delta_cli(
    pipeline: PipelineName,
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the delta")],
    base: Annotated[
        str | None,
        typer.Option("--base", help="Where the base is now, if not at the config's source", show_default=False),
    ] = None,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Save a pipeline without the weights that its encoder has from its source: heads, adapters and changed layers only.

    spacy.load finds the base where the config says, checks its sha256, and gives the same pipeline, bit for bit.
    Several such pipelines in a process share the base's memory. 'python -m spacy package' makes a wheel of OUT that
    requires the package of the base, where it came from one.
    """
    prepare(code_path, use_gpu)
    check_output(output_path)
    deltas = write_delta(pipeline, output_path, base)
    header = ("component", "base", "requires", "adapter", "own weights", "in MB")
    show_table([_row(delta) for delta in deltas], header=header, aligns="lllrrr")
    size = sum(file.stat().st_size for file in output_path.rglob("*") if file.is_file())
    result(deltas=[asdict(delta) for delta in deltas], bytes=size)
    msg.good(f"Saved the delta to {output_path} ({size / 2**20:.1f} MB)")
    for delta in deltas:
        if not delta.base.requirement:
            warn(Warnings.W227.format(source=delta.base.source))


def write_delta(pipeline: str, output_path: Path, base: str | None = None) -> "list[Delta]":
    """Load a pipeline, and save it as a delta.

    RAISES (ValueError): When there is no such pipeline, or it is no delta of its base.
    """
    from ...engines.deltas import as_delta

    nlp = load_pipeline(pipeline)
    with as_delta(nlp, base) as deltas:
        save(nlp, output_path)
    return deltas


def _row(delta: "Delta") -> tuple[str, ...]:
    numbers = (f"{delta.n_adapter:,}", f"{delta.n_weights:,}", f"{4 * (delta.n_adapter + delta.n_weights) / 2**20:.1f}")
    return delta.component, delta.base.source, delta.base.requirement or "-", *numbers
