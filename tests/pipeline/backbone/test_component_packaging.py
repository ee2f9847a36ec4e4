"""`spacy package`, pip install, a fresh process without network: the same numbers, bit for bit."""

import json
import os
import subprocess
import sys

import pytest
import spacy
from spacy.cli.package import package

from ...pipelines import make_pipeline, step

pytestmark = pytest.mark.wheel

TEXTS = ["the cat sees a dog", "a dog", "dogs see the big cat here. " * 8]

PREDICT = """
import json, sys, spacy, torch
torch.set_num_threads(1)
nlp = spacy.load(sys.argv[1])
docs = list(nlp.pipe(json.loads(sys.argv[2])))
print(json.dumps([[doc.tensor.tolist(), doc.cats, [t.tag_ for t in doc]] for doc in docs]))
"""


@pytest.mark.slow
def test_packaged_and_installed(tiny_bert, tmp_path, capsys):
    nlp, examples, optimizer = make_pipeline(tiny_bert, ["tagger", "textcat"])
    for _ in range(3):
        step(nlp, examples, optimizer)
    nlp.to_disk(tmp_path / "trained")
    (tmp_path / "packages").mkdir()
    package(
        tmp_path / "trained", tmp_path / "packages", name="tiny", version="1.0.0", create_sdist=False, create_wheel=True
    )
    capsys.readouterr()
    (wheel,) = (tmp_path / "packages").glob("en_tiny-1.0.0/dist/*.whl")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path / "site")]
    subprocess.run([*pip, str(wheel)], check=True)
    meta = spacy.util.load_meta(tmp_path / "site" / "en_tiny" / "meta.json")
    assert any(requirement.startswith("spacy-transfer") for requirement in meta["requirements"])
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PREDICT, "en_tiny", json.dumps(TEXTS)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=tmp_path).stdout
    expected = [[doc.tensor.tolist(), doc.cats, [t.tag_ for t in doc]] for doc in nlp.pipe(TEXTS)]
    assert json.loads(out.splitlines()[-1]) == expected
