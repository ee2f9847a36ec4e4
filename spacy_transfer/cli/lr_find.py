"""`python -m spacy transfer lr-find CONFIG`: the learning rate range test on a config's own training."""

import copy
import math
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Annotated

import numpy
import typer
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training import Example
from spacy.ty import ListenedToComponent
from spacy.util import registry, resolve_dot_names
from thinc.api import Optimizer
from wasabi import msg

from ..errors import Errors, Warnings, WrongUsage
from ..extras import import_extra
from ..integrity import write_picture
from ..progress import progress
from ..tuning.lr_range import Divergence, Losses, Suggestion, rates_between, suggest
from ..types import Config
from .app import command
from .common import OVERRIDES, CodePath, ConfigPath, UseGpu, initialise, read_config, show_table
from .voice import result, warn

# Names of the highest rate in the schedules of Thinc and ours.
_HIGHEST = ("learn_rate", "initial_rate", "max_rate", "max_lr", "base_rate")
# The steps of a schedule that are searched for its highest rate.
_LONG_TRAINING = 20_000
BeforeUpdate = Callable[[Language, Config], None]
"""spaCy's `[training] before_update`."""
Step = tuple[list[Example], Config, bool | None]
"""What spaCy's training loop gives after each step: the batch, facts, and whether the score is the best so far."""


