"""Every command speaks alike: options by one name for one thing, --quiet, --json, mistakes in one line."""

import inspect
import json
import re
from enum import Enum
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import spacy
import typer
from spacy import registry
from spacy.cli import app
from spacy.tokens import DocBin
from spacy.util import Config
from typer.testing import CliRunner

from spacy_transfer.cli import voice
from spacy_transfer.cli.app import ABOUT, OLD_OPTIONS
from spacy_transfer.cli.app import main as script
from spacy_transfer.engines import ways

from ..checkpoints import write_checkpoint
from ..pipelines import make_pipeline
from ..pretraining.pretrain import config as pretraining_config
from ..pretraining.pretrain import run as pretrain
from ..pretraining.pretrain import transformer, write_texts
from ..training import write_training

registry.cli.get_all()
GROUP = typer.main.get_command(app)
COMMANDS = GROUP.commands["transfer"].commands | {"debug transfer": GROUP.commands["debug"].commands["transfer"]}
# One meaning for each name, in all commands that have it.
NAMES = {
    "--address": "of a Ray cluster",
    "--agreement": "the old pipeline's predictions are gold",
    "--algorithm": "of word vectors",
    "--backbone": "source of a backbone",
    "--base": "source of a delta's base",
    "--batch-size": "texts at once",
    "--buckets": "rows for parts of words",
    "--cache": "folder for what a later call reads again",
    "--candidates": "file of blocks of backbones",
    "--code": "file of Python to import first",
    "--columns": "of the output",
    "--component": "name of one component",
    "--components": "names of components",
    "--context": "layers over vectors",
    "--corpus": "raw texts to learn from",
    "--count-labels": "whether the labels in the corpora are counted",
    "--dev": "development data",
    "--document": "row of a text",
    "--engine": "what runs the pipeline",
    "--epochs": "passes over the texts",
    "--estimator": "of how good rows are",
    "--every": "steps between measurements",
    "--exclude": "texts to leave out",
    "--exportable": "whether transformers has such a head",
    "--fail-fast": "stop at the first text that breaks",
    "--folds": "parts of a cross-validation",
    "--force": "write what is there anew",
    "--format": "of the output",
    "--freeze-known": "whether known words keep their vectors",
    "--gpu-id": "device",
    "--head": "whose heads",
    "--heads": "attention heads",
    "--high": "highest rate",
    "--id": "column of the id",
    "--json": "file for the numbers of the table",
    "--kind": "of a backbone",
    "--label": "column of the labels",
    "--label-texts": "whether names of labels are examples",
    "--keep-rows": "folder for the rows of the choice",
    "--labels": "names of labels",
    "--lang": "code of the language",
    "--layers": "number of layers",
    "--length": "of a step",
    "--low": "lowest rate",
    "--lower": "whether texts are put into lower case",
    "--max-loss": "points of a score",
    "--max-mb": "size of a backbone",
    "--max-texts": "texts to read",
    "--max-tokens": "tokens to score",
    "--max-words": "words to read",
    "--method": "of word vectors",
    "--min-count": "how often a word must come",
    "--min-speed": "words a second",
    "--minutes": "time of the call",
    "--mistakes": "how many mistakes are shown",
    "--n": "how many texts",
    "--n-process": "processes",
    "--n-startup": "trials at random",
    "--name": "of the pipeline or package",
    "--negative": "random words to tell apart",
    "--output": "where to write what the command makes",
    "--over": "which tokens count",
    "--pairs": "whether texts are pairs",
    "--picture": "where to draw",
    "--prune": "whether hopeless trials are ended",
    "--quiet": "say nothing but warnings and errors",
    "--rename": "new name of a component",
    "--resamples": "of the bootstrap",
    "--rows-mb": "rows on the disk",
    "--sampler": "of settings",
    "--scores": "names of scores",
    "--seed": "of all that is drawn",
    "--shard-size": "texts in a shard",
    "--sif": "how much less frequent words weigh",
    "--source": "vectors to carry on",
    "--speed-texts": "texts to time",
    "--steps": "of a training",
    "--strategy": "by what texts are chosen",
    "--strength": "how strongly vectors are held where they begin",
    "--take": "component to join",
    "--task": "what a head does",
    "--test": "test data",
    "--text": "column of the texts",
    "--threads": "of a process",
    "--thresholds": "whether thresholds are fitted",
    "--tokenizer": "pipeline whose tokenizer is used",
    "--train-minutes": "time of a training",
    "--train-texts": "raw texts of a training",
    "--training-cost": "whether training steps are measured",
    "--trials": "of a search",
    "--tuning": "what is trained of a transformer",
    "--vocab-size": "word pieces",
    "--ways": "to run a pipeline",
    "--width": "of a row",
    "--window": "units that are read at once",
}
SHORT = {
    "-a": "--agreement",
    "-b": "--backbone",
    "-c": "--code",
    "-f": "--format",
    "-g": "--gpu-id",
    "-l": "--lang",
    "-n": "--n",
    "-o": "--output",
    "-q": "--quiet",
    "-t": "--task",
    "-w": "--window",
}
# In this order where a command takes them: what it begins from, the data, where it writes.
ARGUMENTS = [
    "CONFIG",
    "PIPELINE",
    "SOURCE",
    "BEFORE",
    "AFTER",
    "BASE HEAD... OUT",
    "SPACE",
    "FILE",
    "DATA",
    "TEXTS",
    "OUT",
]
OWN_CALLS = {"--move-known": "--freeze-known"}  # The other name of a yes or no.


