"""`python -m spacy transfer speed-up PIPELINE DATA OUT`: the fastest way to run a pipeline on this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from spacy import util
from wasabi import msg

from ...errors import Errors
from ..app import command
from ..common import CodePath, PipelineName, existing, prepare, show_table, split_names
from ..fit import check_output, save
from ..voice import log_info, result

if TYPE_CHECKING:
    from ...engines.ways import Report


@command("speed-up", table=True)
def speed_up_cli(
    pipeline: PipelineName,
    data_path: Annotated[
        Path, typer.Argument(metavar="DATA", help="Texts not trained on, with labels (.spacy)", callback=existing)
    ],
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the faster pipeline")],
    max_loss: Annotated[float, typer.Option("--max-loss", help="The most points of a score to lose", min=0)] = 0.3,
    ways: Annotated[str, typer.Option("--ways", help="Names, with commas between; all if empty")] = "",
    train_minutes: Annotated[
        float, typer.Option("--train-minutes", help="Distil encoders with fewer layers for so long", min=0)
    ] = 0.0,
    train_texts: Annotated[
        Path | None,
        typer.Option("--train-texts", help="Raw texts to distil on; without, half of those of DATA", callback=existing),
    ] = None,
    layers: Annotated[
        int | None, typer.Option("--layers", help="How many layers to distil; without, half", show_default=False)
    ] = None,
    resamples: Annotated[int, typer.Option("--resamples", help="How often texts are drawn for intervals", min=2)] = 50,
    speed_texts: Annotated[int, typer.Option("--speed-texts", help="Time the first so many texts", min=1)] = 500,
    code_path: CodePath = None,
) -> None:
    """
    Try the ways to run a pipeline faster on this machine, measure each on DATA, and save the fastest that loses at most
    --max-loss points of each of the pipeline's scores.

    What is not installed, or the processor cannot do, is named. PIPELINE stays as it is; a pipeline in OUT is replaced.
    """
    from ...engines.ways import Cut, Measuring

    prepare(code_path, -1)
    log_info()
    check_output(output_path, pipeline)
    report = _speed_up(
        pipeline,
        data_path,
        max_loss=max_loss,
        ways=split_names(ways),
        cut=Cut(train_minutes, train_texts, layers),
        measuring=Measuring(resamples, speed_texts),
    )
    _show(report)
    if report.best is None:
        raise ValueError(Errors.T276.format(most=f"{max_loss:g}"))
    save(report.best.nlp, output_path)
    msg.good(f"Saved {report.best.name} to {output_path}")


def _speed_up(pipeline: str, path: Path, **settings: Any) -> "Report":
    from ...engines.ways import speed_up

    try:
        nlp = util.load_model(pipeline)
    except OSError as error:
        raise ValueError(str(error)) from error
    return speed_up(nlp, pipeline, path, **settings)


def _show(report: "Report") -> None:
    as_it_is = report.tried[0]
    rows = []
    for one in report.tried:
        kept = f", {len(one.kept)} parts in fp32" if one.kept else ""
        speed = (f"{one.speed:,.0f}", f"{one.speed / as_it_is.speed:.2f} x")
        losses = [
            (each.key, f"{100 * each.after:.2f}", f"{each.points:+.2f}", f"{each.low:+.2f} to {each.high:+.2f}")
            for each in one.losses
        ]
        for i, loss in enumerate(losses or [("", "", "", "")]):
            rows.append((one.name + kept, *speed, *loss) if i == 0 else ("", "", "", *loss))
    tried = [
        {"way": one.name, "kept": one.kept, "speed": one.speed, "losses": [asdict(loss) for loss in one.losses]}
        for one in report.tried
    ]
    result(tried=tried, not_tried=report.not_tried, best=None if report.best is None else report.best.name)
    show_table(rows, header=("way", "words/s", "speed", "score", "is", "points lost", "95 %"), aligns="lrrlrrr")
    for name, reason in report.not_tried.items():
        msg.info(f"{name} was not tried: {reason}")
