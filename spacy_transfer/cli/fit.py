"""`python -m spacy transfer fit CONFIG OUT`: heads without training, by `fit = "maxent"`."""

import time
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated

import typer
from spacy import util
from spacy.language import DEFAULT_CONFIG, Language
from spacy.util import registry
from thinc.api import Config
from wasabi import msg

from ..errors import Errors
from ..types import Config as Block
from .app import command
from .common import (
    OVERRIDES,
    CodePath,
    ConfigPath,
    UseGpu,
    initialise,
    one_of,
    read_config,
    replacing,
    show_table,
)
from .voice import log_info, result

CLASSIFIERS = ["transfer_textcat", "transfer_textcat_multilabel"]
FACTORIES = [*CLASSIFIERS, "transfer_ner", "transfer_tagger"]
_SHOWN = {
    "accuracy (micro F1)": "cats_micro_f",
    "macro F1": "cats_macro_f",
    "macro AUC": "cats_macro_auc",
    "entities, F1": "ents_f",
    "tags, accuracy": "tag_acc",
    "parts of speech, accuracy": "pos_acc",
}


@command("fit", table=True, context_settings=OVERRIDES)
def fit_cli(
    ctx: typer.Context,
    config_path: ConfigPath,
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the pipeline")],
    label_texts: Annotated[
        str | None,
        typer.Option(
            help='"names": the names of the labels are examples too, see label_texts', callback=one_of("names")
        ),
    ] = None,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Solve the heads of a pipeline (classifiers, entities, tags) on the rows of its backbone as they are, and save it:
    seconds, and no training. The backbone does not move.

    Scores on the dev corpus are shown if there is one. Override settings of the config as with 'spacy train':
    --paths.train train.spacy. Nothing is written before all is done; a pipeline in OUT is replaced.
    """
    check_output(output_path)
    config = read_config(config_path, list(ctx.args), code=code_path, use_gpu=use_gpu)
    log_info()
    scores = fit(config, config_path, output_path, label_texts=label_texts, use_gpu=use_gpu)
    if scores is None:
        msg.info("No dev corpus, so there are no scores. Give one: --paths.dev PATH")
    else:
        msg.info(f"Scores on {_dev_texts(config)}:")
        result(scores=scores)
        show_table([(what, f"{scores[key]:.1%}") for what, key in _SHOWN.items() if scores.get(key) is not None])
    msg.good(f"Saved the pipeline to {output_path}")


def fit(
    config: Config, path: Path, output_path: Path, *, label_texts: str | None = None, use_gpu: int = -1
) -> Block | None:
    """Initialise a pipeline with `fit = "maxent"` for every head in it that takes it, evaluate it, and save it.

    label_texts (Optional[str]): "names", and classifiers learn from the labels' names too; None for what the config
        says.
    use_gpu (int): Id of a GPU, or -1.
    RETURNS (Optional[Dict[str, Any]]): Scores on the dev corpus; None if there is none.
    """
    check_output(output_path)
    config = config.copy()
    settings = config.setdefault("initialize", {}).setdefault("components", {})
    for name in _heads(config):
        settings.setdefault(name, {})["fit"] = "maxent"
        if label_texts is not None and config["components"][name]["factory"] in CLASSIFIERS:
            settings[name]["label_texts"] = label_texts
    dev = config["training"]["dev_corpus"]
    has_dev = _can_be_read(config, dev)
    if not has_dev:
        # spaCy opens both corpora, though only one is read.
        given = _swap(config, dev, _swap(config, config["training"]["train_corpus"]))
    start = time.perf_counter()
    nlp = initialise(config, path, use_gpu=use_gpu)
    util.logger.info("Fitted in %.1f s", time.perf_counter() - start)
    if has_dev:
        (corpus,) = util.resolve_dot_names(nlp.config.interpolate(), [dev])
        scores = nlp.evaluate(list(corpus(nlp)))
    else:
        _swap(nlp.config, dev, given)
        scores = None
    save(nlp, output_path)
    return scores


def _dev_texts(config: Config) -> str:
    """RETURNS (str): Which texts the scores are of."""
    corpora, training = config.interpolate(), config["training"]
    dev, train = (_swap(corpora, training[f"{part}_corpus"]).get("path") for part in ("dev", "train"))
    if dev is not None and dev == train:
        return f"the texts it was fitted on ({dev}); of others they say little: give --paths.dev"
    return f"the dev corpus ({dev or training['dev_corpus']}), which it was not fitted on"


def check_output(path: Path, kept: str | None = None) -> None:
    """Look whether a pipeline may be written here: to a new or empty folder, or in place of a pipeline.

    kept (Optional[str]): Name or folder of a pipeline that must stay.
    """
    if kept is not None and path.exists() and Path(kept).exists() and path.samefile(kept):
        raise ValueError(Errors.T706.format(path=path))
    is_pipeline = (path / "config.cfg").is_file() and (path / "meta.json").is_file()
    if path.exists() and not is_pipeline and (path.is_file() or any(path.iterdir())):
        raise ValueError(Errors.T702.format(path=path))


def _heads(config: Config) -> list[str]:
    """Names of the heads that are initialised with this pipeline."""
    pipeline = config["nlp"]["pipeline"]
    components, frozen = config["components"], config.interpolate()["training"].get("frozen_components", [])
    names = [name for name in pipeline if components.get(name, {}).get("factory") in FACTORIES and name not in frozen]
    if not names:
        raise ValueError(Errors.T701.format(pipeline=pipeline, factories=" or ".join(map(repr, FACTORIES))))
    return names


def _can_be_read(config: Config, name: str) -> bool:
    """Whether a corpus has a path."""
    try:
        # Where a config leaves settings out, spaCy fills in its own.
        registry.resolve({"corpus": _swap(DEFAULT_CONFIG.merge(config).interpolate(), name)})
    except ValueError as error:
        if "[E913]" in str(error):
            return False
        raise
    return True


def _swap(config: Config, name: str, block: Block | None = None) -> Block:
    """RETURNS (Dict[str, Any]): The block under a dotted name. A block that is given takes its place."""
    *sections, last = name.split(".")
    place: Block = reduce(getitem, sections, config)
    found: Block = place[last]
    if block is not None:
        place[last] = block
    return found


def save(nlp: Language, path: Path) -> None:
    """Write into a temporary folder, and move that into place: a failure leaves the old folder unchanged.

    path (Path): The folder; see `check_output`.
    """
    with replacing(path) as new:
        nlp.to_disk(new)