def params(name, kind):
    return [param for param in COMMANDS[name].params if param.param_type_name == kind]


def has_table(name):
    return any("--json" in param.opts for param in params(name, "option"))


def test_all_commands_are_walked():
    assert set(COMMANDS) == set(ABOUT) == set(RUNS)


@pytest.mark.parametrize("name", sorted(ABOUT))
def test_one_name_for_one_thing(name):
    for param in params(name, "option"):
        if param.name == "help":
            continue
        long = [option for option in param.opts if option.startswith("--")]
        assert len(long) == 1 and long[0] in NAMES
        for option in param.opts:
            assert option in long or SHORT[option] == long[0]
        for option in param.secondary_opts:
            assert OWN_CALLS.get(option, option.replace("--no-", "--")) == long[0]
        assert param.help
    places = [ARGUMENTS.index(param.metavar) for param in params(name, "argument")]
    assert places == sorted(places)


def test_no_name_is_left_over():
    used = {option for name in ABOUT for param in params(name, "option") for option in param.opts}
    assert used - {"--help"} == set(NAMES) | set(SHORT)


def test_what_prints_a_table_or_keeps_numbers_takes_json():
    for name, command in COMMANDS.items():
        source = __import__("inspect").getsource(__import__("sys").modules[command.callback.__module__])
        assert has_table(name) == bool(
            re.search(r"show_table\(|\bresult\(|text_table\(|as_text\(|planned_table\(", source)
        ), name


@pytest.fixture(scope="module")
def files(tiny_bert, tmp_path_factory):
    """What the commands read: a pipeline, texts, a config, a checkpoint, a pretrained file."""
    folder = tmp_path_factory.mktemp("files")
    nlp, examples, _ = make_pipeline(tiny_bert, ("textcat", "tagger"), frozen=True)
    nlp.to_disk(folder / "model")
    our = spacy.load(folder / "model", exclude=["textcat", "tagger"])
    our.add_pipe("transfer_textcat")
    our.get_pipe("transfer_textcat").initialize(lambda: examples, nlp=our)
    our.to_disk(folder / "ours")
    DocBin(docs=[eg.reference for eg in examples * 26]).to_disk(folder / "dev.spacy")
    (folder / "many.txt").write_text("".join(f"a cat sings {i}\n" for i in range(120)))
    (folder / "few.txt").write_text("a cat sees\nthe dog sings\ncats here\na big car\n")
    rows = "".join(f"text {i} of {'cats' if i % 2 else 'cars'},{'pet' if i % 2 else 'car'}\n" for i in range(30))
    (folder / "rows.csv").write_text(f"text,label\n{rows}")
    (folder / "words.txt").write_text("cat 1 0\ndog 0 1\nsees 1 1\n")
    (folder / "space.cfg").write_text("[training.dropout]\nchoices = [0.0, 0.1]\n")
    write_training(folder, tiny_bert)
    write_checkpoint(folder / "checkpoint", "Bert")
    assert invoke("from-hf", folder / "checkpoint", folder / "imported").exit_code == 0
    raw = write_texts(folder / "raw.txt")
    objective = '@architectures = "spacy-transfer.MaskedWords.v1"\nprogress = false'
    pretrain(folder, raw, transformer(tiny_bert), objective, epochs=1)
    Config(pretraining_config(raw, transformer(tiny_bert), objective)).to_disk(folder / "pretrain.cfg")
    return folder


