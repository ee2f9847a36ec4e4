"""`python -m spacy transfer calibrate PIPELINE DATA`: temperatures and thresholds for a trained pipeline."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from spacy import util
from wasabi import msg

from ..errors import Errors
from .app import command
from .common import CodePath, PipelineName, UseGpu, existing, prepare, show_table, split_names
from .fit import check_output, save
from .voice import result

if TYPE_CHECKING:
    from ..pipeline.calibration import Calibrated


@command("calibrate", table=True)
def calibrate_cli(
    pipeline: PipelineName,
    data_path: Annotated[
        Path, typer.Argument(metavar="DATA", help="Texts not trained on, with labels (.spacy)", callback=existing)
    ],
    output_path: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the calibrated pipeline; without it, look only")
    ] = None,
    components: Annotated[str, typer.Option("--components", help="Names, with commas between; all if empty")] = "",
    thresholds: Annotated[bool, typer.Option(help="Fit a threshold for each label, where several may hold")] = True,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Fit one temperature for each head, so that its scores are as often right as they say, and thresholds for the labels
    of multilabel heads. Which label has the highest score does not change.

    The texts must not be those of the training. PIPELINE stays as it is; a pipeline in --output is replaced.
    """
    prepare(code_path, use_gpu)
    names = split_names(components) or None
    done = calibrate_pipeline(pipeline, data_path, output_path, components=names, thresholds=thresholds)
    _show(done)
    result(calibrated=[dataclasses.asdict(each) for each in done])
    if output_path is None:
        msg.info("Nothing was saved. Give a folder: --output DIR")
    else:
        msg.good(f"Saved the pipeline to {output_path}")


def calibrate_pipeline(
    pipeline: str | Path,
    data_path: Path,
    output_path: Path | None = None,
    *,
    components: list[str] | None = None,
    thresholds: bool = True,
) -> "list[Calibrated]":
    """Load a pipeline, calibrate it, and save it.

    output_path (Optional[Path]): Folder for the calibrated pipeline; None to save nothing.
    components (Optional[List[str]]): Which; None for all that can be calibrated.
    RAISES (ValueError): When nothing in the texts can be calibrated on; nothing is saved then.
    """
    from ..corpora.docs import read_examples
    from ..pipeline.calibration import calibrate

    if output_path is not None:
        check_output(output_path)
    nlp = util.load_model(pipeline)
    examples = list(read_examples(nlp, data_path))
    done = calibrate(nlp, examples, components=components, per_label_thresholds=thresholds)
    if not done:
        raise ValueError(Errors.T356.format(path=data_path, count=len(examples)))
    if output_path is not None:
        save(nlp, output_path)
    return done


def _show(done: "list[Calibrated]") -> None:
    header = ("component", "decisions", "temperature", "NLL before", "after", "ECE before", "after")
    rows = [
        (each.name, each.n_decisions, f"{each.temperature:.3f}", *(f"{x:.4f}" for x in (*each.nll, *each.ece)))
        for each in done
    ]
    show_table(rows, header=header, aligns="lrrrrrr")
    for each in done:
        if each.thresholds:
            found = [(label, f"{value:.3f}") for label, value in each.thresholds.items()]
            show_table(found, header=(f"label of {each.name}", "threshold"), aligns="lr")
