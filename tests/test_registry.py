"""Every public name: it resolves, it is listed here, and it loads light."""

import ast
import re
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest
import spacy

import spacy_transfer

pytestmark = pytest.mark.wheel

FACTORIES = {
    "transfer_backbone",
    "transfer_ner",
    "transfer_regressor",
    "transfer_contrast",
    "transfer_rows",
    "transfer_tagger",
    "transfer_textcat",
    "transfer_textcat_multilabel",
}
ARCHITECTURES = {
    f"spacy-transfer.{name}.v1"
    for name in (
        "TransformerBackbone",
        "OnnxBackbone",
        "TransformerModel",
        "Tok2VecTransformer",
        "VectorsBackbone",
        "PipelineBackbone",
        "HashEmbedBackbone",
        "NextWord",
        "MatchRows",
        "CNNContext",
        "BiLSTMContext",
        "OwnBackbone",
        "Listener",
        "DocumentListener",
        "TextCatHead",
        "ContrastHead",
        "RegressionHead",
        "TokenHead",
        "MaskedWords",
        "Contrastive",
        "Denoising",
    )
}
SCORERS = {f"spacy-transfer.{name}Scorer.v1" for name in ("NER", "PerCorpus", "Regression", "Tagger", "TextCat")}
READERS = {f"spacy-transfer.{name}.v1" for name in ("HeldOutCorpus", "MixedCorpus", "RawText", "Rehearsal", "Teacher")}
BATCHERS = {"spacy-transfer.LabelBatcher.v1", "spacy-transfer.TaskBatcher.v1"}
LOGGERS = {"spacy-transfer.ConsoleLogger.v1", "spacy-transfer.RetentionLogger.v1"}
MISC = {
    f"spacy-transfer.{name}.v1"
    for name in ("HScore", "LinearProbe", "LogME", "NLeep", "NearestNeighbours", "TaskWeights", "Tuning")
}
SCHEDULES = {
    f"spacy-transfer.{name}.v1" for name in ("Linear", "Cosine", "OneCycle", "SlantedTriangular", "InverseSqrt")
}
OPTIMIZERS = {f"spacy-transfer.{name}.v1" for name in ("AdamW", "SGD", "RMSprop", "Adafactor")}
COMMANDS = {
    "transfer_affinity",
    "transfer_annotate",
    "transfer_assess",
    "transfer_calibrate",
    "transfer_config",
    "transfer_debug",
    "transfer_fit",
    "transfer_from_hf",
    "transfer_graft",
    "transfer_delta",
    "transfer_init",
    "transfer_lr_find",
    "transfer_new_transformer",
    "transfer_report",
    "transfer_retention",
    "transfer_select",
    "transfer_speed_up",
    "transfer_static",
    "transfer_suggest",
    "transfer_to_hf",
    "transfer_to_source",
    "transfer_tune",
    "transfer_vectors",
}
CALLBACKS = {
    f"spacy-transfer.{name}.v1"
    for name in ("Anchor", "Calibrate", "CarryHead", "LeaveOut", "MergeAdapters", "Ranks", "Resume", "SolveHead")
}
SCRIPTS = {"spacy-transfer"}
NAMES = {
    "console_scripts": SCRIPTS,
    "spacy_factories": FACTORIES,
    "spacy_architectures": ARCHITECTURES,
    "spacy_scorers": SCORERS,
    "spacy_readers": READERS,
    "spacy_batchers": BATCHERS,
    "spacy_loggers": LOGGERS,
    "spacy_callbacks": CALLBACKS,
    "spacy_misc": MISC,
    "thinc_schedules": SCHEDULES,
    "thinc_optimizers": OPTIMIZERS,
    "spacy_cli": COMMANDS,
}
PACKAGE = Path(spacy_transfer.__file__).parent


def ours(group):
    return {point for point in entry_points(group=group) if point.value.startswith("spacy_transfer.")}


def test_the_public_names_are_these():
    groups = {point.group for point in distribution("spacy-transfer").entry_points}
    assert {group: {point.name for point in ours(group)} for group in groups} == NAMES


BUILDERS = [
    (registry, name)
    for registry, names in (
        ("architectures", ARCHITECTURES),
        ("scorers", SCORERS),
        ("readers", READERS),
        ("batchers", BATCHERS),
        ("loggers", LOGGERS),
        ("callbacks", CALLBACKS),
        ("misc", MISC),
        ("schedules", SCHEDULES),
        ("optimizers", OPTIMIZERS),
    )
    for name in sorted(names)
]


@pytest.mark.parametrize(("registry", "name"), BUILDERS)
def test_builders_resolve_and_explain_themselves(registry, name):
    build = spacy.registry.get(registry, name)
    assert re.search(r"RETURNS \(", build.__doc__)
    assert not [p for p in build.__code__.co_varnames[: build.__code__.co_argcount]], "keyword-only"


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_factories_have_complete_default_configs(name, nlp):
    meta = nlp.get_factory_meta(name)
    assert "model" in meta.default_config
    assert "RETURNS (" in spacy.registry.get("factories", name).__doc__


def test_entry_points_load_without_torch_and_transformers():
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from importlib.metadata import entry_points\n"
        "import spacy, spacy_transfer\n"
        "spacy.blank('en')\n"
        f"groups = {sorted(NAMES)}\n"
        "points = [p for g in groups for p in entry_points(group=g)]\n"
        "ours = [p.load() for p in points if p.value.startswith('spacy_transfer')]\n"
        "print(len(ours))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    # The other plugins' entry points, spacy-transformers' own among them, may need torch: only ours are loaded.
    if "spacy_transformers" in out.stderr:
        code = code.replace("spacy.blank('en')\n", "")
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.stdout.strip() == str(sum(len(names) for names in NAMES.values())), out.stderr


def test_spacy_transformers_is_imported_by_the_drop_in_alone():
    """Whoever uses vectors only, or transformers 5, must not need it."""
    pytest.importorskip("torch")
    code = (
        "import importlib, pkgutil, sys\n"
        "sys.modules['spacy_transformers'] = None\n"
        "import spacy_transfer\n"
        "for module in pkgutil.walk_packages(spacy_transfer.__path__, 'spacy_transfer.'):\n"
        "    try:\n"
        "        importlib.import_module(module.name)\n"
        "    except ImportError as error:\n"
        "        print(module.name, error.name)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    failed = [line.split() for line in out.stdout.splitlines()]
    assert {name.split(".")[0] for _, name in failed} == {"spacy_transformers"}
    assert all("dropin" in module for module, _ in failed), failed


def test_nothing_that_is_read_can_run_code():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf8")
        assert not re.search(r"import pickle|torch\.load|joblib|trust_remote_code\s*=(?!\s*(False|\{))", text), path
        for call in ast.walk(ast.parse(text)):
            # What transformers chooses by a name in a file could be code beside it.
            called = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
            if re.match(r"(transformers\.)?Auto\w+\.from_pretrained$", called):
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                assert given.get("trust_remote_code") == "False", f"{path}:{call.lineno}"


def test_version_is_the_distributions():
    from importlib.metadata import version

    assert version("spacy-transfer") == spacy_transfer.__version__
