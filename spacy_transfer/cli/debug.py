"""`python -m spacy debug transfer CONFIG`: trainable parameters, learning rates, and known faults of a config."""

import warnings
from pathlib import Path
from typing import Annotated

import typer
from spacy.util import registry
from thinc.api import Config
from wasabi import msg

from .app import command
from .common import OVERRIDES, CodePath, ConfigPath, UseGpu, initialise, read_config
from .voice import result, warn


@command("debug transfer", table=True, context_settings=OVERRIDES)
def debug_transfer_cli(
    ctx: typer.Context,
    config_path: ConfigPath,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
    count_labels: Annotated[
        bool, typer.Option("--count-labels/--no-count-labels", help="Count the labels in the corpora")
    ] = True,
) -> None:
    """
    Show which parameters a training would move, in which layers, and at what rate; without training. Warns of
    settings that are known to fail, each with its key in the config and the way out. Counts the labels of our heads in
    the corpora: 'spacy debug data' knows spaCy's own factories only.

    The pipeline is initialised, so the training data must be there. Override settings of the config as with
    'spacy train': --training.optimizer.learn_rate 0.00005. The exit code is 0 with warnings, and 1 when
    the training would not start.
    """
    config = read_config(config_path, list(ctx.args), code=code_path, use_gpu=use_gpu)
    debug_transfer(config, config_path, use_gpu=use_gpu, labels=count_labels)


def debug_transfer(config: Config, path: Path, *, use_gpu: int = -1, labels: bool = False) -> list[str]:
    """Print the table and the warnings.

    labels (bool): Count the labels in the corpora too.
    use_gpu (int): Id of a GPU, or -1.
    RAISES (ValueError): When the training would not start.
    """
    from ..pipeline.backbone.console_logger import planned_table
    from .config_checks import check_config, check_pipeline
    from .data_checks import show_labels

    said = check_config(config.interpolate())
    for warning in said:
        warn(warning)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nlp = initialise(config, path, use_gpu=use_gpu)
    deaf = [str(each.message) for each in caught if str(each.message).startswith("[W438]")]
    for each in caught:
        if str(each.message) not in deaf:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    training = nlp.config.interpolate()["training"]
    optimizer = registry.resolve({"optimizer": training["optimizer"]})["optimizer"]
    print(planned_table(nlp, optimizer))  # noqa: T201
    found = [*deaf, *(show_labels(nlp) if labels else []), *check_pipeline(nlp, training, optimizer)]
    for warning in found:
        warn(warning)
    said += found
    result(warnings=said)
    if not said:
        msg.good("Nothing that is known to go wrong")
    return said
