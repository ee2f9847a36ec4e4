"""`python -m spacy transfer graft BASE HEAD... OUT`: heads of several pipelines on one backbone."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from wasabi import msg

from ..errors import Errors, WrongUsage
from .app import command
from .common import CodePath, UseGpu, installed, load_pipeline, prepare, show_table
from .fit import check_output, save
from .voice import log_info, result

if TYPE_CHECKING:
    from ..pipeline.labels.graft import Graft


@command("graft", table=True)
def graft_cli(
    pipelines: Annotated[
        list[str],
        typer.Argument(
            help="BASE, whose backbone stays; HEAD pipelines, one or more; and the folder OUT",
            metavar="BASE HEAD... OUT",
            callback=lambda names: [*map(installed, names[:-1]), *names[-1:]],
        ),
    ],
    rename: Annotated[
        list[str] | None,
        typer.Option("--rename", help="A new name for a component, OLD=NEW; of the second HEAD only: 2:OLD=NEW"),
    ] = None,
    take: Annotated[
        list[str] | None, typer.Option("--take", help="Join this component, and of the others none; repeatable")
    ] = None,
    code_path: CodePath = None,
    use_gpu: UseGpu = -1,
) -> None:
    """
    Join the heads of several pipelines onto the backbone of the first. It runs once for all of them, and each head
    predicts what it did before, bit for bit.

    That needs backbones that give the same rows: frozen ones from one source do. Where they differ, it says in what,
    and writes nothing. A pipeline in OUT is replaced.
    """
    log_info()
    prepare(code_path, use_gpu)
    if len(pipelines) < 3:
        problem = "give the base, one head pipeline or more, and the folder to write"
        raise WrongUsage(Errors.T754.format(option="BASE HEAD... OUT", given=" ".join(pipelines), problem=problem))
    base, *heads, out = pipelines
    joined = graft_pipelines(base, heads, Path(out), names=_names(rename or []), take=take or [])
    result(joined=[dataclasses.asdict(one) for one in joined])
    show_table(
        [(one.head, one.component, one.name, one.backbone or "its own") for one in joined],
        header=("from", "component", "is now", "reads"),
    )
    msg.good(f"Saved the pipeline to {out}")


def graft_pipelines(
    base: str,
    heads: list[str],
    output_path: Path,
    *,
    names: dict[str, str] | None = None,
    take: list[str] | None = None,
) -> "list[Graft]":
    """Load pipelines, join their heads, and save what comes out.

    base (str): The pipeline that receives: folder or package.
    names (Optional[Dict[str, str]]): New names of components; see `spacy_transfer.graft`.
    take (Optional[List[str]]): Components to join; None for all.
    """
    from ..pipeline.labels.graft import graft

    check_output(output_path)
    nlp = load_pipeline(base)
    called = [head if heads.count(head) == 1 else f"{head} ({i})" for i, head in enumerate(heads, 1)]
    joined = graft(
        nlp, {name: load_pipeline(head) for name, head in zip(called, heads, strict=True)}, names=names, take=take or []
    )
    save(nlp, output_path)
    return joined


def _names(given: list[str]) -> dict[str, str]:
    found = {}
    for pair in given:
        old, equals, new = pair.partition("=")
        if not equals or not old or not new:
            raise WrongUsage(Errors.T754.format(option="--rename", given=pair, problem="write OLD=NEW"))
        found[old] = new
    return found
