"""`python -m spacy transfer tune CONFIG SPACE`: search settings of a config, with Optuna."""

import datetime
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from spacy import util
from wasabi import msg

from ...integrity import write_whole
from ...reports.search_page import BY_FOLDS, OPTIMISTIC, Tried, make_search_page, show
from ...selection.tune.by_folds import error_of_mean
from ...selection.tune.folds import Folds
from ...selection.tune.importances import importances
from ...selection.tune.search import Options, run
from ...selection.tune.space import Range
from ...selection.tune.space_file import read_space
from ...selection.tune.study import ERROR, FIRST, LOST, SCORE, SCORES, SamplerName, Search
from ...types import Config
from ..app import command
from ..common import OVERRIDES, CodePath, ConfigPath, UseGpu, existing, read_config, show_table
from ..voice import result

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_SHOWN = 10


@command("tune", table=True, context_settings=OVERRIDES)
def tune_cli(
    ctx: typer.Context,
    config_path: ConfigPath,
    space_path: Annotated[
        Path, typer.Argument(metavar="SPACE", help="What may change: ranges and lists by dotted key", callback=existing)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the search; one that is there goes on")
    ] = Path("tuning"),
    trials: Annotated[int, typer.Option("--trials", help="Trials, those of earlier calls too", min=1)] = 30,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Time of this call", min=0)] = None,
    sampler: Annotated[SamplerName, typer.Option("--sampler", help="How settings are drawn")] = "tpe",
    n_startup: Annotated[int, typer.Option("--n-startup", help="Trials drawn at random before TPE", min=1)] = 10,
    seed: Annotated[
        int, typer.Option("--seed", help="Of draws and folds; the config has that of the trainings", min=0)
    ] = 0,
    folds: Annotated[
        int | None, typer.Option("--folds", help="Score by cross-validation on the train corpus, in so many folds")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="End hopeless trials early")] = True,
    rows_mb: Annotated[int, typer.Option("--rows-mb", help="Rows of a frozen backbone on the disk", min=0)] = 8192,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Search settings of a config: the config as it stands is trial 0, then come settings that are drawn from SPACE.

    Each trial is a training by spaCy's own loop. Its score is the config's own on the dev corpus. The best pipeline is
    kept in OUTPUT/best, its config in OUTPUT/best.cfg, and a page on all trials in OUTPUT/tune.html. The same command
    goes on where it was stopped, and may run several times at once. Override settings of the config as with
    'spacy train': --paths.train train.spacy

    With --folds the dev corpus is not read: the score is the mean over folds of the train corpus, and the best settings
    are trained on all of it at the end.
    """
    config = read_config(config_path, list(ctx.args), code=code_path, use_gpu=use_gpu)
    by = None if folds is None else _split(config, Folds(folds, seed))
    filled = fill(config)
    search = Search(output, read_space(space_path, filled), config, filled, by)
    told = partial(_tell_cost, search, trials, [])
    options = Options(trials, minutes, sampler, seed, n_startup, prune, use_gpu, rows_mb, told)
    run(search, options, partial(_print_trial, search))
    report(search, {"config": str(config_path), "space": str(space_path)})


def _split(config: Config, folds: Folds) -> Folds:
    """Look at the train corpus. Without evaluations there is no patience, and no need of a dev corpus."""
    paths, training = config.get("paths", {}), config["training"]
    if "dev" in paths and paths["dev"] is None:
        paths["dev"] = paths.get("train")
    if training.get("patience"):
        msg.info(f"patience = {training['patience']} is without effect: by folds nothing is evaluated in a training")
    training["patience"] = 0
    found = folds.check(util.load_model_from_config(config, auto_fill=True))
    msg.info(f"{found.n_texts} different texts in {folds.count} folds")
    if found.rare:
        more = f" and {len(found.rare) - _SHOWN} more" if len(found.rare) > _SHOWN else ""
        msg.info(f"Labels with fewer texts than folds, so not in all of them: {', '.join(found.rare[:_SHOWN])}{more}")
        msg.info(
            "While a label's only text is held out, its head has to be told of it: name all labels in "
            "[initialize.components.NAME] labels"
        )
    return folds


def _tell_cost(search: Search, trials: int, seen: list[float], seconds: float) -> None:
    """After the first training of a call: what all will take."""
    if not seen and search.folds is not None:
        left = trials - sum(trial.state.is_finished() for trial in search.trials())
        count = search.folds.count
        all_of_it = seconds * (left * count + 1)
        shown = f"{all_of_it:.0f} s" if all_of_it < 120 else f"{all_of_it / 60:.0f} min"
        msg.info(
            f"One fold took {seconds:.0f} s. {left} trials of {count} folds and the last training would take about "
            f"{shown}, if all are like this one; those that end early take less"
        )
    seen.append(seconds)


def fill(config: Config) -> Config:
    """RETURNS (Dict[str, Any]): The config with all defaults, interpolated."""
    return util.load_model_from_config(config, auto_fill=True).config.interpolate()


def report(search: Search, facts: dict[str, str]) -> None:
    """Print the table, and write the page.

    facts (Dict[str, str]): For the header of the page.
    """
    tried = [_tried(search, trial) for trial in search.trials()]
    best = search.best()
    counts = {
        state: sum(trial.state == state for trial in tried) for state in ("complete", "pruned", "fail", "running")
    }
    facts = {
        **facts,
        **_judged_by(search),
        "trials": ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none",
        "best": "-" if best is None else f"{_tried(search, best).shown} (trial {best.number})",
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }
    logs = {key for key, setting in search.space.named() if isinstance(setting, Range) and setting.log}
    page = make_search_page(tried, importances(search), logs, facts, by_folds=search.folds is not None)
    write_whole(search.folder / "tune.html", page.encode("utf8", errors="replace"))
    result(trials=[asdict(trial) for trial in tried], best=None if best is None else best.number)
    unit = "step" if search.folds is None else "folds"
    show_table(_rows(tried), header=("trial", "score", "ended", unit, "s", "settings"))
    msg.info(OPTIMISTIC if search.folds is None else BY_FOLDS)
    if best is None and search.folds is not None:
        msg.warn(
            f"No trial has been scored on all {search.folds.count} folds, so there is no best. Type the same command "
            "again, with more --minutes"
        )
    if best is not None and search.kept() == best.number:
        msg.good(f"The best pipeline is in {search.folder / 'best'}, its config in {search.folder / 'best.cfg'}")
    msg.good(f"The page is in {search.folder / 'tune.html'}")


def _judged_by(search: Search) -> dict[str, str]:
    training, folds = search.as_it_stands["training"], search.folds
    if folds is None:
        return {"dev corpus": str(training["dev_corpus"])}
    return {"train corpus": f"{training['train_corpus']}, in {folds.count} folds (seed {folds.seed})"}


def _rows(tried: list[Tried]) -> list[tuple[str, ...]]:
    """The best trials, and always the config as it stands."""
    order = sorted(tried, key=lambda trial: (trial.score is None, -(trial.score or 0.0), trial.number))
    shown = [trial for i, trial in enumerate(order) if i < _SHOWN or trial is tried[0]]
    return [
        (
            str(trial.number),
            trial.shown,
            trial.state,
            str(trial.step),
            f"{trial.seconds:.0f}",
            trial.error or _settings(trial.params),
        )
        for trial in shown
    ]


def _settings(params: Mapping[str, Any]) -> str:
    """Settings with the ends of their names that tell them apart."""
    parts = {name: name.split(".") for name in params}
    ends = {name: [".".join(part[-i:]) for i in range(1, len(part) + 1)] for name, part in parts.items()}
    taken = Counter(end for each in ends.values() for end in each)
    short = {name: next((end for end in each if taken[end] == 1), name) for name, each in ends.items()}
    return ", ".join(f"{short[name]} = {show(value)}" for name, value in params.items())


def _tried(search: Search, trial: "FrozenTrial") -> Tried:
    """What the page says of a trial. The first one has the values of the config, in the space or not."""
    seconds = trial.duration.total_seconds() if trial.duration is not None else 0.0
    params = {name: search.space.value_of(name, value) for name, value in trial.params.items()}
    if FIRST in trial.user_attrs:
        params = search.space.values_in(search.as_it_stands) | params
    return Tried(
        number=trial.number,
        state=trial.state.name.lower(),
        score=trial.user_attrs.get(SCORE),
        step=trial.last_step or 0,
        seconds=seconds,
        params=params,
        error=trial.user_attrs.get(ERROR, LOST if trial.state.name == "FAIL" else ""),
        deviation=error_of_mean(trial.user_attrs.get(SCORES, [])),
    )


def _print_trial(search: Search, trial: "FrozenTrial") -> None:
    tried, best = _tried(search, trial), search.best()
    score = "failed" if tried.error else tried.shown
    at = f"at step {tried.step}" if search.folds is None else f"after {tried.step} folds"
    ended = "" if tried.state == "complete" or tried.error else f", ended {at}"
    # Folds differ, so a trial that ends early is compared with the best one on the same folds.
    there = best.user_attrs.get(SCORES, [])[: tried.step] if best is not None and ended else []
    then = f", {statistics.mean(there):.4f} {at}" if there else ""
    record = "" if best is None else f", best {best.user_attrs[SCORE]:.4f} (trial {best.number}{then})"
    what = tried.error or _settings(tried.params)
    print(f"trial {tried.number}: {score}{ended}{record}, {tried.seconds:.0f} s: {what}", flush=True)  # noqa: T201
