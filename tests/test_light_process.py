"""A process without torch: what it refuses, and which components of other packages stay."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from spacy_transfer.light_process import _needs_torch, no_torch

SCRIPT = """
import catalogue, spacy_transfer
spacy_transfer.no_torch()
points = catalogue.AVAILABLE_ENTRY_POINTS["spacy_factories"]
assert "transfer_backbone" in {point.name for point in points}
import numpy
for name in ("torch.nn", "transformers"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error, error.name)
"""


def test_torch_and_transformers_are_refused_and_nothing_else():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("T278") == 2


def test_too_late():
    with pytest.raises(ImportError, match="T279"):
        no_torch()


@pytest.mark.parametrize(
    ("value", "requires", "needs"),
    [
        ("other.module:make", ["torch>=1.8", "spacy"], True),
        ("other.module:make", ["spacy", "transformers"], True),
        ("other.module:make", ["torch-geometric", "torchvision"], False),
        ("other.module:make", None, False),
        ("spacy_transfer.module:make", ["torch"], False),
    ],
)
def test_components_that_need_torch(value, requires, needs):
    assert _needs_torch(SimpleNamespace(value=value, dist=SimpleNamespace(requires=requires))) is needs


def test_an_entry_point_without_a_package():
    assert not _needs_torch(SimpleNamespace(value="other:make", dist=None))
