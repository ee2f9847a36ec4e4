"""The model that `spacy pretrain` trains: output layer, steps, schedules, averages, bad input."""

import numpy
import pytest
import spacy
import srsly
import torch
from thinc.api import SGD, Adam
from transformers import AutoTokenizer, GPT2Config, GPT2Model

from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.pretraining.objective import NOTHING, Measured, Objective, build_pretraining, pretraining_of
from spacy_transfer.pretraining.objectives.masked_pieces import MaskedPieces
from spacy_transfer.pretraining.objectives.masked_words import build_masked_words_v1
from spacy_transfer.tuning.policy import Tuning

from ..pipelines import backbone_config
from .pretrain import config, run, transformer, vectors_cnn, write_texts, write_vectors

OBJECTIVE = '@architectures = "spacy-transfer.MaskedWords.v1"\nprogress = false'


class PullToOne(Objective):
    """Mean squared distance of rows to one, times a learned scale: small enough to be done by hand."""

    name, unit, is_likelihood = "test", "token", False

    def start(self, docs, reader):
        return {"first": docs[0].text}

    def make_output(self, settings):
        return torch.nn.Linear(1, 1, bias=False)

    def measure(self, docs, output, draw, is_train):
        rows, back = self.backbone(docs, is_train)
        flat = numpy.concatenate(rows) - 1.0
        scale = float(output.weight.detach())

        def backprop():
            back([2 * scale * (doc - 1.0) / len(flat) for doc in rows])
            output.weight.grad = torch.full((1, 1), float((flat**2).sum(1).mean()))

        return Measured(scale * float((flat**2).sum()), len(flat), backprop)


@pytest.fixture
def backbone(tiny_bert):
    model = build_transformer_backbone_v1(source=tiny_bert, window=32)
    model.initialize()
    return model


def test_a_step_is_the_gradient_of_the_mean(backbone, nlp):
    """With plain SGD the output layer moves by rate * gradient."""
    model = build_pretraining(PullToOne(backbone), progress=False)
    docs = [nlp.make_doc("the cat"), nlp.make_doc("a")]
    measured, backprop = model.begin_update(docs)
    pretraining = pretraining_of(model)
    assert pretraining.settings == {"first": "the cat"} and measured.count == 3
    loss, gradient = model.attrs["loss"](model.ops, docs, measured)
    assert loss == pytest.approx(measured.total / 3)
    weight, rows = pretraining.output._model.weight, numpy.concatenate(backbone.predict(docs))
    expected = float(weight.detach()) - 0.01 * ((rows - 1.0) ** 2).sum(1).mean()
    backprop(gradient)
    model.finish_update(SGD(0.01, L2=0.0, grad_clip=0.0, use_averages=False))
    assert float(pretraining.output._model.weight) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("count", [1, 5])
def test_an_anchor_pulls_as_hard_however_many_texts_a_batch_has(count, tiny_bert, nlp):
    """The loss is a mean. With plain SGD a weight moves by rate * strength * its distance, beside its own gradient."""
    moved = []
    for strength in (1e-9, 0.5):
        backbone = build_transformer_backbone_v1(source=tiny_bert, window=32, tuning=Tuning(anchor=strength))
        backbone.initialize()
        weight = dict(backbone.shims[0].encoder.named_parameters())["transformer.encoder.layer.1.output.dense.bias"]
        weight.data += 1.0
        torch.manual_seed(0)
        model = build_pretraining(PullToOne(backbone), progress=False)
        model.begin_update([nlp.make_doc("the cat")] * count)[1](None)
        model.finish_update(SGD(0.01, L2=0.0, grad_clip=0.0, use_averages=False))
        moved.append(weight.detach().numpy().copy())
    numpy.testing.assert_allclose(moved[0] - moved[1], 0.01 * 0.5, atol=1e-6)


def test_schedules_step(backbone, nlp):
    """`spacy pretrain` does not move them on; ours do with each step."""
    model = build_pretraining(PullToOne(backbone), progress=False)
    optimizer, rates = Adam(iter([0.3, 0.2, 0.1, 0.05])), []
    for _ in range(3):
        rates.append(optimizer.learn_rate)
        model.begin_update([nlp.make_doc("a")])[1](None)
        model.finish_update(optimizer)
    assert rates == pytest.approx([0.3, 0.2, 0.1])


def test_held_out_is_the_mean_over_all_batches_and_leaves_no_trace(backbone, nlp):
    docs = [nlp.make_doc(text) for text in ["the cat", "a", "", "dogs sing of it", "x y"]]
    pretraining = pretraining_of(build_masked_words_v1(progress=False)(None, backbone))
    pretraining.restore(pretraining.objective.start(docs, None), None)
    state, draw = torch.random.get_rng_state(), numpy.random.default_rng(0)
    found = pretraining.held_out(docs, batch_size=2)
    parts = [
        pretraining.objective.measure(docs[i : i + 2], pretraining.output._model, draw, is_train=False)
        for i in (0, 2, 4)
    ]
    total, count = sum(part.total for part in parts), sum(part.count for part in parts)
    assert (found.total, found.count) == (pytest.approx(total), count) and found.mean == pytest.approx(total / count)
    assert pretraining.held_out(docs, batch_size=2).total == found.total
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None for p in backbone.shims[0].encoder.parameters())
    assert all(p.grad is None for p in pretraining.output._model.parameters())
    assert pretraining.held_out([nlp.make_doc("")]).mean == NOTHING.mean == 0.0


@pytest.mark.parametrize("kind", ["transformer", "vectors"])
def test_averages_and_none_are_saved(kind, tiny_bert, tmp_path):
    """spaCy saves the averages where an optimizer keeps some, and Thinc fails where it keeps none."""
    raw = write_texts(tmp_path / "raw.txt")
    vectors = vectors_cnn(write_vectors(tmp_path / "words.txt"))
    backbone = transformer(tiny_bert) if kind == "transformer" else vectors
    files = [
        run(tmp_path / averages, raw, backbone, OBJECTIVE, epochs=1, averages=averages)
        for averages in ("true", "false")
    ]
    assert files[0].read_bytes() != files[1].read_bytes()


def test_a_loss_that_is_no_number_stops_and_spoils_nothing(tiny_bert, tmp_path, monkeypatch):
    raw, measure, calls = write_texts(tmp_path / "raw.txt"), MaskedPieces.measure, []
    good = {}

    def spoiled(self, docs, output, draw, is_train):
        found = measure(self, docs, output, draw, is_train)
        calls.append(is_train)
        if sum(calls) < 3:
            return found
        good.update({name: tensor.clone() for name, tensor in self._shim.encoder.state_dict().items()})
        return Measured(float("nan"), found.count, found.backprop) if is_train else found

    monkeypatch.setattr(MaskedPieces, "measure", spoiled)
    with pytest.raises(ValueError, match=r"T823.*step 2.*MaskedWords.*nan"):
        run(tmp_path / "out", raw, transformer(tiny_bert), OBJECTIVE, held_out=0.0)
    backbone = build_transformer_backbone_v1(source=tiny_bert, window=32)
    backbone.initialize()
    before = backbone.shims[0].encoder.state_dict()
    backbone.from_bytes((tmp_path / "out" / "model-last.bin").read_bytes())
    after = backbone.shims[0].encoder.state_dict()
    assert len(calls) == 3 and all(torch.equal(good[name], after[name]) for name in after)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_gradients_that_are_no_numbers_stop(tiny_bert, tmp_path):
    raw = write_texts(tmp_path / "raw.txt")
    with pytest.raises(ValueError, match=r"T823|T652"):
        run(tmp_path / "out", raw, transformer(tiny_bert), OBJECTIVE, rate=1e30)
    saved = srsly.msgpack_loads((tmp_path / "out" / "model-last.bin").read_bytes())
    assert saved["nodes"][0]["name"] == "transfer_transformer"


def test_a_listener_has_no_backbone(tiny_bert, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    tagger = nlp.add_pipe("tagger", config={"model": {"tok2vec": {"@architectures": "spacy-transfer.Listener.v1"}}})
    with pytest.raises(ValueError, match=r"T822.*listens to '\*'.*\"transfer_backbone\".*layer = \"\""):
        build_masked_words_v1(progress=False)(nlp.vocab, tagger.model.get_ref("tok2vec"))


def test_a_kind_without_masked_language_model(tiny_bert, tmp_path):
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    GPT2Model(GPT2Config(vocab_size=len(AutoTokenizer.from_pretrained(tiny_bert)), **size)).save_pretrained(tmp_path)
    backbone = build_transformer_backbone_v1(source=str(tmp_path), window=32)
    backbone.initialize()
    pretraining = pretraining_of(build_masked_words_v1(progress=False)(None, backbone))
    with pytest.raises(ValueError, match=r"T824.*gpt2.*Contrastive"):
        pretraining.restore(pretraining.objective.start([], None), None)


def test_half_precision(tiny_bert):
    backbone = build_transformer_backbone_v1(source=tiny_bert, window=32, precision="fp16")
    with pytest.raises(ValueError, match=r"T827.*MaskedWords.*bf16"):
        build_masked_words_v1(progress=False)(None, backbone)


def test_it_goes_on(tiny_bert, tmp_path):
    """The output layer comes along: the held-out loss begins where it ended."""
    raw, log = write_texts(tmp_path / "raw.txt"), tmp_path / "log.jsonl"
    objective = f'{OBJECTIVE}\nlog = "{log}"'
    run(tmp_path / "a", raw, transformer(tiny_bert), objective, epochs=1)
    run(tmp_path / "b", raw, transformer(tiny_bert), objective, resume=tmp_path / "a" / "model0.bin", epochs=2)
    losses = [line["held_out_loss"] for line in srsly.read_jsonl(log)]
    assert len(losses) == 4 and losses[2] == losses[1] < losses[0] and losses[3] < losses[2]


def test_it_does_not_go_on_from_another_objective(tiny_bert, tmp_path):
    raw = write_texts(tmp_path / "raw.txt")
    run(tmp_path / "a", raw, transformer(tiny_bert), OBJECTIVE, epochs=1)
    file = tmp_path / "a" / "model0.bin"
    saved = srsly.msgpack_loads(file.read_bytes())
    saved["spacy_transfer_pretraining"]["name"] = "spacy-transfer.Other.v1"
    file.write_bytes(srsly.msgpack_dumps(saved))
    with pytest.raises(ValueError, match=r"T825.*Other\.v1.*MaskedWords\.v1.*to-source"):
        run(tmp_path / "b", raw, transformer(tiny_bert), OBJECTIVE, resume=file)


def test_the_config_of_these_tests_is_whole(tiny_bert, tmp_path):
    filled = config(tmp_path, transformer(tiny_bert), OBJECTIVE)
    assert filled["pretraining"]["component"] == "transfer_backbone" and filled["corpora"]["pretrain"]
