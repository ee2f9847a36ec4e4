"""`spacy debug transfer`: the table, each warning with its key and way out, the exit code.

Guards also: common.py, config_checks.py, data_checks.py.
"""

import re
from collections import Counter

import pytest
import spacy
from spacy.cli import app
from thinc.api import Config
from typer.testing import CliRunner

import spacy_transfer.cli.debug  # noqa: F401  (hangs the command on spaCy's)
from spacy_transfer.cli.data_checks import _rows, _warnings
from spacy_transfer.engines.exports import export_onnx

from ..pipelines import make_pipeline
from ..training import ADAMW, write_training

TUNING = "components.transfer_backbone.model.tuning"
ADAM = """
[training.optimizer]
@optimizers = "Adam.v1"
learn_rate = 0.00005
L2 = 0.0
grad_clip = 0.0
use_averages = false
"""
WARMUP = """
[training.optimizer.learn_rate]
@schedules = "spacy-transfer.Linear.v1"
learn_rate = 0.001
warmup_steps = 1
total_steps = 4
"""


def tuned(**settings):
    return {TUNING: {"@misc": "spacy-transfer.Tuning.v1", **settings}}


def debug(config, *arguments):
    """Exit code, and what was printed, in one line."""
    result = CliRunner().invoke(app, ["debug", "transfer", str(config), *arguments])
    return result.exit_code, re.sub(r"\x1b\[\d*m|\s+", " ", result.output)


def test_help_names_what_it_does():
    result = CliRunner().invoke(app, ["debug", "transfer", "--help"])
    assert result.exit_code == 0 and "known to fail" in " ".join(result.output.split())


def test_a_table_and_nothing_to_warn_of(tiny_bert, tmp_path):
    code, out = debug(write_training(tmp_path, tiny_bert))
    assert code == 0
    assert re.search(r"transfer_backbone 0-2, top 6\.78K yes 5e-05 0\.01 or 0 constant", out)
    assert re.search(r"tagger - 119 yes 5e-05 0\.01 or 0 constant", out)
    assert "W7" not in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.cfg", "train.spacy"]


def test_a_head_that_does_not_listen(tiny_bert, tmp_path):
    own = {"@architectures": "spacy.HashEmbedCNN.v2", "width": 16, "depth": 1, "embed_size": 50}
    own |= {"window_size": 1, "maxout_pieces": 2, "subword_features": False, "pretrained_vectors": None}
    config = write_training(tmp_path, tiny_bert, overrides={"components.tagger.model.tok2vec": own})
    code, out = debug(config)
    assert code == 0 and out.count("[W438] components.tagger does not listen") == 1
    assert "Nothing that is known" not in out


def test_fewer_layers(tiny_bert, tmp_path):
    code, out = debug(write_training(tmp_path, tiny_bert), "--components.transfer_backbone.model.depth", "1")
    assert code == 0 and re.search(r"transfer_backbone 0-1, top 4\.\d+K yes", out)


def test_overrides(tiny_bert, tmp_path):
    config = write_training(tmp_path, tiny_bert)
    code, out = debug(config, "--components.transfer_backbone.frozen", "true")
    assert code == 0 and re.search(r"transfer_backbone 0-2, top 6\.78K no - - -", out)


@pytest.mark.parametrize(
    ("expected", "optimizer", "overrides"),
    [
        (r"W721\] training\.optimizer\.learn_rate = 0\.001", ADAMW.replace("0.00005", "0.001"), {}),
        (
            r"W721\] training\.optimizer\.learn_rate = 0\.0001",
            ADAM.replace("0.00005", "0.0001"),
            {"components.transfer_backbone.frozen": False},
        ),
        (r"no - - - .*W624\] components\.transfer_backbone .* 0\.0001", ADAM.replace("0.00005", "0.0001"), {}),
        (r"W722\] training\.optimizer\.L2 = 0\.01", ADAM.replace("L2 = 0.0", "L2 = 0.01"), {}),
        (r"W723\] training\.optimizer\.grad_clip = 1\.0", ADAM.replace("clip = 0.0", "clip = 1.0"), {}),
        (
            r"W724\] training\.optimizer\.use_averages",
            ADAMW + "use_averages = true\n",
            {"components.transfer_backbone.frozen": True},
        ),
        (r"W724\] training\.optimizer\.use_averages", ADAMW + "use_averages = true\n", tuned(freeze="all")),
        (
            r"W725\] training\.optimizer\.learn_rate ends after 4 steps",
            ADAMW.replace("learn_rate = 0.00005\n", WARMUP),
            {"training.max_steps": 100},
        ),
        (
            r"W726\] training\.optimizer\.learn_rate takes 400 steps",
            ADAMW.replace("learn_rate = 0.00005\n", WARMUP.replace("total_steps = 4", "total_steps = 400")),
            {},
        ),
        (
            r"W727\] training\.optimizer\.learn_rate\.warmup_steps = 5",
            ADAMW.replace(
                "learn_rate = 0.00005\n",
                WARMUP.replace("warmup_steps = 1", "warmup_steps = 5").replace("total_steps = 4", "total_steps = 7"),
            ),
            {},
        ),
        (r"W728\] components\.transfer_backbone\.model\.tuning thaws .* step 5", ADAMW, tuned(head_first=5)),
        (
            r"W729\] training\.accumulate_gradient = 3, but training\.batcher\.size = 2",
            ADAMW,
            {
                "training.accumulate_gradient": 3,
                "training.batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 2},
            },
        ),
    ],
)
def test_what_is_known_to_fail(tiny_bert, tmp_path, expected, optimizer, overrides):
    code, out = debug(write_training(tmp_path, tiny_bert, optimizer=optimizer, overrides=overrides))
    assert code == 0
    assert re.search(expected, out), out
    assert len(re.findall(r"\[W[67]\d\d\]", out)) == 1, out


