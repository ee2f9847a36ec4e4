"""Every config in configs/ is complete and trains as it stands, with nothing given but the data."""

import re
from pathlib import Path

import pytest
import spacy
from spacy.cli.debug_data import debug_data
from spacy.cli.init_config import fill_config
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus, Example

from spacy_transfer.cli.from_hf import from_hf

from .checkpoints import write_checkpoint

CONFIGS = Path(__file__).parent.parent / "configs"
NAMES = [
    "distill",
    "multitask",
    "ner_anchor",
    "ner_beside",
    "ner_crf",
    "ner_extend",
    "ner_fewshot",
    "ner_hf",
    "ner_next",
    "ner_transformer",
    "regressor_transformer",
    "tagger_hf",
    "tagger_transfer",
    "tagger_transformer",
    "textcat_bilstm",
    "textcat_cnn",
    "textcat_contrastive",
    "textcat_dense",
    "textcat_dropin",
    "textcat_fewshot",
    "textcat_fresh",
    "textcat_gradual",
    "textcat_hf",
    "textcat_lora",
    "textcat_lpft",
    "textcat_multilabel",
    "textcat_pipeline",
    "textcat_transformer",
    "textcat_vectors",
]
IMPORTED = {
    "ner_hf": {"task": "TokenClassification", "labels": ["O", "B-NAME", "I-NAME"]},
    "tagger_hf": {"task": "TokenClassification", "labels": ["W", "X"]},
    "textcat_hf": {"labels": ["odd", "even"]},
}
# What learns in those that add to a pretrained pipeline.
EXTEND = {
    "ner_extend": {"ner"},
    "ner_beside": {"transfer_backbone", "transfer_ner"},
    "ner_next": {"transfer_backbone", "transfer_ner"},
}
HEADS = {"ner_anchor": ["ner"], "ner_extend": ["ner"], "ner_beside": ["transfer_ner", "ner"]}
TASKS = ["textcat", "ner", "tagger"]
RATES = [("learn_rate", 0.01), ("total_steps", 100), ("warmup_steps", 6)]
OLD_ENTITIES = [[("Anna", "NAME")], [("The", "NAME")], [("Berlin", "NAME")], [("A", "NAME")]]
NEW_TEXTS = ["we eat rice today", "they cook soup now"]
TEXTS = ["Anna likes the small dog.", "The stock market fell on Monday.", "Berlin has a new museum.", "A dog barks."]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Annotation of every kind that a head in configs/ learns from."""
    nlp = spacy.blank("en")
    if not Doc.has_extension("score"):
        Doc.set_extension("score", default=None)
    docs = []
    for i, text in enumerate(TEXTS):
        doc = nlp.make_doc(text)
        name = (doc[0].idx, doc[0].idx + len(doc[0]), "NAME")
        example = Example.from_dict(
            doc,
            {
                "tags": ["X" if token.is_punct else "W" for token in doc],
                "entities": [name],
                "cats": {"odd": float(i % 2), "even": float(not i % 2)},
            },
        )
        example.reference._.score = float(i)
        docs.append(example.reference)
    path = tmp_path_factory.mktemp("data") / "texts.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


@pytest.fixture
def where(name, data, tmp_path, monkeypatch):
    """The folder to be in: those in IMPORTED begin from what `transfer from-hf` wrote, distill
    learns from a pipeline, ner_next goes on with one."""
    monkeypatch.chdir(tmp_path)
    if name == "ner_next":
        trained = spacy.util.load_model_from_config(spacy.util.load_config(CONFIGS / "ner_crf.cfg"))
        trained.initialize(lambda: Corpus(data)(trained))
        trained.to_disk(tmp_path / "trained")
    if name == "distill":
        teacher = run("textcat_vectors", data, tmp_path / "out")
        teacher.to_disk(tmp_path / "teacher")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if name in EXTEND:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if name in IMPORTED:
        from_hf(write_checkpoint(tmp_path / "checkpoint", **IMPORTED[name]), tmp_path / "imported")


def test_these_are_the_configs():
    found = sorted(path.stem for path in CONFIGS.glob("*.cfg"))
    assert [name for name in found if not name.startswith("pretrain_")] == NAMES


@pytest.mark.wheel
@pytest.mark.parametrize("name", NAMES)
def test_the_last_step_is_evaluated(name):
    """Otherwise model-best is never the finished model. Where epochs end the training, no number of steps is known."""
    path = CONFIGS / f"{name}.cfg"
    training = spacy.util.load_config(path, interpolate=True)["training"]
    if training["max_steps"]:
        assert training["max_steps"] % training["eval_frequency"] == 0
    else:
        assert training["max_epochs"] > 0
    shorter, by_epochs = (
        spacy.util.load_config(path, overrides={"training.max_steps": steps}, interpolate=True) for steps in (7, 0)
    )
    if "total_steps" not in shorter.to_str():
        # Epochs may end the training; spaCy divides by this number.
        assert by_epochs["training"]["eval_frequency"] > 0
    elif training["max_steps"] == training["eval_frequency"]:
        # Else a shorter training would have step 0 as its best.
        assert shorter["training"]["eval_frequency"] == 7


@pytest.mark.parametrize("name", NAMES)
def test_schedules_end_with_the_training(name):
    """Whatever number of steps is given. (nlp.resume_training() leaves the variable as it is, which is read too.)"""
    config = spacy.util.load_config(CONFIGS / f"{name}.cfg")
    assert set(re.findall(r"total_steps = (.*)", config.to_str())) <= {"${training.max_steps}"}
    shorter = spacy.util.load_config(CONFIGS / f"{name}.cfg", overrides={"training.max_steps": 7}, interpolate=True)
    assert set(re.findall(r"total_steps = (.*)", shorter.to_str())) <= {"7"}
    assert spacy.registry.resolve({"optimizer": config["training"]["optimizer"]})["optimizer"].learn_rate is not None


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.cfg")), ids=lambda path: path.stem)
def test_the_logger_is_ours(path):
    """Two of the columns of spaCy's are cut to the same words. (In ner_anchor another logger has ours inside.)"""
    config = spacy.util.load_config(path)["training"]["logger"]
    if path.stem == "ner_anchor":
        assert config["@loggers"] == "spacy-transfer.RetentionLogger.v1"
    else:
        given = {"progress_bar": None, "console_output": True, "output_file": None}
        assert config == {"@loggers": "spacy-transfer.ConsoleLogger.v1", **given}


