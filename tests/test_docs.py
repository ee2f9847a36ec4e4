"""The tracked pages name nothing that does not exist: links, files, registered names, functions, commands, codes."""

import re
from importlib.metadata import metadata
from inspect import signature
from pathlib import Path

import pytest
import spacy
import typer
from spacy.cli._util import app
from thinc.api import Config, ConfigValidationError

import spacy_transfer
from spacy_transfer.errors import Errors, Warnings

from .test_registry import COMMANDS, FACTORIES, NAMES, PACKAGE

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FOLDERS = "|".join((".ci", "benchmarks", "configs", "docs", "scripts", "spacy_transfer", "tests"))
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf8")


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request):
    return request.param


def code_of(text):
    """What stands between backticks, and each line of a block."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [*re.findall(r"`([^`\n]+)`", rest), *(line for block in blocks for line in block.splitlines())]


def code(page):
    return code_of(page.read_text(encoding="utf8"))


def anchors(page):
    titles = re.findall(r"^#+ (.*)", page.read_text(encoding="utf8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_code_is_found_in_lines_and_in_blocks():
    assert code_of("a `b c` d\n```ini\nx = 1\n`y`\n```\n`e`") == ["b c", "e", "x = 1", "`y`"]


def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]+))?\)", page.read_text(encoding="utf8")):
        if "://" not in target:
            found = (page.parent / target) if target else page
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), (target, anchor)


def test_all_pages_can_be_reached_from_the_readme():
    linked, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        linked.add(page)
        targets = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf8"))
        todo += {(page.parent / target).resolve() for target in targets if "://" not in target} - linked
    assert {page.resolve() for page in linked} == {page.resolve() for page in PAGES}


def test_files_exist(page):
    """NAME in a path stands for one to be made."""
    for text in code(page):
        for path in re.findall(rf"(?<![\w./:-])(?:{FOLDERS})/[\w./-]*", text):
            assert "NAME" in path or (ROOT / path).exists(), path
        if re.match(r"\w+\.py( |$)", text):
            places = [ROOT / folder for folder in ("benchmarks", "scripts", "spacy_transfer")]
            assert any((place / text.split()[0]).exists() for place in places), text
        # The rooms of the house, as CONTRIBUTING.md calls them.
        if page.name == "CONTRIBUTING.md" and re.fullmatch(r"[a-z_]+/", text):
            assert (ROOT / text).is_dir() or any(path.is_dir() for path in PACKAGE.rglob(text.rstrip("/"))), text


def test_registered_names_exist(page):
    ours = set().union(*NAMES.values())
    for text in code(page):
        for name in re.findall(r"spacy-transfer\.(?!Thing)\w+\.v\d+", text):
            assert name in ours, name
        if (name := re.fullmatch(r"[A-Z]\w+\.v\d+", text)) and f"spacy-transfer.{name[0]}" not in ours:
            stock = ("spacy", "thinc")
            assert name[0] == "Adam.v1" or any(f"{of}.{name[0]}" in spacy.registry.architectures for of in stock), text
        for name in re.findall(r'^(transfer_\w+)$|factory = "(transfer_\w+)"', text):
            assert "".join(name) in FACTORIES | {"transfer_thing"}, text


def settings_of(text):
    """A page's blocks of config, each as a whole config."""
    for block in re.findall(r"^```(?:ini|cfg)?\n(\[.*?)^```", text, re.DOTALL | re.MULTILINE):
        known = set(re.findall(r"^\[([\w.]+)\]", block, re.MULTILINE))

        def with_parents(header, known=known):
            parts = header[1].split(".")
            above = [".".join(parts[:i]) for i in range(1, len(parts))]
            new = [name for name in above if name not in known]
            known.update(new)
            return "".join(f"[{name}]\n" for name in new) + header[0]

        yield Config().from_str(re.sub(r"^\[([\w.]+)\]", with_parents, block, flags=re.MULTILINE), interpolate=False)


def registered_in(block, key=""):
    """The outermost blocks that call a function."""
    for name, value in block.items():
        if isinstance(value, dict):
            path = f"{key}.{name}".strip(".")
            if any(inner.startswith("@") for inner in value):
                yield path, value
            else:
                yield from registered_in(value, path)


def test_blocks_of_config_are_whole(page):
    """Each names what its function needs. (Those of spacy-transformers' component are set into a config that is there;
    those of a space hold ranges.)"""
    for config in settings_of(page.read_text(encoding="utf8")):
        for key, block in registered_in(config):
            if ".choices." not in key and not key.startswith("components.transformer."):
                spacy.registry.fill({key: block}, validate=True)


def test_settings_of_initialize_exist(page):
    for config in settings_of(page.read_text(encoding="utf8")):
        for name, settings in config.get("initialize", {}).get("components", {}).items():
            if name in FACTORIES:
                pipe = spacy.blank("en").add_pipe(name)
                assert settings.keys() <= signature(pipe.initialize).parameters.keys()


def test_a_block_that_lacks_something_is_found():
    lacking = '```ini\n[corpora.train.corpus]\n@readers = "spacy.Corpus.v1"\npath = null\n```\n'
    [(key, block)] = registered_in(next(settings_of(lacking)))
    with pytest.raises(ConfigValidationError, match="gold_preproc"):
        spacy.registry.fill({key: block}, validate=True)


def test_functions_come_from_the_top(page):
    for text in code(page):
        for name in re.findall(r"\bspacy_transfer\.(?!py\b)([\w.]+)", text):
            assert name == "NAME" or name in spacy_transfer.__all__, name
            assert name == "NAME" or getattr(spacy_transfer, name)


def test_commands_and_their_options_exist(page):
    spacy.registry.cli.get_all()  # The commands of plugins.
    group = typer.main.get_command(app).commands
    for text in code(page):
        for name, rest in re.findall(r"python -m spacy transfer ([\w-]+)(.*)", text):
            command = group["transfer"].commands[name]
            options = {option for param in command.params for option in param.opts}
            for option in re.findall(r" (--[\w-]+)(?![\w.-])", rest):
                assert option in options, text
        for name in re.findall(r"python -m spacy debug ([\w-]+)", text):
            assert name in group["debug"].commands, text


def test_extras_and_error_codes_exist(page):
    text = page.read_text(encoding="utf8")
    extras = metadata("spacy-transfer").get_all("Provides-Extra")
    for names in re.findall(r"\.\[([\w,]+)\]", text):
        assert set(names.split(",")) <= set(extras), names
    for code in re.findall(r"\b[TW]\d{3}\b", text):
        assert getattr(Errors, code, None) or getattr(Warnings, code, None), code


def test_every_public_name_is_in_the_reference():
    for name in set().union(*NAMES.values()) - COMMANDS:
        assert f"`{name}`" in REFERENCE, name
    for name in COMMANDS:
        command = (
            name.replace("transfer_", "transfer ", 1).replace("_", "-").replace("transfer debug", "debug transfer")
        )
        assert f"`python -m spacy {command} " in REFERENCE, command
    for path in (ROOT / "configs").glob("*.cfg"):
        assert f"`{path.stem}`" in REFERENCE, path
    for name in spacy_transfer.__all__:
        assert f"`spacy_transfer.{name}`" in REFERENCE, name


def test_the_citation_has_the_version():
    assert f"version: {spacy_transfer.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf8")
