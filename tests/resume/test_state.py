"""The state of a training, taken from one pipeline and set in another that starts the same."""

import json

import numpy
import pytest
import torch
from thinc.api import SGD, Adam, PyTorchWrapper, registry

from spacy_transfer.backbones.shims.loss_scale import LossScale
from spacy_transfer.resume.checkpoints import _from_json, _to_json
from spacy_transfer.resume.state import Keeper, State

from ..pipelines import make_pipeline, step

OPTIMIZERS = {
    "adamw": lambda: registry.get("optimizers", "spacy-transfer.AdamW.v1")(use_averages=True),
    "sgd": lambda: registry.get("optimizers", "spacy-transfer.SGD.v1")(momentum=0.9),
    "adafactor": lambda: registry.get("optimizers", "spacy-transfer.Adafactor.v1")(),
    "adam": lambda: Adam(0.01, use_averages=True),
    "radam": lambda: registry.get("optimizers", "RAdam.v1")(0.01),
    "thinc_sgd": lambda: SGD(0.01),
}


def train(nlp, examples, optimizer, n):
    for _ in range(n):
        step(nlp, examples, optimizer)
        optimizer.step_schedules()


def through_json(state):
    values = json.loads(json.dumps(state.values, default=_to_json), object_hook=_from_json)
    return State({name: array.copy() for name, array in state.arrays.items()}, values)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_steps_and_two_more_are_four(name, tiny_bert):
    nlp, examples, _ = make_pipeline(tiny_bert)
    other, its_examples, _ = make_pipeline(tiny_bert)
    optimizer, its_optimizer = OPTIMIZERS[name](), OPTIMIZERS[name]()
    keeper, its_keeper = Keeper(nlp, False), Keeper(other, False)
    train(nlp, examples, optimizer, 2)
    nlp.vocab.strings.add("a new word")
    state = through_json(keeper.take(optimizer))
    assert state.values["strings"] == ["a new word"]
    train(nlp, examples, optimizer, 2)
    its_keeper.set(state, its_optimizer)
    train(other, its_examples, its_optimizer, 2)
    assert other.to_bytes() == nlp.to_bytes() and "a new word" in other.vocab.strings
    averages = [{k[1]: v for k, v in (o.averages or {}).items()} for o in (optimizer, its_optimizer)]
    assert averages[0].keys() == averages[1].keys()
    assert all(numpy.array_equal(averages[0][k], averages[1][k]) for k in averages[0])


def test_weights_that_have_not_changed_are_not_taken(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert, frozen=True)
    keeper = Keeper(nlp, False)
    train(nlp, examples, optimizer, 1)
    arrays = [name for name in keeper.take(optimizer).arrays if name.startswith("weights.")]
    assert arrays and all(name.startswith("weights.tagger.") for name in arrays)
    assert all(name.startswith("transfer_backbone.") for name in keeper.unchanged)
    everything = Keeper(nlp, True).take(optimizer).arrays
    assert any(name.startswith("weights.transfer_backbone.") for name in everything)


def test_a_state_of_another_pipeline(tiny_bert):
    nlp, examples, optimizer = make_pipeline(tiny_bert)
    state = Keeper(nlp, True).take(optimizer)
    name = next(name for name in state.arrays if name.startswith("weights.tagger."))
    state.arrays[name] = numpy.zeros((7, 7, 7), dtype="float32")
    before = nlp.to_bytes()
    with pytest.raises(ValueError, match=r"T946.*tagger.*\(7, 7, 7\)"):
        Keeper(nlp, True).set(state, optimizer)
    assert nlp.to_bytes() == before


def test_thinc_steps_with_gradients_of_zeros(nlp):
    """After its first step Thinc steps all parameters, by their momentum, also without a new gradient."""
    moved = []
    for is_other in (False, True):
        tagger = nlp.add_pipe("tagger", name=f"tagger_{is_other}")
        tagger.model = PyTorchWrapper(torch.nn.BatchNorm1d(2))
        optimizer, keeper = Adam(0.1), Keeper(nlp, True)
        parameter = tagger.model.shims[0]._model.weight
        parameter.grad = torch.ones(2)
        tagger.finish_update(optimizer)
        tagger.model.shims[0]._model.running_mean += 3
        if is_other:
            state = through_json(keeper.take(optimizer))
            parameter.grad, optimizer = None, Adam(0.1)
            tagger.model.shims[0]._model.running_mean *= 0
            keeper.set(state, optimizer)
            assert float(tagger.model.shims[0]._model.running_mean[0]) == 3.0
        tagger.finish_update(optimizer)
        moved.append(parameter.detach().tolist())
        nlp.remove_pipe(tagger.name)
    assert moved[0] == moved[1] != [1.0, 1.0]


def test_a_loss_scale_goes_on():
    scale, other = LossScale(scale=8.0, interval=2), LossScale(scale=1.0, interval=2)
    scale.unscale([torch.ones(1)], True)
    other.set_training_state(json.loads(json.dumps(scale.training_state())))
    for each in (scale, other):
        each.unscale([torch.ones(1)], True)
        assert each.scale == 16.0


def test_the_loss_scale_of_thincs_own_shim(nlp):
    tagger = nlp.add_pipe("tagger")
    tagger.model = PyTorchWrapper(torch.nn.Linear(2, 2))
    scaler = tagger.model.shims[0]._grad_scaler
    scaler._scale *= 4
    keeper = Keeper(nlp, True)
    state = through_json(keeper.take(Adam(0.1)))
    wanted = scaler._scale.clone()
    scaler._scale *= 2
    keeper.set(state, Adam(0.1))
    assert scaler._scale.dtype == wanted.dtype and bool(scaler._scale == wanted)