@pytest.mark.parametrize(
    ("optimizer", "overrides"),
    [
        (ADAMW.replace("learn_rate = 0.00005\n", WARMUP), {}),
        (ADAMW.replace("0.00005", "0.001"), {"components.transfer_backbone.frozen": True}),
        (ADAMW.replace("0.00005", "0.001"), tuned(head_first=2)),
        (ADAMW.replace("AdamW", "SGD").replace("0.00005", "0.01"), {}),
        (ADAM.replace("L2 = 0.0", "L2 = 0.1"), {"components.transfer_backbone.frozen": True}),
    ],
)
def test_what_is_not(tiny_bert, tmp_path, optimizer, overrides):
    code, out = debug(write_training(tmp_path, tiny_bert, optimizer=optimizer, overrides=overrides))
    assert code == 0 and "W7" not in out, out


def test_rate_of_a_group_names_the_group(tiny_bert, tmp_path):
    group = '[training.optimizer.groups]\n[training.optimizer.groups.body]\npattern = "^transfer_"\nlearn_rate = 0.01\n'
    _, out = debug(write_training(tmp_path, tiny_bert, optimizer=ADAMW + group))
    assert "W721] training.optimizer.groups.body.learn_rate = 0.01" in out


def test_a_backbone_in_frozen_components(tiny_bert, tmp_path):
    """Its heads find no rows, so that the pipeline cannot even be initialised: the reason is given all the same."""
    config = write_training(tmp_path, tiny_bert, overrides={"training.frozen_components": ["transfer_backbone"]})
    code, out = debug(config)
    assert code == 1 and "components.transfer_backbone.frozen = true" in out


@pytest.mark.parametrize(
    ("expected", "optimizer", "overrides"),
    [
        (r"T618\] tuning\.layer_decay", ADAM.replace("Adam.v1", "RAdam.v1"), tuned(layer_decay=0.5)),
        (
            r"T602\].*groups\.x.*tagger\.model",
            ADAMW + '[training.optimizer.groups]\n[training.optimizer.groups.x]\npattern = "^tager"\n',
            {},
        ),
        (r"T614\] tuning\.freeze = 9", ADAMW, tuned(freeze=9)),
    ],
)
def test_what_would_not_start(tiny_bert, tmp_path, expected, optimizer, overrides):
    code, out = debug(write_training(tmp_path, tiny_bert, optimizer=optimizer, overrides=overrides))
    assert code == 1 and re.search(expected, out), out


@pytest.mark.parametrize("own", [False, True], ids=["shared", "a backbone of a head's own"])
@pytest.mark.parametrize("sourced", [False, True], ids=["its own config", "sourced"])
def test_an_exported_pipeline_cannot_be_trained(tiny_bert, tmp_path, own, sourced):
    pytest.importorskip("onnxruntime")
    config = write_training(tmp_path, tiny_bert)
    nlp = make_pipeline(tiny_bert, ("textcat", "tagger"))[0]
    copy = export_onnx(nlp, "transfer_backbone", "path/of/original")
    if own:
        copy.replace_listeners("transfer_backbone", "textcat", ["model.tok2vec"])
        copy.remove_pipe("transfer_backbone")
        copy.remove_pipe("tagger")
    copy.to_disk(tmp_path / "exported")
    whole = Config().from_disk(config, interpolate=False)
    names = copy.pipe_names
    exported = Config().from_disk(tmp_path / "exported" / "config.cfg", interpolate=False)["components"]
    source = {"source": str(tmp_path / "exported")}
    whole["components"] = {name: source if sourced else exported[name] for name in names}
    whole["nlp"]["pipeline"] = names
    whole.to_disk(config)
    code, out = debug(config)
    assert code == 1 and re.search(r"T272\].*path/of/original", out) and "Nothing that is known" not in out, out


def test_it_is_there_without_an_import():
    assert any("transfer" in str(module) for module in spacy.registry.cli.get_all().values())


def test_labels_that_cannot_be_learned_and_many_labels():
    first, second = _warnings("ner", Counter(A=9, B=2), Counter(A=1, C=1))
    assert re.match(r"\[W439\] components\.ner: .*: C\.", first) and re.match(r"\[W440\] .*: B\. ", second)
    rows = _rows("ner", Counter({f"L{i:02}": 50 - i for i in range(22)}), Counter(L21=3))
    assert len(rows) == 21 and rows[0] == ("ner", "L00", 50, 0) and rows[-1] == ("ner", "(2 more)", 59, 3)
