"""`python -m spacy transfer from-hf SOURCE OUT`: a transformers classifier as a trainable pipeline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from wasabi import msg

from ..errors import Errors
from .app import command
from .common import CodePath, UseGpu, find_source, language, one_of, prepare, warnings_in_one_line
from .fit import check_output, save

if TYPE_CHECKING:
    from ..huggingface.tags import TagRows

MOST_DIFFERENCE = 1e-4
PROBES = [
    "The committee approved the proposal on Tuesday.",
    "I would not recommend this film to anyone!",
    "Maria Schmidt flew from Lisbon to Oslo with 3 suitcases.",
    "ok",
    "",
    "Naïve café owners (in Zürich) pay 12.50 € & smile :-)",
    "NEVER shout; never whisper... 😀",
    "a\tb\n\nc",
]


@command("from-hf")
def from_hf_cli(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Folder that transformers wrote, package:NAME/path, or hub id")
    ],
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the pipeline")],
    lang: Annotated[str, typer.Option("--lang", "-l", help="Language of the pipeline", callback=language)] = "en",
    labels: Annotated[
        str | None, typer.Option("--labels", help="Names of the labels, A,B,C, in the order of the output layer")
    ] = None,
    window: Annotated[int | None, typer.Option("--window", "-w", help="Word pieces the encoder sees at once")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            help="What a token classifier becomes: ner or tagger (or: see labels)",
            callback=one_of("ner", "tagger"),
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the pipeline, for its meta.json")] = None,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Make a pipeline of a classifier that transformers saved: backbone and head, with all weights.

    What was made is compared with transformers before it is written: the largest difference of logits on a few texts
    is shown. A token classifier becomes transfer_ner where its labels are entity tags (an "O", a "B-" or "I-"), or
    transfer_tagger. Train it further by 'source = "OUT"' in the blocks of both components
    (configs/textcat_hf.cfg, ner_hf.cfg, tagger_hf.cfg).
    """
    prepare(code_path, use_gpu)
    find_source(source)
    check_output(output_path)
    names = None if labels is None else split(labels)
    from_hf(source, output_path, lang=lang, labels=names, window=window, task=task, name=name)
    msg.good(f"Saved the pipeline to {output_path}")


def split(labels: str) -> list[str]:
    """RETURNS (List[str]): The names in a list with commas."""
    return [label.strip() for label in labels.split(",")]


def describe(tags: "TagRows | None") -> str:
    """RETURNS (str): What a token head has become, for people; "" for none.

    tags (Optional[TagRows]): What the labels of the checkpoint are.
    """
    if tags is None:
        return ""
    if tags.task == "tagger":
        return f" (attribute {tags.attribute!r})"
    made = sum(tags.made)
    return f" (scheme {tags.scheme!r}, lenient; entities: {', '.join(tags.labels[:8])}; new rows: {made})"


def from_hf(
    source: str,
    output_path: Path,
    *,
    lang: str = "en",
    labels: list[str] | None = None,
    window: int | None = None,
    task: str | None = None,
    name: str | None = None,
) -> float:
    """Read, compare, save, and print what was found.

    source (str), lang (str), labels (Optional[List[str]]), window (Optional[int]), task (Optional[str]): See
        `pipeline.hf.from_hf`.
    output_path (Path): Folder for the pipeline.
    name (Optional[str]): Goes into its meta.json.
    RETURNS (float): Largest difference of logits.
    RAISES (ValueError): When the checkpoint cannot be imported, or the pipeline says other things than it.
    """
    from ..huggingface.convert import build, largest_difference
    from ..huggingface.files import read_checkpoint

    with warnings_in_one_line():
        checkpoint = read_checkpoint(source, labels, task)
    nlp = build(checkpoint, lang=lang, window=window)
    nlp.meta["name"] = name or "pipeline"
    head = nlp.pipe_names[-1]
    shown = ", ".join(checkpoint.labels[:8]) + (", ..." if len(checkpoint.labels) > 8 else "")
    msg.info(f"Found: {type(checkpoint.model).__name__}, {len(checkpoint.labels)} labels ({shown})")
    msg.info(f"Made: {' + '.join(nlp.pipe_names)}{describe(checkpoint.tags)}")
    difference, count = largest_difference(nlp, head, checkpoint, PROBES)
    if not difference <= MOST_DIFFERENCE:
        raise ValueError(Errors.T761.format(difference=difference, most=MOST_DIFFERENCE, source=source))
    msg.info(f"Largest difference of logits from transformers', {count} texts: {difference:.1e}")
    save(nlp, output_path)
    return difference
