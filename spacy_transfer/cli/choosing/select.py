"""`python -m spacy transfer select CONFIG`: backbones ranked for the heads of a config, on its training corpus."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from catalogue import RegistryError
from spacy.util import load_model_from_config, registry
from thinc.api import Config
from wasabi import msg

from ..._compat import spacy_cli_parts
from ...checks import COUNT, NOT_NEGATIVE
from ...errors import Errors, WrongUsage
from ...extras import import_extra
from ...selection.candidates import distinct, from_file, from_sources, own_candidate
from ..app import command
from ..common import OVERRIDES, CodePath, ConfigPath, UseGpu, existing, initialise, read_config
from ..voice import result, warn

if TYPE_CHECKING:
    from ...selection.estimators.estimate import Estimator
    from ...selection.kept_rows import KeptRows
    from ...selection.ranking import Ranking, Settings

DEFAULT = "LinearProbe"
_ESTIMATORS = "spacy_transfer.selection.estimators"


@command("select", table=True, context_settings=OVERRIDES)
def select_cli(
    ctx: typer.Context,
    config_path: ConfigPath,
    backbone: Annotated[
        list[str] | None,
        typer.Option("--backbone", "-b", help="Folder, hub id or package of a transformer, vectors, or a pipeline"),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option("--candidates", help="File with a section [NAME] for each block of a backbone", callback=existing),
    ] = None,
    estimator: Annotated[str, typer.Option("--estimator", help="Name of a registered estimator")] = DEFAULT,
    max_texts: Annotated[int, typer.Option("--max-texts", help="Texts to read, a sample stratified by label")] = 2000,
    max_words: Annotated[
        int, typer.Option("--max-words", help="Words that these texts have together, at most")
    ] = 100_000,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Tokens to score, for heads that read them")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", help="Of samples, folds and random weights")] = 0,
    min_speed: Annotated[float, typer.Option("--min-speed", help="Words a second that are needed")] = 0.0,
    max_mb: Annotated[float, typer.Option("--max-mb", help="Megabytes that the backbone may have")] = math.inf,
    training_cost: Annotated[
        bool, typer.Option("--training-cost/--no-training-cost", help="Measure training steps of the best")
    ] = True,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write the config with the recommended backbone")
    ] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Where to draw it, .png or .svg")] = None,
    cache: Annotated[
        str | None, typer.Option("--cache", help="Folder for what heads read, for a later call; - for none")
    ] = None,
    keep_rows: Annotated[
        Path | None,
        typer.Option("--keep-rows", help="Folder for the choice's rows, which the written config reads in training"),
    ] = None,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Rank backbones for the heads of a config, on its own training corpus, without training any of them: transformers at
    every depth, vectors, encoders of pipelines, and the poolings that the heads could have.

    The table shows speed and size beside each score. The fastest of those that are within one standard error of the
    best is recommended. Override settings of the config as with 'spacy train': --paths.train train.spacy
    """
    check_numbers(max_texts=max_texts, max_words=max_words, max_tokens=max_tokens, min_speed=min_speed, max_mb=max_mb)
    check_files(output, picture)
    config = read_config(config_path, list(ctx.args), code=code_path, use_gpu=use_gpu)
    from ...selection.feature_files import default_folder
    from ...selection.kept_rows import MOST_MB
    from ...selection.ranking import Settings
    from ...selection.selected import as_dict, as_text, draw
    from ...selection.winner import with_candidate, write_config

    folder = None if cache == "-" else default_folder() if cache is None else Path(cache)
    kept = None if keep_rows is None else rows_for(config, keep_rows, output)
    limits = max_texts, max_words, max_tokens, seed, min_speed, max_mb
    settings = Settings(find_estimator(estimator), *limits, folder, training_cost, kept)
    name, found = run(config, config_path, backbone or [], candidates, settings, use_gpu=use_gpu)
    print(f"\n{as_text(found)}\n")  # noqa: T201
    chosen = found.chosen
    result(**as_dict(found))
    if picture is not None:
        draw(found, picture)
    if output is not None:
        block, is_own = chosen.block, chosen.candidate.is_own
        best = with_candidate(config, name, block, is_own, chosen.poolings)
        if keep_rows is not None:
            best["components"][name].update(cache_folder=str(keep_rows), cache_disk_mb=MOST_MB)
            msg.good(f"Kept the rows of {found.n_kept:,} texts in {keep_rows}")
        write_config(best, output)
    for what, path in {"picture": picture, "config": output}.items():
        if path is not None:
            msg.good(f"Wrote the {what} to {path}")


