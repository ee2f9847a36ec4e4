"""`python -m spacy transfer annotate PIPELINE DATA OUT`: a pipeline over many texts, which goes on when killed."""

import enum
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from wasabi import msg

from ...errors import Errors, Warnings, WrongUsage
from ...progress import progress
from ..app import command
from ..common import CodePath, PipelineName, UseGpu, split_names
from ..voice import fail, result, warn

if TYPE_CHECKING:
    from spacy.language import Language

    from ...scale.job import Job, Settings
    from ...scale.worker import Options


class FormatName(str, enum.Enum):
    """Of the output."""

    jsonl = "jsonl"
    parquet = "parquet"
    spacy = "spacy"


class EngineName(str, enum.Enum):
    """What runs the pipeline."""

    local = "local"
    ray = "ray"


@command("annotate", table=True)
def annotate_cli(
    pipeline: PipelineName,
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Texts: .txt (a line a text), .jsonl, .csv, .tsv, .parquet, .spacy; a file, a folder, a pattern with "
            "*, or an address that fsspec opens",
        ),
    ],
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the shards")],
    output_format: Annotated[FormatName, typer.Option("--format", "-f", help="Of the shards")] = FormatName.jsonl,
    columns: Annotated[
        str, typer.Option(help="With commas between: text, labels, scores, entities, vectors ...; all but large ones")
    ] = "",
    text_field: Annotated[str, typer.Option("--text", help="Key or column of the texts")] = "text",
    id_field: Annotated[str, typer.Option("--id", help="Key or column of the id; else FILE:NUMBER")] = "id",
    shard_size: Annotated[int, typer.Option(help="Texts in a shard", min=1)] = 10_000,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Texts in a batch", min=1)] = 64,
    n_process: Annotated[
        int | None, typer.Option("--n-process", help="Processes; of Ray actors; 1, with Ray as many as fit", min=1)
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Of each process; of an actor 1", min=1)] = None,
    engine: Annotated[EngineName, typer.Option(help="ray: on a Ray cluster")] = EngineName.local,
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster: HOST:PORT, ray://HOST:PORT or auto; this machine without it")
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first text that breaks")] = False,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Run a pipeline over texts, and write shards with ids, metadata and the columns that were chosen.

    The same command goes on after it was killed. Texts that break are in OUT/errors.jsonl.
    """
    from ...scale.input_rows import Fields
    from ...scale.job import Settings
    from ...scale.worker import Options

    code = None if code_path is None else code_path.resolve()
    options = Options(batch_size, threads, fail_fast, code, use_gpu)
    if address is not None and engine is EngineName.local:
        raise WrongUsage(Errors.T979.format(option="--address"))
    settings = Settings(output_format.value, split_names(columns), Fields(text_field, id_field), shard_size)
    workers = Workers(n_process, engine is EngineName.ray, address)
    done = annotate(pipeline, source, output_path, settings, options=options, workers=workers)
    result(texts=done.total - done.broken, broken=done.broken, shards=done.shards, folder=output_path)
    if done.broken:
        said = Warnings.W960.format(count=done.broken, total=done.total, path=done.errors, error=done.first)
        if done.broken == done.total:
            fail(said)
        warn(said)
    texts, shards = _count(done.total - done.broken, "text"), _count(done.shards, "shard")
    msg.good(f"Wrote {texts} in {shards} to {output_path}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Done:
    """What a job came to: texts, those that broke, shards, and the file and first reason of those that broke."""

    total: int
    broken: int
    shards: int
    errors: Path
    first: str


@dataclass(frozen=True)
class Workers:
    """Processes, or actors of a Ray cluster at an address."""

    count: int | None = None
    use_ray: bool = False
    address: str | None = None


def annotate(
    pipeline: str,
    source: str,
    output_path: Path,
    settings: "Settings | None" = None,
    *,
    options: "Options | None" = None,
    workers: Workers = Workers(),
) -> Done:
    """Annotate texts, or go on with that.

    source (str): A file, a folder, a pattern with *, or an address that fsspec opens.
    settings (Optional[Settings]): Of the output. Without columns it has all that are filled and not large.
    RETURNS (Done): What it came to, with all that earlier calls did.
    RAISES (ValueError): When input or output cannot be read or written, or belong to another job.
    """
    from ...extras import import_extra
    from ...scale.input_files import find_files
    from ...scale.job import Settings, locked, open_job
    from ...scale.output_columns import choose_columns
    from ...scale.outputs import check_parquet
    from ...scale.worker import Options, load_pipeline

    options, settings = options or Options(), settings or Settings()
    if workers.use_ray:
        import_extra("ray", Errors.T975)
    if settings.format == "parquet":
        check_parquet("--format parquet")
    files = find_files(source)
    if Path(source).is_dir() and Path(source).resolve() in (output_path.resolve(), *output_path.resolve().parents):
        raise ValueError(Errors.T956.format(folder=output_path, source=source))
    nlp = load_pipeline(pipeline, options)
    chosen = choose_columns(nlp, list(settings.columns), docs=settings.format == "spacy")
    settings = replace(settings, columns=chosen)
    with locked(output_path):
        job = open_job(output_path, pipeline, files, settings, options.code)
        try:
            _run(job, options, nlp, workers)
        finally:
            broken = job.gather_errors()
    return _summary(job, broken)


def _run(job: "Job", options: "Options", nlp: "Language", workers: Workers) -> None:
    from ...scale.engine_local import run_here
    from ...scale.engine_ray import run_on_ray

    todo = job.todo()
    total = sum(job.count(number) for number in range(len(job.shards)))
    done = total - sum(job.count(number) for number in todo)
    if not todo:
        return
    with progress(what="Annotating", total=total, initial=done, smoothing=0.1) as bar:
        if workers.use_ray:
            run_on_ray(job, todo, options, bar.update, address=workers.address, actors=workers.count)
        else:
            run_here(job, todo, options, nlp, workers.count or 1, bar.update)


def _summary(job: "Job", broken: int) -> Done:
    from ...scale.job import ERRORS

    path = job.folder / ERRORS
    first = ""
    if broken:
        with path.open(encoding="utf8") as lines:
            first = json.loads(next(lines))["error"]
    total = sum(job.count(number) for number in range(len(job.shards)))
    return Done(total, broken, len(job.shards), path, first)
