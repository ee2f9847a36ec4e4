"""`python -m spacy transfer init DATA [OUT]`: from labelled data to a project that trains, reports and packages."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from wasabi import msg

from ...errors import Errors
from ...text_table import text_table
from ..app import command
from ..common import existing, language, one_of
from ..voice import result
from .config import TASKS, TUNINGS

if TYPE_CHECKING:
    from spacy.language import Language

    from ...starting.choice import Choice
    from ...starting.findings import Line
    from ...starting.preparing import Given, Prepared
    from ...starting.recipe import Task, Tuning

_MEASURED = 2000


@command("init", table=True)
def init_cli(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled data: a file, or a folder", callback=existing)],
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="Folder of the project; default: DATA without its ending"),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Column with the texts; A,B for pairs")] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Column with the labels; A,B,C: columns that say yes or no each")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", help=f"One of: {', '.join(TASKS)}, pair", callback=one_of(*TASKS, "pair")),
    ] = None,
    dev: Annotated[
        Path | None, typer.Option("--dev", help="Data for evaluation while training", callback=existing)
    ] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Data for the test at the end", callback=existing)] = None,
    backbone: Annotated[str | None, typer.Option("--backbone", "-b", help="Its source; default: MiniLM")] = None,
    tuning: Annotated[
        str | None, typer.Option("--tuning", help=f"One of: {', '.join(TUNINGS)}", callback=one_of(*TUNINGS))
    ] = None,
    lang: Annotated[str, typer.Option("--lang", "-l", help="Code of the language", callback=language)] = "en",
    name: Annotated[str | None, typer.Option("--name", help="Of the package; default: that of DATA")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the split and the training")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write a project that is there anew")] = False,
    use_gpu: Annotated[
        int | None, typer.Option("--gpu-id", "-g", help="GPU ID or -1 for CPU; default: a GPU if there is one")
    ] = None,
) -> None:
    """
    Make a spaCy project out of labelled data: CSV, TSV, JSON lines, Parquet, Excel, CoNLL, IOB, CoNLL-U, exports of
    Prodigy, Label Studio and doccano, a folder per label, a saved dataset, or .spacy. The data is checked and split,
    and gets a config for its size and this machine.
    """
    from ...starting.preparing import Given

    given = Given(data, dev, test, text, label, task, seed)
    folder = init(
        given,
        out,
        backbone=backbone,
        tuning=cast("Tuning | None", tuning),
        lang=lang,
        name=name,
        use_gpu=use_gpu,
        force=force,
    )
    msg.good(f"Wrote the project {folder}")
    first = "" if find_spec("build") or find_spec("wheel") else "pip install build && "  # For the wheel at the end.
    print(f"\nNext: {first}cd {folder} && python -m spacy project run all\n")  # noqa: T201


def init(
    given: "Given",
    out: Path | None = None,
    *,
    backbone: str | None = None,
    tuning: "Tuning | None" = None,
    lang: str = "en",
    name: str | None = None,
    use_gpu: int | None = None,
    force: bool = False,
) -> Path:
    """Read, check, split, choose and write.

    out (Optional[Path]): Folder of the project; None for the name of the data.
    use_gpu (Optional[int]): Id of a GPU, or -1; None for a GPU if there is one.
    force (bool): Write a project that is there anew.
    RETURNS (Path): The folder of the project.
    RAISES (ValueError): When something cannot be read, guessed or found.
    """
    from ...starting.choice import check_backbone, check_tuning
    from ...starting.preparing import prepare
    from ...starting.project import Project, check_out, package_name, write_project

    name = package_name(Path(name) if name else given.data)
    # Beside a folder of data, not into it.
    folder = out or Path(f"{name}_project" if given.data.is_dir() else name)
    check_out(folder, is_forced=force)
    source, nlp, gpu = check_backbone(backbone), _blank(lang), _gpu(use_gpu)
    check_tuning(given.task, source, tuning)
    found = prepare(nlp, given)
    check_tuning(found.task, source, tuning)
    for line in found.said:
        msg.info(line)
    choice, lines = _choose(nlp, source, found, lang=lang, tuning=tuning, gpu=gpu, seed=given.seed)
    table = text_table(lines, header=("found", "how many", "what was done"))
    print(f"\n{table}\n")  # noqa: T201
    print(f"Task {found.task}, backbone {source}, training: {choice.recipe.tuning}")  # noqa: T201
    for reason in choice.reasons:
        print(f"  - {reason}")  # noqa: T201
    _say_time(choice)
    if found.left_out:
        msg.info(f"Rows or entities left out: {len(found.left_out)}. See {folder / 'data' / 'left_out.jsonl'}")
    result(
        folder=folder,
        task=found.task,
        backbone=source,
        tuning=choice.recipe.tuning,
        found=[dict(zip(("what", "count", "done"), line, strict=True)) for line in lines],
        reasons=choice.reasons,
        seconds=choice.seconds,
        seconds_of_all=choice.whole,
        left_out=len(found.left_out),
    )
    examples = [row.text for row in found.rows["test"][:3]]
    project = Project(
        name,
        given.data.name,
        found.task,
        choice,
        found.docs,
        found.left_out,
        examples,
        table,
        given.seed,
        gpu,
    )
    write_project(project, folder)
    return folder


def _blank(lang: str) -> "Language":
    import spacy

    try:
        nlp = spacy.blank(lang)
    except ImportError as error:
        raise ValueError(Errors.T959.format(error=" ".join(str(error).split()))) from error
    nlp.max_length = sys.maxsize  # spaCy's bound is for its parser and entities, which are not here.
    return nlp


def _gpu(use_gpu: int | None) -> int:
    """RETURNS (int): The GPU to use, which is activated; -1 for none."""
    import spacy
    from thinc.api import require_gpu

    if use_gpu is None:
        return 0 if spacy.prefer_gpu() else -1
    if use_gpu >= 0:
        require_gpu(use_gpu)
    return use_gpu


def _choose(
    nlp: "Language", source: str, found: "Prepared", *, lang: str, tuning: "Tuning | None", gpu: int, seed: int
) -> "tuple[Choice, list[Line]]":
    """RETURNS (Tuple[Choice, List[Line]]): What is trained; and the lines of the table of what was found."""
    import random

    from ...starting.choice import Sizes, choose, measure
    from ...starting.preparing import describe

    texts = [row.text for rows in found.rows.values() for row in rows]
    sample = random.Random(seed).sample(texts, min(_MEASURED, len(texts)))
    measured = measure(nlp, source, sample, gpu_id=gpu)
    n_train, n_dev, n_test = (len(found.rows[name]) for name in ("train", "dev", "test"))
    sizes = Sizes(n_train, n_dev, max(1, len(found.labels)), n_test)
    task = cast("Task", found.task)
    pairs, span_sizes = found.pairs, found.span_sizes
    choice = choose(task, source, sizes, measured, lang=lang, pairs=pairs, span_sizes=span_sizes, tuning=tuning)
    return choice, [*describe(found, measured.pieces, measured.window), *found.lines]


def _say_time(choice: "Choice") -> None:
    from ...starting.choice import in_words, range_in_words

    training = f"the training alone about {in_words(choice.seconds)}"
    whole = f"Training, test, report and wheel will take {range_in_words(choice.whole)}"
    print(f"\n{whole} ({training}), if nothing else runs on this machine.\n")  # noqa: T201
