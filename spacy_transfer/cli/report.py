"""`python -m spacy transfer report PIPELINE DATA OUT.html`: scores and mistakes of a pipeline, as one page."""

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from spacy.language import Language
from wasabi import msg

from ..errors import Errors, WrongUsage
from ..integrity import write_whole
from .app import command
from .common import CodePath, PipelineName, UseGpu, existing, load_pipeline, prepare, show_table
from .voice import result

if TYPE_CHECKING:
    from ..reports.numbers import Score


@command("report", table=True)
def report_cli(
    pipeline: PipelineName,
    data_path: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Annotated texts: a .spacy file, or a folder of them", callback=existing),
    ],
    output_path: Annotated[
        Path, typer.Argument(metavar="OUT", help="The page: OUT.html. One that is there is replaced")
    ],
    resamples: Annotated[
        int, typer.Option("--resamples", help="How often texts are drawn for intervals", min=1)
    ] = 1000,
    mistakes: Annotated[int, typer.Option("--mistakes", help="The most mistakes a head", min=0)] = 20,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Write one page on a pipeline's classifiers, entities, tags and numbers: scores with confidence intervals, confusion
    matrix, reliability diagram, the most confident mistakes with their text, and scores by length of the texts.

    The page holds all that it shows: it loads nothing and runs no script. It does hold texts of your data.
    """
    prepare(code_path, use_gpu)
    scores = report(pipeline, data_path, output_path, resamples=resamples, mistakes=mistakes)
    for title, rows in scores.items():
        msg.divider(title)
        show_table([(name, s.shown) for name, s in rows.items()])
    result(scores={title: {name: asdict(s) for name, s in rows.items()} for title, rows in scores.items()})
    msg.good(f"Wrote {output_path}")


def report(
    pipeline: str, data: Path, output: Path, *, resamples: int = 1000, mistakes: int = 20
) -> "dict[str, dict[str, Score]]":
    """Load, predict, count and write.

    pipeline (str): Folder or name of a package.
    data (Path): A .spacy file or a folder of them.
    RETURNS (Dict[str, Dict[str, Score]]): Scores with their intervals, by head.
    """
    from ..corpora.docs import read_examples
    from ..reports.collect import collect
    from ..reports.page import make_page

    if not output.parent.is_dir() or output.is_dir():
        raise WrongUsage(Errors.T735.format(path=output))
    nlp = load_pipeline(pipeline)
    examples = list(read_examples(nlp, data))
    parts = collect(nlp, examples, resamples=resamples, most=mistakes)
    page = make_page(parts, _facts(nlp, pipeline, data, len(examples)), resamples=resamples)
    write_whole(output, page.encode("utf8", errors="replace"))
    return {f"{part.title} ({part.component})": {score.name: score for score in part.scores} for part in parts}


def _facts(nlp: Language, pipeline: str, data: Path, n_docs: int) -> dict[str, str]:
    meta, folder = nlp.meta, Path(pipeline)
    # What spaCy calls a pipeline that nobody has named says nothing.
    is_named = (meta["name"], meta["version"]) != ("pipeline", "0.0.0")
    return {
        "pipeline": "/".join(folder.resolve().parts[-3:]) if folder.is_dir() else pipeline,
        **({"name and version": f"{meta['lang']}_{meta['name']} {meta['version']}"} if is_named else {}),
        "components": ", ".join(nlp.pipe_names),
        "data": str(data),
        "docs": f"{n_docs:,}",
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }
