"""No product of matrices in a training reads memory that begins where MKL rounds differently."""

import numpy
import pytest
import spacy
import torch
from spacy.cli.train import train
from thinc.api import Adam
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertConfig, BertForMaskedLM

from spacy_transfer.backbones.context import build_bilstm_context_v1
from spacy_transfer.backbones.shims.aligned_memory import align_weights, aligned, as_tensor

from ...pipelines import step
from ...pretraining.pretrain import run, transformer, write_texts
from ...resume.kinds import write_config, write_encoder
from ..spacy_transformers.test_dropin import make


class Products(TorchDispatchMode):
    """Collects the products of matrices, and those with an operand that begins elsewhere."""

    def __init__(self):
        super().__init__()
        self.n, self.unaligned = 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if any(part in name for part in ("mm", "linear", "lstm", "attention")):
            flat = [found for arg in args for found in (arg if isinstance(arg, list | tuple) else [arg])]
            for i, operand in enumerate(flat):
                if isinstance(operand, torch.Tensor) and operand.is_floating_point():
                    self.n += 1
                    if operand.untyped_storage().data_ptr() % 64:
                        self.unaligned.add((name, i, tuple(operand.shape)))
        return func(*args, **(kwargs or {}))


def beside(array):
    """A copy that begins 4 bytes after a multiple of 64."""
    memory = numpy.zeros(array.size + 32, dtype="float32")
    begin = -memory.ctypes.data // 4 % 16 + 1
    found = memory[begin : begin + array.size].reshape(array.shape)
    found[...] = array
    return found


def test_one_tensor():
    array = beside(numpy.arange(6.0).reshape(2, 3))
    tensor = as_tensor(array)
    assert tensor.data_ptr() % 64 == 0 and tensor.tolist() == array.tolist()
    assert aligned(tensor) is tensor
    module = torch.nn.Linear(3, 2)
    module.weight.data = torch.from_numpy(array)
    module.register_buffer("other", torch.from_numpy(array))
    align_weights(module)
    assert module.weight.data_ptr() % 64 == module.other.data_ptr() % 64 == 0
    assert module.weight.tolist() == module.other.tolist() == array.tolist()


@pytest.mark.parametrize("kind", ["full", "lpft", "lora", "adam"])
def test_a_training(kind, tmp_path, monkeypatch):
    given = {"training.max_steps": 16, "components.transfer_backbone.frozen": False}
    if kind == "lpft":  # The upper layer reads states of the lower one that were kept.
        given["components.transfer_backbone.model.tuning.freeze"] = 1
    config = write_config(tmp_path, kind, write_encoder(tmp_path / "bert"), **given)
    with Products() as products:
        train(config, tmp_path / "out")
    assert products.n > 500 and not products.unaligned
    with Products() as products:
        spacy.load(tmp_path / "out" / "model-last")("the cat sees one dog")
    assert products.n and not products.unaligned


def test_the_drop_in(peer, tmp_path):
    nlp, examples = make(write_encoder(tmp_path / "bert"))
    with Products() as products:
        step(nlp, examples, Adam(0.001))
    assert products.n and not products.unaligned


def test_masked_words(tmp_path):
    """The layer of the language model too, and the states that come from a head in NumPy."""
    source, texts = write_masked_bert(tmp_path / "bert"), write_texts(tmp_path / "texts.txt")
    with Products() as products:
        run(tmp_path / "out", texts, transformer(source), '@architectures = "spacy-transfer.MaskedWords.v1"', epochs=1)
    assert products.n and not products.unaligned


def write_masked_bert(folder):
    write_encoder(folder)
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig.from_pretrained(folder))
    model.save_pretrained(folder)
    return folder


def test_rows_of_an_lstm():
    model = build_bilstm_context_v1(width=8, depth=1)
    model.set_dim("nI", 4)
    model.initialize()
    rows = [beside(numpy.ones((n, 4))) for n in (3, 2)]
    with Products() as products:
        found, back = model(rows, is_train=True)
        back([beside(numpy.ones(row.shape)) for row in found])
    assert products.n and not products.unaligned
