"""spacy-transformers' own tests, out of its wheel, run on the drop-in: every TransformerModel that they build, by
config or directly, is ours, and every model they ask the hub for is a tiny one of the same kind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .peer_hub import write_hub

ROOT = Path(__file__).parents[3]
# Test -> why it says nothing about the drop-in.
NOT_APPLICABLE = {
    "test_pipeline_component.py::test_transformer_sentencepiece_IO": (
        "needs the slow tokenizer of a sentencepiece model, which only the hub and the package sentencepiece (not a "
        "dependency) can give; the other slow tokenizers go through the same lines in test_serialize.py"
    ),
}


@pytest.fixture(scope="module")
def report(peer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("peer")
    write_hub(folder / "hub")
    (folder / "pytest.ini").write_text("[pytest]")
    environment = {
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "PEER_REPORT": str(folder / "report.json"),
        "PYTHONPATH": str(ROOT),
        "TOKENIZERS_PARALLELISM": "false",
    }
    # Our own pytest.ini and conftest.py have no say in theirs.
    command = [sys.executable, "-m", "pytest", "--pyargs", "spacy_transformers", "-c", "pytest.ini", "--rootdir", "."]
    command += ["-p", "tests.backbones.spacy_transformers.peer_plugin", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    assert (folder / "report.json").exists(), run.stdout + run.stderr
    return json.loads((folder / "report.json").read_text())


def test_all_that_apply_pass(report):
    others = {name: why for name, (outcome, why) in report["outcomes"].items() if outcome != "passed"}
    failed = {name: why for name, why in others.items() if name not in NOT_APPLICABLE}
    assert not failed, "\n\n".join(f"{name}\n{why}" for name, why in failed.items())
    # One that passes after all, or is no more, has no place in the list.
    assert set(others) == set(NOT_APPLICABLE)


def test_it_was_the_drop_in_that_was_tested(report):
    assert report["built"] >= 50
    assert len(report["outcomes"]) >= 75
    folders = {name.partition("::")[0] for name in report["outcomes"]}
    assert folders >= {"test_pipeline_component.py", "test_serialize.py", "test_model_wrapper.py"}