# For each command, what it is called with. Names of files stand for those of the fixture, OUT for a new place.
RUNS = {
    "affinity": "config.cfg --steps 2 -o OUT --components.transfer_backbone.frozen false",
    "annotate": "model few.txt OUT",
    "assess": "pretrain.cfg model-last.bin",
    "calibrate": "ours dev.spacy",
    "config": "--task ner --output OUT",
    "debug transfer": "config.cfg",
    "delta": "model OUT",
    "fit": "config.cfg OUT",
    "from-hf": "checkpoint OUT",
    "graft": "model ours OUT --take transfer_textcat",
    "init": "rows.csv OUT --backbone TINY",
    "lr-find": "config.cfg --steps 30 --low 1e-4 -o -",
    "new-transformer": "raw.txt OUT --width 8 --layers 1 --heads 2 --vocab-size 60",
    "report": "ours dev.spacy OUT --resamples 2",
    "retention": "model model dev.spacy",
    "select": "config.cfg --backbone words.txt --no-training-cost --cache -",
    "speed-up": "ours dev.spacy OUT --ways onnx-fp32 --resamples 2 --speed-texts 2 --max-loss 100",
    "static": "TINY OUT --corpus many.txt --width 4 --min-count 3 -w 32",
    "suggest": "ours few.txt -n 2",
    "to-hf": "imported OUT",
    "to-source": "pretrain.cfg model-last.bin OUT",
    "tune": "config.cfg space.cfg -o OUT --trials 1 --training.max_steps 1",
    "vectors": "raw.txt OUT.txt --width 4 --min-count 1 --epochs 1",
}


def invoke(name, *arguments):
    words = name.split() if name.startswith("debug") else ["transfer", name]
    return CliRunner().invoke(app, [*words, *map(str, arguments)])


def call(name, files, tmp_path, tiny_bert, *more):
    return with_words(name, [*RUNS[name].split(), *more], files, tmp_path, tiny_bert)


def with_words(name, words, files, tmp_path, tiny_bert):
    places = {"TINY": tiny_bert, "OUT": tmp_path / "out", "OUT.txt": tmp_path / "out.txt"}
    words = [places.get(word, files / word if (files / word).exists() else word) for word in words]
    return invoke(name, *words)


@pytest.mark.parametrize("name", sorted(ABOUT))
def test_quiet_says_nothing_but_what_is_asked_for(name, files, tmp_path, tiny_bert, monkeypatch):
    # A tiny encoder gains nothing from an engine: timed, it would be a matter of chance.
    monkeypatch.setattr(ways, "words_per_second", lambda pipelines, *_: {n: 1.0 + i for i, n in enumerate(pipelines)})
    needed = {"speed-up": "onnxruntime", "static": "model2vec.distill"}
    if name in needed:
        pytest.importorskip(needed[name])
    more = ["--json", "-"] if has_table(name) else []
    result = call(name, files, tmp_path, tiny_bert, "--quiet", *more)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "%|" not in result.stderr
    if more:
        assert json.loads(result.stdout)
    else:
        assert result.stdout == ""


@pytest.mark.parametrize("name", ["speed-up", "report", "calibrate"])
def test_rows_of_another_kind_name_init(name, files, tmp_path):
    out = [tmp_path / "out"] if name != "calibrate" else []
    result = invoke(name, files / "ours", files / "rows.csv", *out)
    assert result.exit_code == 1 and "[T218]" in result.output and "W090" not in result.output
    assert f"transfer init {files / 'rows.csv'}" in " ".join(result.output.split()) and not list(tmp_path.iterdir())


