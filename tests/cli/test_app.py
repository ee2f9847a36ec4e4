"""All commands speak alike: a line in the list, an example, the same options for the same things, exit codes."""

import re

import pytest
import spacy
import typer
from spacy import registry
from spacy.cli import app
from typer.testing import CliRunner

from spacy_transfer.cli.app import ABOUT

registry.cli.get_all()
GROUP = typer.main.get_command(app)
COMMANDS = GROUP.commands["transfer"].commands | {"debug transfer": GROUP.commands["debug"].commands["transfer"]}
# No pipeline is loaded there that a file of Python or a GPU could matter for, or it is for processors.
NO_GPU = {"config", "init", "new-transformer", "speed-up", "vectors"}


def options(command):
    return {name for param in command.params for name in param.opts if param.param_type_name == "option"}


def invoke(*arguments):
    result = CliRunner().invoke(app, ["transfer", *map(str, arguments)])
    return result.exit_code, re.sub(r"\x1b\[\d*m|\s+", " ", result.output)


@pytest.mark.parametrize("name", sorted(ABOUT))
def test_each_command_has_a_line_an_example_and_the_same_options(name):
    command = COMMANDS[name]
    assert len(command.short_help) <= 58 and "..." not in command.short_help
    example = re.sub(r"^Example: python -m spacy (transfer )?", "", command.epilog)
    example = example.removeprefix(name).split()
    assert name in command.epilog and {word for word in example if word.startswith("-")} <= options(command) | {
        "--paths.train",
        "--paths.dev",
    }
    own = options(command)
    assert not {"--out", "--gpu", "-s"} & own
    assert name in NO_GPU or {"--code", "-c", "--gpu-id", "-g"} <= own
    for param in command.params:
        assert param.name != "seed" or "--seed" in param.opts


def test_no_line_of_the_list_is_cut():
    code, out = invoke("--help")
    assert code == 0 and "..." not in out.replace("[ARGS]...", "")
    assert all(name in out for name in ABOUT if not name.startswith("debug"))


@pytest.mark.parametrize("name", sorted(set(ABOUT) - {"config", "debug transfer", "graft"}))
def test_wrong_usage_is_2(name):
    assert invoke(name)[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "no/such", "no.spacy", "page.html"),
        ("graft", "no/such", "no/such", "out"),
        ("to-hf", "no/such", "out"),
        ("from-hf", "no/such", "out"),
        ("retention", "no/such", "no/such", "no.spacy"),
        ("suggest", "no/such", "no.txt"),
    ],
)
def test_what_is_not_there_is_2_and_one_line(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["transfer", *arguments])
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output and list(tmp_path.iterdir()) == []


def test_what_transformers_did_not_write_stays(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    spacy.blank("en").to_disk(tmp_path / "pipeline")
    code, out = invoke("to-hf", tmp_path / "pipeline", tmp_path)
    assert code == 1 and "T722" in out and (tmp_path / "thesis.txt").read_text() == "mine"
