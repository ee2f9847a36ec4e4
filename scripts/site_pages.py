"""The pages of the docs site that are made from the code: every component, registered name, command, function and
message, from its docstring. mkdocs.yml names this file as a hook.

    python scripts/site_pages.py FOLDER     writes the pages there, to look at
    python scripts/site_pages.py --check SITE   fails where a built site loads something from elsewhere
"""

import argparse
import html
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Groups of entry points, with spaCy's name for each registry.
REGISTRIES = {
    "spacy_architectures": ("architectures", "Architectures"),
    "spacy_readers": ("readers", "Readers"),
    "spacy_batchers": ("batchers", "Batchers"),
    "spacy_loggers": ("loggers", "Loggers"),
    "spacy_callbacks": ("callbacks", "Callbacks"),
    "spacy_scorers": ("scorers", "Scorers"),
    "spacy_misc": ("misc", "Tuning, weights and estimators"),
    "thinc_schedules": ("schedules", "Schedules"),
    "thinc_optimizers": ("optimizers", "Optimizers"),
}
FLOORS = {
    "T1": "Encoders",
    "T2": "Vectors, pipelines, deltas, engines",
    "T3": "Heads",
    "T4": "Components",
    "T5": "Data",
    "T6": "Training",
    "T7": "Commands",
    "T8": "Pretraining and choosing",
    "T9": "Projects and many texts",
}
FLOORS |= {f"W{number}": f"Warnings: {FLOORS[f'T{number}'].lower()}" for number in range(1, 10)}
# Where README and others stand on the site.
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_ARGUMENT = re.compile(r"^(\*{0,2}\w+(?: \([^()]*(?:\([^()]*\)[^()]*)*\), \*{0,2}\w+)*) \((.+?)\): (.*)")
_RESULT = re.compile(r"^(RETURNS|YIELDS|RAISES|ENTERS) \((.+?)\): (.*)")


def markdown(docstring: str) -> str:
    """A docstring in spaCy's style as Markdown: a list of its arguments, the result and the errors.

    RETURNS (str): Markdown.
    RAISES (ValueError): When it is empty.
    """
    if not docstring.strip():
        raise ValueError("a docstring is missing")
    lines = list[str]()
    for line in inspect.cleandoc(docstring).splitlines():
        argument, result = _ARGUMENT.match(line), _RESULT.match(line)
        if result or argument:
            kind, types, text = (result or argument).groups()  # type: ignore[union-attr]
            name = f"**{kind.capitalize()}**" if result else f"`{kind}`"
            if lines and lines[-1] and not lines[-1].startswith(("- ", "  ")):
                lines.append("")
            lines.append(f"- {name} ({plain(types)}): {plain(text)}")
        elif lines and lines[-1].startswith(("- ", "  ")) and line.startswith("    "):
            lines.append(f"  {plain(line.strip())}")
        else:
            lines.append(plain(line))
    return "\n".join(lines)


