"""`python -m spacy transfer suggest PIPELINE TEXTS`: which texts to label next."""

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from spacy import util
from wasabi import msg

from ...errors import Errors, WrongUsage
from ...integrity import write_whole
from ...types import Config
from ..app import command
from ..common import CodePath, PipelineName, UseGpu, existing, prepare, show_table, split_names
from ..voice import result

if TYPE_CHECKING:
    from ...selection.suggesting.scan import Over, Scan
    from ...selection.suggesting.strategies import Strategy

SHOWN = 10
_WIDTH = 60


class StrategyName(str, enum.Enum):
    """By what texts are chosen: see `selection.suggesting.strategies.choose`."""

    auto = "auto"
    unsure_diverse = "unsure-diverse"
    margin = "margin"
    entropy = "entropy"
    diverse = "diverse"
    cluster = "cluster"


class OverName(str, enum.Enum):
    """Which tokens say how unsure a text is."""

    most = "most"
    mean = "mean"


@command("suggest", table=True)
def suggest_cli(
    pipeline: PipelineName,
    texts_path: Annotated[
        Path,
        typer.Argument(
            metavar="TEXTS", help="Texts: .txt (a line a text), .jsonl, .spacy, or a folder", callback=existing
        ),
    ],
    n: Annotated[int, typer.Option("--n", "-n", help="How many texts", min=1)] = 50,
    output_path: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write them: .jsonl, or .json for one list")
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option("--exclude", help="Texts that have labels already", callback=existing)
    ] = None,
    strategy: Annotated[StrategyName, typer.Option("--strategy", help="By what to choose")] = StrategyName.auto,
    over: Annotated[
        OverName, typer.Option("--over", help="Heads that label tokens: the most unsure token counts, or the mean")
    ] = OverName.most,
    components: Annotated[str, typer.Option("--components", help="Names of heads, with commas between")] = "",
    seed: Annotated[int, typer.Option("--seed", help="Of the clusters")] = 0,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Choose the texts to label next: those of which the trained heads are most unsure, and of these such as are unlike
    each other. From a pipeline without trained heads: a text of each cluster.

    The file is read by Prodigy and doccano (.jsonl or .json) and by Label Studio (.json).
    """
    prepare(code_path, use_gpu)
    check_output(output_path, texts_path, exclude)
    found = suggest(
        pipeline,
        texts_path,
        n,
        exclude=exclude,
        strategy=strategy.value,
        over=over.value,
        components=split_names(components) or None,
        seed=seed,
    )
    result(texts=found)
    _show(found)
    if output_path is None:
        msg.info("Nothing was written. Give a file: --output FILE")
        return
    write_whole(output_path, as_bytes(found, is_list=output_path.suffix.lower() == ".json"))
    msg.good(f"Wrote {len(found)} texts to {output_path}")


def check_output(output: Path | None, *inputs: Path | None) -> None:
    """Before any work is done: can the file be written there?

    *inputs (Optional[Path]): The files that are read.
    RAISES (ValueError): When there is no such folder, or something stands there that must stay.
    """
    if output is None:
        return
    if not output.resolve().parent.is_dir():
        raise WrongUsage(Errors.T721.format(path=output))
    if output.is_dir() or any(path is not None and output.resolve() == path.resolve() for path in inputs):
        raise WrongUsage(
            Errors.T937.format(path=output, what="a folder" if output.is_dir() else "read by this command")
        )
    if output.suffix.lower() not in (".jsonl", ".json"):
        raise WrongUsage(Errors.T938.format(path=output))


def suggest(
    pipeline: str | Path,
    texts_path: Path,
    n: int,
    *,
    exclude: Path | None = None,
    strategy: "Strategy" = "auto",
    over: "Over" = "most",
    components: list[str] | None = None,
    seed: int = 0,
) -> list[Config]:
    """Load a pipeline, run it over the texts, and choose. Exact duplicates count once.

    exclude (Optional[Path]): Texts that are left out.
    components (Optional[List[str]]): Heads; None for all that are trained.
    RETURNS (List[Dict[str, Any]]): For each text "text" and "meta": "strategy", "unsure", "cluster", and a guess under
        the name of each head.
    RAISES (ValueError): When there are fewer texts, or the pipeline has not what the strategy needs.
    """
    from ...selection.suggesting.scan import judges_of, scan
    from ...selection.suggesting.strategies import choose, measure_of

    texts = unlabelled(texts_path, exclude)
    if len(texts) < n:
        raise ValueError(Errors.T930.format(n=n, path=texts_path, count=len(texts)))
    nlp = util.load_model(pipeline)
    judges = (
        []
        if strategy in ("diverse", "cluster") and not components
        else judges_of(nlp, components, measure_of(strategy), over)
    )
    found = scan(nlp, texts, judges)
    choice = choose(found, n, strategy, seed)
    clusters = [None] * n if choice.clusters is None else choice.clusters.tolist()
    return [
        {"text": texts[i], "meta": _meta(choice.strategy, found, i, cluster)}
        for i, cluster in zip(choice.indices.tolist(), clusters, strict=True)
    ]


def unlabelled(path: Path, exclude: Path | None) -> list[str]:
    """RETURNS (List[str]): The texts of a file or folder, each once, in their order, without those of another.

    RAISES (ValueError): When none is left.
    """
    from ...corpora.texts import read_texts

    labelled = set() if exclude is None else set(read_texts(exclude, "--exclude"))
    texts = [text for text in dict.fromkeys(read_texts(path, "TEXTS")) if text not in labelled]
    if not texts:
        raise ValueError(Errors.T931.format(path=path, exclude=exclude))
    return texts


def _meta(strategy: str, found: "Scan", i: int, cluster: int | None) -> Config:
    unsure = {} if found.unsure is None else {"unsure": round(float(found.unsure[i]), 4)}
    return {"strategy": strategy, **unsure, **({} if cluster is None else {"cluster": cluster}), **found.guesses[i]}


def as_bytes(found: list[Config], *, is_list: bool) -> bytes:
    """RETURNS (bytes): One JSON object on each line, or a list of them."""
    lines = [json.dumps(each, ensure_ascii=False) for each in found]
    text = "[" + ",\n".join(lines) + "]\n" if is_list else "\n".join(lines) + "\n"
    return text.encode("utf8", "backslashreplace")


def _show(found: list[Config]) -> None:
    rows = []
    for each in found[:SHOWN]:
        meta = {key: value for key, value in each["meta"].items() if key != "strategy"}
        text = " ".join(each["text"].split())
        rows.append((text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}...", *map(str, meta.values())))
    names = [key for key in found[0]["meta"] if key != "strategy"]
    show_table(rows, header=("text", *names))
    if len(found) > SHOWN:
        print(f"... and {len(found) - SHOWN} more")  # noqa: T201