@pytest.mark.parametrize("bar", [True, False, None, "train", "eval"])
def test_our_logger_takes_what_spacys_take(bar, data, tmp_path, capsys):
    given = {"@loggers": "spacy-transfer.ConsoleLogger.v1", "progress_bar": bar, "console_output": True}
    given["output_file"] = str(tmp_path / "rows.jsonl")
    run("textcat_vectors", data, tmp_path / "out", **{f"training.logger.{key}": given[key] for key in given})
    assert re.search(r"SCORE +RATE\n.* 0\.0\d*\n", capsys.readouterr().out, re.DOTALL)
    assert (tmp_path / "rows.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_filled(name, tmp_path, where):
    path = CONFIGS / f"{name}.cfg"
    fill_config(tmp_path / "filled.cfg", path, silent=True)
    assert (tmp_path / "filled.cfg").read_text().strip() == path.read_text().strip()


def run(name, data, out, **overrides):
    given = {"paths.train": str(data), "paths.dev": str(data), "training.max_steps": 2, "training.max_epochs": 0}
    if name == "multitask":
        # All annotation is in each of the corpora: they say themselves who learns from it.
        given = {f"paths.{task}_{part}": str(data) for task in TASKS for part in ("train", "dev")}
        given["training.max_steps"] = 2
    train(CONFIGS / f"{name}.cfg", out, overrides={**given, **overrides})
    return spacy.load(out / "model-last")


@pytest.mark.parametrize("name", NAMES)
def test_trains_as_it_stands(name, data, tmp_path, capsys, where, request):
    if name == "textcat_dropin":
        request.getfixturevalue("peer")
    nlp = run(name, data, tmp_path / "out")
    width = nlp.get_pipe(nlp.pipe_names[0]).model.get_dim("nO")
    for doc in nlp.pipe(TEXTS):
        # spacy-transformers' component leaves the states of word pieces.
        rows = doc._.trf_data.model_output.last_hidden_state if "transformer" in nlp.pipe_names else doc.tensor
        assert rows.shape[-1] == width and rows.size >= len(doc) * width
        if "transfer_backbone" in nlp.pipe_names:
            assert rows.shape == (len(doc), width)
        if name.startswith(("textcat", "distill", "multitask")):
            assert set(doc.cats) == {"odd", "even"}
            assert name == "textcat_multilabel" or sum(doc.cats.values()) == pytest.approx(1, abs=1e-5)
        if name.startswith("regressor"):
            assert isinstance(doc._.score, float)
        if name.startswith(("tagger", "multitask")):
            assert {token.tag_ for token in doc} <= {"W", "X"}
        if name in EXTEND and "tagger" in nlp.pipe_names:
            assert all(token.tag_ and token.dep_ and token.lemma_ for token in doc)
    heads = HEADS.get(name, nlp.pipe_names[1:])
    assert all(nlp.get_pipe(head).labels for head in heads)
    head = nlp.pipe_names[-1]
    assert nlp.get_pipe(head).labels
    capsys.readouterr()


def test_several_tasks_are_scored_each_on_its_own(data, tmp_path, capsys):
    """As `spacy train` and `spacy debug data` do it, with a weight for the score of one corpus."""
    nlp = run("multitask", data, tmp_path / "out", **{"training.score_weights": {"ner_ents_f": 0.5}})
    assert nlp.meta["performance"].keys() >= {"ner_ents_f", "transfer_ner_loss"}
    given = {f"paths.{task}_{part}": str(data) for task in TASKS for part in ("train", "dev")}
    debug_data(CONFIGS / "multitask.cfg", config_overrides=given, silent=False)
    shown = capsys.readouterr().out
    assert "Pipeline can be initialized with data" in shown and "Corpus is loadable" in shown


def test_training_goes_on_while_the_labels_get_likelier(data, tmp_path, capsys):
    """Every evaluation finds all labels: by the score alone, spaCy's patience ends with the second."""
    steps = {"training.max_steps": 30, "training.eval_frequency": 10, "training.patience": 10}
    found = {}
    for weight in (None, 0.01):
        given = {"training.optimizer.learn_rate": 0.03, "training.score_weights.cats_likelihood": weight}
        run("textcat_vectors", data, tmp_path / "out", **steps, **given)
        best, last = (spacy.load(tmp_path / "out" / f"model-{name}").meta["performance"] for name in ("best", "last"))
        assert best["cats_score"] == last["cats_score"] == 1.0
        assert best["cats_likelihood"] == last["cats_likelihood"]
        found[weight] = best["cats_likelihood"]
    assert found[None] < found[0.01] - 0.05
    capsys.readouterr()


def test_training_ends_where_the_likelihood_hardly_grows(data, tmp_path, capsys):
    """The texts that are trained on get likelier with each step; gains below a hundredth do not count."""
    steps = {"training.max_steps": 2000, "training.eval_frequency": 10, "training.patience": 30}
    run("textcat_vectors", data, tmp_path / "out", **steps, **{"training.optimizer.learn_rate": 0.03})
    evaluations = re.findall(r"^ *\d+ +(\d+) +\d", capsys.readouterr().out, re.MULTILINE)
    assert 30 < int(evaluations[-1]) < 1000
    assert spacy.load(tmp_path / "out" / "model-best").meta["performance"]["cats_likelihood"] > 0.9


@pytest.mark.parametrize("surgery", [None, "pcgrad"])
def test_several_tasks_are_in_the_log_each_on_its_own(surgery, data, tmp_path, capsys):
    """With its loss and weight; no text trains two, so they meet where parameters' gradients are compared."""
    steps = {"training.max_steps": 4, "training.eval_frequency": 2}
    run("multitask", data, tmp_path / "out", **{"components.transfer_backbone.surgery": surgery, **steps})
    said = capsys.readouterr().out
    number = r"\d[\d.e+-]*"
    of_each = ", ".join(rf"transfer_{task} loss {number} weight 1" for task in TASKS)
    assert len(re.findall(f"transfer_backbone: {of_each}\n", said)) == 2
    pair = r"transfer_\w+ / transfer_\w+ [+-]\d\.\d\d"
    cosines = re.findall(f"transfer_backbone: cosines of gradients: {pair}, {pair}, {pair}\n", said)
    assert len(cosines) == (2 if surgery else 0)


def test_beside_an_old_recognizer_the_new_labels_alone_are_learned(data, tmp_path, monkeypatch, capsys, caplog):
    """The old one keeps its weights bit for bit: spaCy gives it rows for labels that it meets on docs, and they are
    zeros. Raw texts bring no old label to the new one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "raw.txt").write_text("Angela Merkel met Barack Obama in Berlin.\nGoogle is based in California.")
    nlp = run("ner_beside", data, tmp_path / "out", **{"paths.texts": str(tmp_path / "raw.txt")})
    before = spacy.load(nlp.config["paths"]["source"])
    old, kept = (list(pipeline.get_pipe("ner").model.walk()) for pipeline in (before, nlp))
    for node, same in zip(old, kept, strict=True):
        for was, now in ((node.get_param(name), same.get_param(name)) for name in node.param_names):
            assert (now[: len(was)] == was).all() and not now[len(was) :].any()
    # Nor does spaCy think that the new one reads the old tok2vec.
    assert not any("W086" in record.message for record in caplog.records)
    assert nlp.get_pipe("tok2vec").listening_components == before.get_pipe("tok2vec").listening_components
    assert nlp.get_pipe("transfer_ner").labels == ("NAME",)
    text = "Angela Merkel met Barack Obama in Berlin."
    assert [ent.text for ent in nlp(text).ents if ent.label_ in before.get_pipe("ner").labels]
    capsys.readouterr()


def test_the_next_task_leaves_the_one_before(data, tmp_path, tiny_bert, monkeypatch, capsys):
    """Labels are those of the new data and of the pipeline, and both are found, each in its own texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rates = {f"training.optimizer.{at}learn_rate.{key}": value for at in ("", "groups.heads.") for key, value in RATES}
    tiny = {"paths.backbone": tiny_bert, "components.transfer_backbone.model.window": 64}
    first = run("ner_crf", data, tmp_path / "out", **tiny, **{"training.max_steps": 100, **rates})
    first.to_disk("trained")
    assert [[(ent.text, ent.label_) for ent in doc.ents] for doc in first.pipe(TEXTS)] == OLD_ENTITIES
    docs = [spacy.blank("en").make_doc(text) for text in NEW_TEXTS]
    for doc in docs:
        doc.set_ents([Span(doc, 2, 3, "FOOD")])
    DocBin(docs=docs).to_disk("new.spacy")
    (tmp_path / "raw.txt").write_text("\n".join(TEXTS))
    given = {"paths.texts": str(tmp_path / "raw.txt"), "corpora.train.ratio": 2.0, **rates}
    given |= {"training.max_steps": 100, "training.batcher.size": 12}
    after = run("ner_next", tmp_path / "new.spacy", tmp_path / "next", **given)
    assert after.get_pipe("transfer_ner").labels == ("FOOD", "NAME")
    assert [[(ent.text, ent.label_) for ent in doc.ents] for doc in after.pipe(TEXTS)] == OLD_ENTITIES
    assert [[ent.text for ent in doc.ents if ent.label_ == "FOOD"] for doc in after.pipe(NEW_TEXTS)] == [
        ["rice"],
        ["soup"],
    ]
    capsys.readouterr()


def test_backbone_is_swapped_by_one_override(data, tmp_path, tiny_bert, capsys):
    overrides = {"paths.backbone": tiny_bert, "components.transfer_backbone.model.window": 64}
    nlp = run("textcat_transformer", data, tmp_path, **overrides)
    assert nlp("A dog.").tensor.shape == (3, 16)
    capsys.readouterr()


@pytest.mark.parametrize("name", NAMES)
def test_one_block_differs_from_stock(name):
    """What is ours in a config: the backbone's block, and the listener under the head."""
    config = spacy.util.load_config(CONFIGS / f"{name}.cfg")
    sourced = spacy.util.get_sourced_components(config)
    if name in EXTEND:
        learns = set(config["nlp"]["pipeline"]) - set(config["training"]["frozen_components"])
        assert learns == EXTEND[name]
        fresh = ["transfer_ner"] if name == "ner_next" else ["transfer_backbone", "transfer_ner"]
        assert list(sourced) == [pipe for pipe in config["nlp"]["pipeline"] if pipe not in fresh]
        assert all(block["source"] == "${paths.source}" for block in sourced.values())
        return
    assert set(config["paths"]) >= {"train", "dev", "pretrained" if name == "textcat_fresh" else "backbone"}
    if name in IMPORTED or name == "ner_anchor":
        assert list(sourced) == config["nlp"]["pipeline"]
        assert all(block["source"] == "${paths.backbone}" for block in sourced.values())
        return
    assert not sourced
    ours = {
        f"{pipe}.{key}"
        for pipe, block in config["components"].items()
        for key, value in {"model": block["model"], "tok2vec": block["model"].get("tok2vec", {})}.items()
        if str(value.get("@architectures", "")).startswith("spacy-transfer.")
    }
    if name == "textcat_fresh":
        assert config["initialize"]["components"]["transfer_backbone"] == {"pretrained": "${paths.pretrained}"}
        return
    listeners = {f"{head}.tok2vec" for head in config["nlp"]["pipeline"][1:]}
    backbone = config["components"][config["nlp"]["pipeline"][0]]["model"]
    if name == "textcat_dropin":
        assert ours == {"transformer.model"}
    else:
        kinds = ("contrast", "ner", "regressor", "tagger", "textcat", "textcat_multilabel")
        heads = {f"transfer_{kind}.model" for kind in kinds}
        assert ours <= {"transfer_backbone.model", *listeners, *heads}
    assert set(config["paths"]) >= {"train", "dev", "backbone"}
    assert backbone.get("source", backbone.get("name")) == "${paths.backbone}"


def test_an_imported_checkpoint_is_trained_further(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from_hf(write_checkpoint(tmp_path / "checkpoint", labels=["odd", "even"]), tmp_path / "imported")
    before = spacy.load("imported")
    settings = {"training.max_steps": 60, "training.optimizer.learn_rate.learn_rate": 0.01}
    after = run("textcat_hf", data, tmp_path / "out", **settings)
    right = [["even", "odd"][i % 2] for i in range(len(TEXTS))]
    assert [max(doc.cats, key=doc.cats.get) for doc in before.pipe(TEXTS)] != right
    assert [max(doc.cats, key=doc.cats.get) for doc in after.pipe(TEXTS)] == right
    old, new = (
        dict(n.get_pipe("transfer_backbone").model.shims[0].encoder.named_parameters()) for n in (before, after)
    )
    name = "transformer.encoder.layer.0.attention.self.query.weight"
    assert (old[name] - new[name]).abs().max() > 0.01
    capsys.readouterr()
