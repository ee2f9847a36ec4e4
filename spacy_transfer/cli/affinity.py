"""`python -m spacy transfer affinity CONFIG`: which of the tasks on one backbone help or harm which."""

import json
import math
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict, cast

import typer
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training import Example
from spacy.util import registry, resolve_dot_names
from wasabi import msg

from ..errors import Errors, Warnings, WrongUsage
from ..extras import import_extra
from ..integrity import write_picture, write_whole
from ..progress import progress
from .app import command
from .common import OVERRIDES, CodePath, ConfigPath, UseGpu, initialise, read_config, show_table
from .voice import result, warn

if TYPE_CHECKING:
    from ..continual.task_affinity import Lookahead
    from ..pipeline.backbone.component import Backbone

Table = list[list[float | None]]
Batches = Iterable[tuple[int, list[Example]]]


class Affinity(TypedDict):
    """What `affinity.json` holds: tables by pairs of tasks, row by row, as `Lookahead` gives them; null where nothing
    was measured."""

    backbone: str
    tasks: list[str]
    steps: int
    length: float
    affinity: Table
    errors: Table
    cosines: Table
    counts: list[list[int]]


@command("affinity", table=True, context_settings=OVERRIDES)
def affinity_cli(
    ctx: typer.Context,
    config_path: ConfigPath,
    steps: Annotated[int, typer.Option("--steps", help="Steps of the training, one batch each")] = 100,
    every: Annotated[int, typer.Option("--every", help="Measure before every so many steps")] = 1,
    length: Annotated[
        float, typer.Option("--length", help="Of the step that is tried, as a share of the weights' own length")
    ] = 3e-4,
    component: Annotated[
        str | None, typer.Option("--component", help="Name of the backbone, needed where there are several")
    ] = None,
    out: Annotated[
        str, typer.Option("--output", "-o", help="Folder for affinity.json and affinity.png; - for none")
    ] = "affinity",
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Measure which task helps which: train as the config says, and before each step try a step of the backbone on each
    task alone, to see what it does to the loss of the others (Fifty et al. 2021).

    Rows of the table are the tasks that the step is made on, columns those whose loss is looked at: by how many percent
    it falls. Tasks that harm each other may want backbones of their own, other weights, or surgery = "pcgrad". The
    trained weights are thrown away. Override settings of the config as with 'spacy train': --paths.train train.spacy
    """
    check_arguments(steps, every, length, out)
    config = read_config(config_path, list(ctx.args), code=code_path, use_gpu=use_gpu)
    nlp = initialise(config, config_path, use_gpu=use_gpu)
    found = run(nlp, steps=steps, every=every, length=length, backbone=component)
    report(found)
    result(**found)
    if out != "-":
        write(found, Path(out))
        msg.good(f"Wrote {Path(out) / 'affinity.json'} and {Path(out) / 'affinity.png'}")


def check_arguments(steps: int, every: int, length: float, out: str) -> None:
    """Before any work is done.

    RAISES (ImportError, ValueError): When a number is out of range, the folder is a file, or matplotlib is missing.
    """
    if steps < 2 or every < 1 or not 0.0 < length < 1.0:
        raise WrongUsage(Errors.T770.format(steps=steps, every=every, length=length))
    if out == "-":
        return
    import_extra("matplotlib.figure", Errors.T771)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise WrongUsage(Errors.T772.format(path=out))


def run(nlp: Language, *, steps: int, every: int = 1, length: float = 3e-4, backbone: str | None = None) -> Affinity:
    """Train an initialised pipeline as its config says, and measure before the steps. See `affinity_cli`.

    RAISES (ValueError): When there are no tasks to compare, or none ever had a gradient.
    """
    from spacy.training.loop import create_train_batches, train_while_improving

    from ..continual.task_affinity import Lookahead, check_backbone

    config = nlp.config.interpolate()
    settings = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    (corpus,) = resolve_dot_names(config, [settings["train_corpus"]])
    frozen, annotating = settings["frozen_components"], settings["annotating_components"]
    name, tasks = choose(nlp, frozen, backbone)
    component = cast("Backbone", nlp.get_pipe(name))
    check_backbone(component)
    lookahead = Lookahead(nlp, component, tasks, length, frozen, annotating)
    epochs = -1 if settings["max_epochs"] == -1 else 0
    batches = create_train_batches(nlp, corpus, settings["batcher"], epochs)
    training = train_while_improving(
        nlp,
        settings["optimizer"],
        _measured(batches, lookahead, every),
        lambda: (0.0, {}),
        dropout=settings["dropout"],
        eval_frequency=steps + 1,
        accumulate_gradient=settings["accumulate_gradient"],
        patience=0,
        max_steps=steps - 1,
        exclude=frozen,
        annotating_components=annotating,
        before_update=settings["before_update"],
    )
    n_steps = sum(1 for _ in progress(training, what="Affinity", unit=" steps", total=steps))
    if not (lookahead.counts() > 0).any():
        raise ValueError(Errors.T773.format(name=name, steps=n_steps, tasks=", ".join(tasks)))
    tables = (lookahead.means(), lookahead.errors(), lookahead.mean_cosines())
    affinity, errors, products = ([[_or_none(value) for value in row] for row in table] for table in tables)
    counts = lookahead.counts().astype(int).tolist()
    return Affinity(
        backbone=name,
        tasks=tasks,
        steps=n_steps,
        length=length,
        affinity=affinity,
        errors=errors,
        cosines=products,
        counts=counts,
    )


def choose(nlp: Language, frozen: list[str], name: str | None) -> tuple[str, list[str]]:
    """Choose the backbone: the one of that name, or the only one with several tasks.

    RETURNS (Tuple[str, List[str]]): Names of the backbone and of the components that listen to it.
    RAISES (ValueError): When there is none with several tasks, none of that name, or more than one.
    """
    from ..pipeline.backbone.component import Backbone

    found = {
        pipe_name: [task for task in pipe.listener_map if task in nlp.pipe_names and task not in frozen]
        for pipe_name, pipe in nlp.pipeline
        if isinstance(pipe, Backbone) and pipe_name not in frozen and not pipe.frozen
    }
    able = {key: tasks for key, tasks in found.items() if len(tasks) > 1}
    if name is not None and name not in able:
        near = get_close_matches(name, able, n=3, cutoff=0.4) or "none"
        raise ValueError(Errors.T774.format(name=name, near=near, found=able or "none"))
    if not able:
        raise ValueError(Errors.T775.format(found=found or "none", frozen=frozen))
    if name is None and len(able) > 1:
        raise ValueError(Errors.T776.format(found=able))
    name = name or next(iter(able))
    return name, able[name]


def report(found: Affinity) -> None:
    """Print the matrix."""
    tasks = found["tasks"]
    rows = [
        [task, *(_percent(a, e) for a, e in zip(means, errors, strict=True))]
        for task, means, errors in zip(tasks, found["affinity"], found["errors"], strict=True)
    ]
    header = ["step on", *tasks]
    msg.divider(f"{found['backbone']}: by how many percent the loss of each task falls")
    show_table(rows, header=header, aligns="l" + "r" * len(tasks))
    broken = [task for i, task in enumerate(tasks) if (found["affinity"][i][i] or 0.0) < 0.0]
    if broken:
        warn(Warnings.W661.format(tasks=", ".join(broken), length=found["length"]))


def write(found: Affinity, folder: Path) -> None:
    """Write the numbers and the picture into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "affinity.json", json.dumps(found, indent=2).encode("utf8"))
    draw(found, folder / "affinity.png")