@command("lr-find", table=True, context_settings=OVERRIDES)
def lr_find_cli(
    ctx: typer.Context,
    config_path: ConfigPath,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Where to draw the curve; - for no picture")
    ] = "lr_find.png",
    low: Annotated[float, typer.Option("--low", help="The first and lowest rate")] = 1e-7,
    high: Annotated[float, typer.Option("--high", help="The last rate, if the training does not diverge before")] = 1.0,
    steps: Annotated[int, typer.Option("--steps", help="Steps, one mini-batch each")] = 100,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Find a learning rate: train with rates that rise from step to step until the loss diverges, and suggest a
    tenth of the rate at which the loss was lowest.

    Batches, optimizer, tuning and frozen components are the config's own; all groups of the optimizer rise
    alike. Nothing but the picture is written. Override settings of the config as with 'spacy train':
    --paths.train train.spacy
    """
    check_picture(output)
    rates = rates_between(low, high, steps)
    config = read_config(config_path, list(ctx.args), code=code_path, use_gpu=use_gpu)
    nlp = initialise(config, config_path, use_gpu=use_gpu)
    seen, losses, base = run(nlp, rates)
    if output != "-":
        draw(output, seen, losses, None)
    found = suggest(seen, losses)
    if output != "-":
        draw(output, seen, losses, found)
        msg.good(f"The curve is in {output}")
    report(nlp, found, base)


def check_picture(output: str) -> None:
    """Before any work is done: can the picture be drawn, and put there?

    output (str): The file, or "-" for none.
    """
    if output == "-":
        return
    import_extra("matplotlib.figure", Errors.T720)
    if not Path(output).resolve().parent.is_dir():
        raise WrongUsage(Errors.T721.format(path=output))


def run(nlp: Language, rates: list[float]) -> tuple[list[float], list[float], float]:
    """Train, with one rate a step, until the loss diverges.

    nlp (Language): The pipeline, initialised; its weights move.
    rates (List[float]): The rates of what has no group of its own; groups keep their ratio to it.
    RETURNS (Tuple[List[float], List[float], float]): The rates that were reached, the losses, and the highest rate
        that the config has.
    """
    from spacy.training.loop import create_train_batches, train_while_improving

    config = nlp.config.interpolate()
    config["training"]["optimizer"] = hold_at_peak(config["training"]["optimizer"])
    base = _base_rate(config["training"]["optimizer"])
    settings = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    (corpus,) = resolve_dot_names(config, [settings["train_corpus"]])
    epochs = -1 if settings["max_epochs"] == -1 else 0
    optimizer = settings["optimizer"]
    heads, divergence = Losses(_trained_heads(nlp, settings["frozen_components"])), Divergence()
    training = train_while_improving(
        nlp,
        optimizer,
        _without_short_ones(create_train_batches(nlp, corpus, settings["batcher"], epochs)),
        lambda: (0.0, {}),
        dropout=settings["dropout"],
        eval_frequency=len(rates) + 1,
        accumulate_gradient=settings["accumulate_gradient"],
        patience=0,
        max_steps=len(rates) - 1,
        exclude=settings["frozen_components"],
        annotating_components=settings["annotating_components"],
        before_update=_set_rates(optimizer, rates, base, settings["before_update"]),
    )
    steps = progress(_until_not_finite(training), what="Range test", unit=" steps", total=len(rates))
    for batch, info, _ in steps:
        if divergence.sees(heads.add(info["losses"], len(batch), sum(len(eg.reference) for eg in batch))):
            break
    # From the first loss that is no number on, rates and losses would not stand side by side.
    losses = list(takewhile(math.isfinite, heads.curve()))
    return rates[: len(losses)], losses, base


def hold_at_peak(block: Config) -> Config:
    """An optimizer's block with constant rates: the highest of each schedule.

    block (Dict[str, Any]): The block `[training.optimizer]`, interpolated.
    """
    block = copy.deepcopy(block)
    for place in _places(block).values():
        rate = place["learn_rate"]
        if isinstance(rate, dict):
            rate = registry.resolve({"rate": rate})["rate"]
        place["learn_rate"] = rate if isinstance(rate, (int, float)) else max(islice(rate, _LONG_TRAINING))
    return block


def draw(output: str, rates: list[float], losses: list[float], found: Suggestion | None) -> None:
    """Draw the curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.semilogx(rates, losses, color="0.75", label="mini-batches")
    if found is not None:
        axes.semilogx(rates, found.smoothed, color="C0", label="smoothed")
        axes.axvline(found.rate, color="C1", linestyle="--", label=f"suggested: {found.rate:.2g}")
    axes.set(xlabel="learning rate", ylabel="loss (1 = before training)")
    if losses:
        # Losses after the divergence are so high that the rest of the curve would look flat.
        top = min(1.5 * max(losses[: max(1, len(losses) // 10)]), 1.05 * max(losses))
        axes.set_ylim(min(losses) - 0.05 * (top - min(losses)), top)
    axes.legend()
    write_picture(figure, Path(output))


def report(nlp: Language, found: Suggestion, base: float) -> None:
    """Print the suggestion, and what to set.

    base (float): The highest rate in the config.
    """
    msg.good(f"Suggested rate: {found.rate:.2g}   (the loss is lowest at {found.minimum:.2g})")
    if found.still_falls:
        warn(Warnings.W730.format(rate=f"{found.minimum:.2g}"))
    block = nlp.config.interpolate()["training"]["optimizer"]
    peaks = _places(hold_at_peak(block))
    rows = []
    for key, place in _places(block).items():
        rate = peaks[key]["learn_rate"] * found.rate / base
        if isinstance(place["learn_rate"], dict):
            inner = next((name for name in _HIGHEST if name in place["learn_rate"]), "...")
            key = f"{key}.{inner}"
        rows.append((f"--training.optimizer.{key}", f"{rate:.2g}"))
    show_table(rows, header=("set", "to"))
    result(rate=found.rate, minimum=found.minimum, overrides=dict(rows))


def _trained_heads(nlp: Language, frozen: list[str]) -> list[str]:
    """Components whose losses count. That of a backbone is the size of its gradients."""
    return [
        name
        for name, pipe in nlp.pipeline
        if name not in frozen and not isinstance(pipe, ListenedToComponent) and getattr(pipe, "is_trainable", False)
    ]


def _places(block: Config) -> dict[str, Config]:
    """Blocks that have a rate, by the key of it."""
    groups = {f"groups.{name}.": group for name, group in (block.get("groups") or {}).items()}
    found = {"": block, **groups}
    return {f"{key}learn_rate": place for key, place in found.items() if place.get("learn_rate") is not None}


def _base_rate(block: Config) -> float:
    """The rate that groups keep their ratio to: the optimizer's own, or the highest where that is 0."""
    rates = [float(place["learn_rate"]) for place in _places(block).values()]
    base = rates[0] if rates and rates[0] else max(rates, default=0.0)
    if not 0.0 < base < math.inf:
        raise ValueError(Errors.T723)
    return base


def _set_rates(optimizer: Optimizer, rates: list[float], base: float, then: BeforeUpdate | None) -> BeforeUpdate:
    """A callback for the beginning of each step."""
    own = optimizer.learn_rate

    def before_update(nlp: Language, info: Config) -> None:
        factor = rates[info["step"]] / base
        if hasattr(optimizer, "scale_rates"):
            optimizer.scale_rates(factor)
        else:
            optimizer.learn_rate = own * factor
        if then is not None:
            then(nlp, info)

    return before_update


def _without_short_ones(batches: Iterable[tuple[int, list[Example]]]) -> Iterator[tuple[int, list[Example]]]:
    """Leave out the last batch of an epoch if it is less than half a batch: its loss varies too much."""
    sizes: list[int] = []
    for epoch, batch in batches:
        sizes.append(sum(len(example.reference) for example in batch))
        if 2 * sizes[-1] >= numpy.median(sizes):
            yield epoch, batch


def _until_not_finite(training: Iterable[Step]) -> Iterator[Step]:
    """The steps until the training has diverged, and an optimizer refuses a gradient that is not finite."""
    n_steps = 0
    try:
        for step in training:
            n_steps += 1
            yield step
    except ValueError as error:
        if not n_steps or not re.search(r"(?i)\b(nan|infinite|not finite)\b", str(error)):
            raise