def run(
    config: Config, path: Path, sources: list[str], candidates: Path | None, settings: "Settings", *, use_gpu: int = -1
) -> tuple[str, "Ranking"]:
    """Rank the candidates.

    sources (List[str]): Of backbones.
    candidates (Optional[Path]): A file of named blocks.
    RETURNS (Tuple[str, Ranking]): Name of the backbone's component, and the result.
    """
    from ...selection.head_tasks import backbone_name, find_heads, with_stand_in
    from ...selection.ranking import rank

    name = backbone_name(config)
    with spacy_cli_parts().show_validation_error(path, hint_fill=False):
        whole = load_model_from_config(config.interpolate(), auto_fill=True).config
    own = whole["components"][name]["model"]
    others, unread = from_sources(sources, own)
    named = [] if candidates is None else from_file(candidates)
    nlp = initialise(with_stand_in(whole, name), path, use_gpu=use_gpu)
    heads, skipped = find_heads(nlp, name)
    for message in skipped:
        warn(message)
    everything = distinct([own_candidate(own), *others, *named])
    return name, rank(nlp, name, heads, everything, unread, whole, settings)


def rows_for(config: Config, folder: Path, output: Path | None) -> "KeptRows":
    """Where to keep rows for the training that follows.

    RAISES (ValueError): When no config would read them, or its backbone is not frozen.
    """
    from ...selection.head_tasks import backbone_name
    from ...selection.kept_rows import KeptRows

    name = backbone_name(config)
    component = config.interpolate()["components"][name]
    if output is None or component.get("frozen") is not True:
        raise ValueError(Errors.T899.format(folder=folder, name=name))
    try:
        return KeptRows(folder, component.get("cache_dtype", "float32"))
    except OSError as error:
        raise ValueError(Errors.T427.format(name=name, folder=folder, error=error)) from error


def find_estimator(name: str) -> "Estimator":
    """RETURNS (Estimator): With its defaults, by its registered name or the part of it without our prefix and version.

    RAISES (ValueError): When there is none.
    """
    full = name if "." in name else f"spacy-transfer.{name}.v1"
    try:
        found = registry.misc.get(full)()
    except RegistryError:
        found = None
    if not callable(found):
        builders = registry.misc.get_all().items()
        known = sorted(key for key, build in builders if build.__module__.startswith(_ESTIMATORS))
        raise WrongUsage(Errors.T897.format(found=name, known=", ".join(known)))
    estimator: Estimator = found
    return estimator


def check_numbers(**numbers: float) -> None:
    """RAISES (ValueError): When a number is out of its range."""
    for name, found in numbers.items():
        wanted = COUNT if isinstance(found, int) else NOT_NEGATIVE
        if found not in wanted and found != math.inf:
            raise WrongUsage(Errors.T898.format(option=f"--{name.replace('_', '-')}", found=found, wanted=wanted))


def check_files(output: Path | None, picture: Path | None) -> None:
    """Look whether what was asked for can be written, before any work is done."""
    for option, path in {"--output": output, "--picture": picture}.items():
        if path is not None and not path.resolve().parent.is_dir():
            raise WrongUsage(Errors.T895.format(option=option, path=path))
    if picture is not None:
        if picture.suffix not in (".png", ".svg"):
            raise WrongUsage(Errors.T896.format(path=picture))
        import_extra("matplotlib.figure", Errors.T894)