def draw(found: Affinity, path: Path) -> None:
    """Draw the matrix: each column in shares of what its own task's step does, so that tasks can be compared."""
    from matplotlib.figure import Figure

    tasks, means = found["tasks"], found["affinity"]
    own = [means[i][i] for i in range(len(tasks))]
    shares = [
        [a / abs(unit) if a is not None and unit else math.nan for a, unit in zip(row, own, strict=True)]
        for row in means
    ]
    size = 2.0 + 0.9 * len(tasks)
    figure = Figure(figsize=(size + 1.0, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="RdBu", vmin=-1.0, vmax=1.0)
    figure.colorbar(image, label="share of what a step on the task itself does")
    axes.set_xticks(range(len(tasks)), tasks, rotation=30, ha="right")
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set(xlabel="loss of", ylabel="step on", title="Percent by which the loss falls")
    for i, row in enumerate(means):
        for j, value in enumerate(row):
            dark = abs(shares[i][j]) > 0.6
            axes.text(j, i, _percent(value), ha="center", va="center", color="white" if dark else "black")
    write_picture(figure, path)


def _measured(batches: Batches, lookahead: "Lookahead", every: int) -> Iterator[tuple[int, list[Example]]]:
    """The batches. spaCy asks for the next one between two steps: it is measured then."""
    for i, (epoch, batch) in enumerate(batches):
        if i % every == 0:
            lookahead.measure(batch)
        yield epoch, batch


def _percent(value: float | None, error: float | None = None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:+.3f}" + ("" if error is None else f" ± {100 * error:.3f}")


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