def test_json_into_a_file_beside_the_table(files, tmp_path, tiny_bert):
    result = call("suggest", files, tmp_path, tiny_bert, "--json", tmp_path / "found.json")
    assert result.exit_code == 0 and "text" in result.stdout
    texts = json.loads((tmp_path / "found.json").read_text())["texts"]
    assert len(texts) == 2 and {"text", "meta"} == set(texts[0])
    # Without a file it goes to the screen.
    for more in (["--json"], ["--json", "--seed", "0"]):
        assert json.loads(call("suggest", files, tmp_path, tiny_bert, *more).stdout)["texts"] == texts


@pytest.mark.parametrize("path", ["weights.bin", "no/such/folder/x.json"])
def test_json_overwrites_nothing_else(path, files, tmp_path, tiny_bert):
    (tmp_path / "weights.bin").write_text("mine")
    result = call("suggest", files, tmp_path, tiny_bert, "--json", tmp_path / path)
    assert result.exit_code == 2 and "T480" in result.output
    assert (tmp_path / "weights.bin").read_text() == "mine"


def test_a_config_is_asked_for():
    result = invoke("config", "-q")
    assert result.exit_code == 0 and "[components.transfer_textcat]" in result.stdout


@pytest.mark.parametrize(("name", "old"), [(name, old) for name, olds in OLD_OPTIONS.items() for old in olds])
def test_old_names_are_understood(name, old):
    now = OLD_OPTIONS[name][old]
    (param,) = (param for param in params(name, "option") if now in param.opts + param.secondary_opts)
    context = type(COMMANDS[name]).make_context
    words = [old] if param.is_flag else [old, "7.json" if now == "--json" else "7"]
    with CliRunner().isolation():
        found = context(COMMANDS[name], name, words, resilient_parsing=True)
    expected = {"--labels": True, "--no-labels": False, "-m": 7, "-n": 7}.get(old, words[-1])
    given = found.params[param.name]
    assert given == expected or str(given) in (expected, f"['{expected}']"), given


def test_an_old_name_warns(files, tmp_path, tiny_bert):
    result = call("retention", files, tmp_path, tiny_bert, "-o", tmp_path / "table.json")
    assert result.exit_code == 0 and "W480" in result.stderr and "--json" in result.stderr
    assert json.loads((tmp_path / "table.json").read_text())["retention"]


MISTAKES = {
    "data that are no data": ("report", "ours words.txt OUT"),
    "data cut short": ("calibrate", "ours cut.spacy"),
    "a config that is none": ("fit", "words.txt OUT"),
    "a space that is none": ("tune", "config.cfg words.txt -o OUT"),
    "a name that is not registered": ("lr-find", "config.cfg -o - --training.batcher.@batchers nothing.v1"),
    "texts that are none": ("vectors", "empty.txt OUT"),
    "a checkpoint that is none": ("from-hf", "model OUT"),
    "no such component": ("to-hf", "ours OUT --component nothing"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_line_on_standard_error(what, files, tmp_path):
    (files / "cut.spacy").write_bytes((files / "dev.spacy").read_bytes()[:50])
    (files / "empty.txt").touch()
    name, words = MISTAKES[what]
    places = {"OUT": tmp_path / "out"}
    found = [places.get(word, files / word if (files / word).exists() else word) for word in words.split()]
    result = invoke(name, *found, "--quiet")
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1 and result.stdout == "" and result.stderr.strip(), result.output
    assert not (tmp_path / "out").exists()


# What is read, by the code of the error where it is not there. In a list it is each but the last.
NEEDED = {"PIPELINE": "T756", "BEFORE": "T756", "AFTER": "T756", "BASE HEAD... OUT": "T756", "SOURCE": "T100"}
NEEDED |= dict.fromkeys(("CONFIG", "DATA", "TEXTS", "FILE", "SPACE"), "T483")
OPTIONAL = {"--tokenizer": "T756", "--backbone": "T100"}
OPTIONAL |= dict.fromkeys(
    ("--candidates", "--code", "--corpus", "--dev", "--exclude", "--test", "--train-texts"), "T483"
)
CHOICES = {"--task", "--tuning", "--kind", "--head", "--context", "--ways", "--estimator", "--label-texts", "--lang"}
CHOICES |= {"--algorithm", "--document", "--engine", "--format", "--method", "--over", "--sampler", "--strategy"}


def is_read(param):
    return param.metavar in NEEDED or OPTIONAL.keys() & param.opts


READ = [(name, param) for name in sorted(COMMANDS) for param in COMMANDS[name].params if is_read(param)]
CHOSEN = [(name, option) for name in sorted(COMMANDS) for p in params(name, "option") for option in CHOICES & {*p.opts}]


def test_all_that_is_read_or_chosen_is_walked():
    """A new argument is what is read, or where it is written; an option that takes a path is in one of the lists."""
    places = {param.metavar for name in COMMANDS for param in params(name, "argument")}
    assert places - NEEDED.keys() == {"OUT"}
    written = {"--output", "--json", "--picture", "--keep-rows", "--cache"}
    for name in COMMANDS:
        annotated = inspect.signature(COMMANDS[name].callback).parameters
        for param in params(name, "option"):
            kind = get_args(annotated[param.name].annotation)[0] if param.name in annotated else None
            assert Path not in (kind, *get_args(kind)) or {*written, *OPTIONAL} & {*param.opts}, param.opts
            is_choice = get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum))
            assert not is_choice or CHOICES & {*param.opts}, param.opts


