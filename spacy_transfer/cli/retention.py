"""`python -m spacy transfer retention BEFORE AFTER DATA ...`: scores of an old pipeline and its successor."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Errors, WrongUsage
from .app import command
from .common import CodePath, UseGpu, existing, installed, prepare, split_names
from .voice import result

if TYPE_CHECKING:
    from ..continual.retention import Row
    from ..types import Config


@command("retention", table=True)
def retention_cli(
    before: Annotated[
        str,
        typer.Argument(metavar="BEFORE", help="The old pipeline: a folder or an installed package", callback=installed),
    ],
    after: Annotated[
        str, typer.Argument(metavar="AFTER", help="The pipeline that goes on from it", callback=installed)
    ],
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA",
            help="Old development sets (.spacy; raw text too with --agreement)",
            callback=lambda sets: [given for given in sets if existing(_named(given)[1])],
        ),
    ],
    scores: Annotated[
        str, typer.Option("--scores", help="Names of scores, with commas between; all main ones if empty")
    ] = "",
    labels: Annotated[str, typer.Option("--labels", help="Count entities of these labels only; all if empty")] = "",
    agreement: Annotated[
        bool, typer.Option("--agreement", "-a", help="Take what BEFORE says of the texts for gold")
    ] = False,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Score two pipelines on old development sets, and print each score before, now, and the difference.

    A set may have a name: news=dev.spacy. With --agreement no gold annotation is needed: the scores say how far AFTER
    still says what BEFORE says. Entities of labels that BEFORE does not have are not counted then.
    """
    prepare(code_path, use_gpu)
    chosen = {"scores": split_names(scores), "labels": split_names(labels)}
    rows = retention(before, after, data, **chosen, agreement=agreement)
    from ..continual.retention import as_json, as_text

    result(before=before, after=after, retention=as_json(rows))
    print(f"\n{as_text(rows)}\n")  # noqa: T201 (that is what the command is for)


def retention(
    before: str,
    after: str,
    data: list[str],
    *,
    scores: list[str] | None = None,
    labels: list[str] | None = None,
    agreement: bool = False,
) -> "list[Row]":
    """Load and score. See `retention_cli` and `Skill`."""
    from ..continual.retention import OldSkills, as_rows, skills_from
    from ..pipeline.labels.carry import load

    blocks: dict[str, Config] = {}
    for given in data:
        name, path = _named(given)
        if name in blocks:
            raise WrongUsage(Errors.T783.format(name=name, given=data))
        blocks[name] = {"data": path, "scores": scores, "labels": labels, "agreement": agreement}
    skills = skills_from(blocks, "DATA")
    old = OldSkills(load(before, "BEFORE"), skills, "DATA")
    return as_rows(old.before, old.score(load(after, "AFTER")))


def _named(given: str) -> tuple[str, str]:
    """Name and path. A path may have an equals sign in it, as in runs/lr=0.1/dev.spacy; a name has no folders."""
    name, sign, path = given.partition("=")
    if not sign or os.sep in name or "/" in name or Path(given).exists():
        return Path(given).stem, given
    return name, path