def plain(text: str) -> str:
    """RETURNS (str): Text in which nothing but what stands in backticks is Markdown."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if i % 2 else re.sub(r"([\\*_{}\[\]#|<>$~])", r"\\\1", part) for i, part in enumerate(parts))


def settings(function: Callable[..., Any], first: str, skip: tuple[str, ...] = ()) -> str:
    """RETURNS (str): The settings of a builder as a block of a config; a setting without a default is `...`."""
    lines = [first] if first else []
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in skip:
            default = parameter.default
            lines.append(f"{name} = {'...' if default is inspect.Parameter.empty else as_config(default)}")
    return "```ini\n" + "\n".join(lines) + "\n```"


def as_config(value: Any) -> str:
    """RETURNS (str): A value as it stands in a config."""
    import srsly

    try:
        return str(srsly.json_dumps(value))
    except (TypeError, OverflowError):
        return "..."


def entries(group: str) -> dict[str, Callable[..., Any]]:
    """RETURNS (Dict[str, Callable]): Our functions of a group of entry points, by name, in order."""
    points = [point for point in distribution("spacy-transfer").entry_points if point.group == group]
    return {point.name: point.load() for point in sorted(points, key=lambda point: point.name)}


def components() -> str:
    """RETURNS (str): The page of the components, with their default settings."""
    import spacy
    from spacy.language import Language

    spacy.blank("en")
    lines = ["# Components", "", "Each is added by `nlp.add_pipe(NAME)`, or as `factory` in a config.", ""]
    for name, make in entries("spacy_factories").items():
        meta = Language.get_factory_meta(name)
        block = [f"[components.{name}]", f'factory = "{name}"']
        flat = {key: value for key, value in meta.default_config.items() if not isinstance(value, dict)}
        block += [f"{key} = {as_config(value)}" for key, value in flat.items()]
        for key, value in meta.default_config.items():
            if isinstance(value, dict):
                block += ["", f"[components.{name}.{key}]"]
                block += [f"{inner} = {as_config(each)}" for inner, each in value.items()]
        assigns = ", ".join(f"`{each}`" for each in meta.assigns) or "nothing"
        lines += [f"## {name}", "", markdown(make.__doc__ or ""), "", f"Assigns {assigns}.", ""]
        lines += ["```ini", *block, "```", ""]
    return "\n".join(lines)


def registered() -> str:
    """RETURNS (str): The page of the registered functions, by registry."""
    lines = ["# Registered names", "", "What a config names by `@`, with its settings and their defaults.", ""]
    for group, (registry, title) in REGISTRIES.items():
        lines += [f"## {title}", "", f"`@{registry}`", ""]
        for name, build in entries(group).items():
            block = settings(build, f'@{registry} = "{name}"')
            lines += [f"### {name}", "", markdown(build.__doc__ or ""), "", block, ""]
    return "\n".join(lines)


def commands() -> str:
    """RETURNS (str): The page of the commands: what they do, an example, arguments and options."""
    import typer
    from spacy import registry
    from spacy.cli import app

    registry.cli.get_all()
    group: Any = typer.main.get_command(app)
    found = {f"transfer {name}": each for name, each in group.commands["transfer"].commands.items()}
    found["debug transfer"] = group.commands["debug"].commands["transfer"]
    lines = ["# Commands", "", "What all have in common is in [the command line](../command_line.md).", ""]
    for name, command in sorted(found.items()):
        places = [param for param in command.params if param.param_type_name == "argument"]
        options = [param for param in command.params if param.param_type_name == "option"]
        words = [param.metavar if param.required else f"[{param.metavar}]" for param in places]
        example = command.epilog.removeprefix("Example: ")
        lines += [f"## {name}", "", f"`python -m spacy {' '.join([name, *words])}`", ""]
        lines += [plain(inspect.cleandoc(command.help)), "", "```bash", example, "```", ""]
        rows = [(f"`{param.metavar}`", param.help, "") for param in places]
        rows += [(_spellings(param), param.help, _default(param)) for param in options]
        lines += ["| argument or option | what it is | default |", "|---|---|---|"]
        lines += [f"| {name} | {plain(' '.join((text or '').split()))} | {default} |" for name, text, default in rows]
        lines.append("")
    return "\n".join(lines)


def _spellings(param: Any) -> str:
    return ", ".join(f"`{each}`" for each in (*param.opts, *param.secondary_opts))


def _default(param: Any) -> str:
    value = getattr(param.default, "value", param.default)
    return "" if value in (None, "", False) or callable(value) else f"`{value}`"


def functions() -> str:
    """RETURNS (str): The page of the functions that a program calls."""
    import spacy_transfer

    lines = ["# Functions", "", "`import spacy_transfer` is enough for all of these.", ""]
    for name in sorted(spacy_transfer.__all__):
        found = getattr(spacy_transfer, name)
        signature = re.sub(r"<object object at \w+>", "...", str(inspect.signature(found)))
        lines += [f"## {name}", "", "```python", f"spacy_transfer.{name}{signature}", "```", ""]
        lines += [markdown(found.__doc__ or ""), ""]
    return "\n".join(lines)


def messages() -> str:
    """RETURNS (str): The page of the messages of errors and warnings, by code."""
    from spacy_transfer.errors import Errors, Warnings

    lines = [
        "# Messages",
        "",
        "Errors (T) and warnings (W) begin with their code. What stands in braces is filled in.",
        "",
    ]
    for kind in (Errors, Warnings):
        floor = ""
        for code, text in sorted((key, value) for key, value in vars(kind).items() if re.fullmatch(r"[TW]\d{3}", key)):
            if code[:2] != floor:
                floor = code[:2]
                lines += [f"## {FLOORS[floor]}", ""]
            lines += [f"### {code}", "", plain(text), ""]
    return "\n".join(lines)


PAGES = {
    "reference/components.md": components,
    "reference/names.md": registered,
    "reference/commands.md": commands,
    "reference/functions.md": functions,
    "reference/messages.md": messages,
}


def for_site(text: str, source: str) -> str:
    """Links of a page, as GitHub follows them, to where the pages are on the site.

    source (str): The page's path from the root of the repository.
    RETURNS (str): The text.
    """
    if source in OUTSIDE:
        text = re.sub(r"(\]\()docs/", r"\1", text)
    for name, there in OUTSIDE.items():
        text = re.sub(rf"(\]\()(?:\.\./)?{re.escape(name)}", rf"\1{there}", text)
    # Other files of the repository are not on the site.
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", text)


def outside() -> dict[str, str]:
    """RETURNS (Dict[str, str]): Pages that stand beside docs/, by their path on the site."""
    return {there: for_site((ROOT / name).read_text(encoding="utf8"), name) for name, there in OUTSIDE.items()}


def on_files(files: Any, *, config: Any) -> Any:
    """mkdocs: adds the pages that are made."""
    generated = importlib.import_module("mkdocs.structure.files").File.generated
    for path, text in {**outside(), **{path: make() for path, make in PAGES.items()}}.items():
        files.append(generated(config, path, content=text))
    return files


def on_page_markdown(text: str, *, page: Any, **_: Any) -> str:
    """mkdocs: makes links to README, CONTRIBUTING and CHANGELOG lead to their pages."""
    return for_site(text, f"docs/{page.file.src_uri}")


def loads_from_elsewhere(site: Path) -> list[str]:
    """RETURNS (List[str]): Scripts, styles, fonts and pictures that a built site would fetch from other hosts."""
    found = []
    for path in sorted(site.rglob("*.html")):
        text = html.unescape(path.read_text(encoding="utf8"))
        for tag in re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//[^>]*>", text):
            found.append(f"{path.relative_to(site)}: {tag}")
        for tag in re.findall(r"<link\b[^>]*>", text):
            if re.search(r"rel=\"?(stylesheet|preconnect|preload|icon)", tag) and re.search(
                r"href=\"?(https?:)?//", tag
            ):
                found.append(f"{path.relative_to(site)}: {tag}")
    for path in sorted(site.rglob("*.css")):
        found += [
            f"{path.relative_to(site)}: {each}" for each in re.findall(r"url\(\"?https?://[^)]*\)", path.read_text())
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="look at a built site")
    opts = parser.parse_args()
    if opts.check:
        found = loads_from_elsewhere(opts.folder)
        if found or not (opts.folder / "index.html").is_file():
            sys.exit("\n".join(found) or f"{opts.folder} is no site")
        print(f"{opts.folder} loads nothing from elsewhere")
        return
    for path, make in PAGES.items():
        place = opts.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(make(), encoding="utf8")
        print(place)


if __name__ == "__main__":
    main()