@pytest.mark.parametrize(
    ("name", "param"), READ, ids=[f"{name} {param.metavar or param.opts[-1]}" for name, param in READ]
)
def test_what_is_not_there_is_2(name, param, files, tmp_path, tiny_bert):
    if name == "select" and "--backbone" in param.opts:
        pytest.skip("the others are ranked, and a warning names it")
    words = RUNS[name].split()
    arguments = [each.metavar for each in params(name, "argument")]
    code = NEEDED.get(param.metavar) or next(OPTIONAL[option] for option in param.opts if option in OPTIONAL)
    code = "T960" if (name, param.metavar) == ("annotate", "DATA") else code  # It may be a pattern, or an address.
    if param.metavar in arguments:
        at = arguments.index(param.metavar)
        words[at : at + 1] = ["./nowhere"]
    else:
        words += [param.opts[0], "./nowhere"]
    result = with_words(name, words, files, tmp_path, tiny_bert)
    assert result.exit_code == 2 and f"[{code}]" in result.stderr and "nowhere" in result.stderr, result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "option"), CHOSEN)
def test_a_choice_that_is_not_known_is_2(name, option, files, tmp_path, tiny_bert):
    result = with_words(name, [*RUNS[name].split(), option, "qq"], files, tmp_path, tiny_bert)
    assert result.exit_code == 2 and "qq" in result.stderr, result.output
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_pipeline_is_2(files, tmp_path):
    for name in ("delta", "to-hf"):
        result = invoke(name, files / "checkpoint", tmp_path / "out")
        assert result.exit_code == 2 and "[T756]" in result.stderr


def test_usage_is_2():
    assert invoke("fit", "config.cfg").exit_code == 2
    assert invoke("suggest", "a", "b", "--number", "3").exit_code == 2


def test_an_override_without_a_section_is_2(files, tmp_path):
    result = invoke("fit", files / "config.cfg", tmp_path / "out", "--steps", "3")
    assert result.exit_code == 2 and "--steps" in result.output


def test_numbers_become_json():
    import numpy

    found = voice._plain({"a": numpy.float32("nan"), 2: (numpy.int64(3), [float("inf")]), "c": numpy.eye(1)})
    assert json.loads(json.dumps(found)) == {"a": None, "2": [3, [None]], "c": [[1.0]]}


def test_the_script_has_a_name_that_shells_complete(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["spacy-transfer", "--show-completion", "bash"])
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    with pytest.raises(SystemExit) as left:
        script()
    assert left.value.code == 0 and "_SPACY_TRANSFER_COMPLETE" in capsys.readouterr().out
    # What the shell asks for when the key is pressed.
    for words, count, expected in (("spacy-transfer sug", 1, "suggest"), ("spacy-transfer suggest --qu", 2, "--quiet")):
        monkeypatch.setattr("sys.argv", ["spacy-transfer"])
        monkeypatch.setenv("_SPACY_TRANSFER_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(count))
        with pytest.raises(SystemExit):
            script()
        assert capsys.readouterr().out.split() == [expected]
