"""The safetensors shim: what it writes, what it refuses, averages."""

import sys

import numpy
import pytest
import torch
from thinc.api import Adam, ArgsKwargs, Model

from spacy_transfer.backbones.shims.safetensors_shim import SafetensorsShim, dump_state, load_state
from spacy_transfer.tuning.optimizers import adamw_v1


def linear(seed, outputs=2):
    torch.manual_seed(seed)
    return torch.nn.Linear(3, outputs)


def test_round_trip_is_bit_equal_and_no_pickle(monkeypatch):
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(torch, "save", None)
    shim, other = SafetensorsShim(linear(0)), SafetensorsShim(linear(1))
    other.from_bytes(shim.to_bytes())
    for name, value in shim._model.state_dict().items():
        assert torch.equal(value, other._model.state_dict()[name])


def test_tied_parameters_round_trip():
    module = torch.nn.ModuleList([linear(0), linear(1)])
    module[1].weight = module[0].weight
    data = dump_state(module)
    fresh = torch.nn.ModuleList([linear(2), linear(3)])
    fresh[1].weight = fresh[0].weight
    load_state(fresh, data)
    assert torch.equal(fresh[1].weight, module[0].weight)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (torch.nn.Linear(3, 2, bias=False), r"unexpected: \['bias'\]"),
        (torch.nn.Linear(3, 5), r"shape: \['bias', 'weight'\]"),
        (torch.nn.Sequential(torch.nn.Linear(3, 2)), r"Missing: \['0.bias', '0.weight'\]"),
    ],
)
def test_other_names_or_shapes(module, says):
    with pytest.raises(ValueError, match=f"T102.*{says}"):
        load_state(module, dump_state(linear(0)))


def test_damaged_state():
    with pytest.raises(ValueError, match="T101"):
        load_state(linear(0), dump_state(linear(0))[:40])


def test_averages_reach_torch_and_go_again():
    shim = SafetensorsShim(linear(0))
    optimizer = Adam(0.1, use_averages=True)
    inputs = ArgsKwargs(args=(torch.ones(4, 3),), kwargs={})
    for _ in range(4):
        output, backprop = shim(inputs, True)
        backprop(ArgsKwargs(args=((output,),), kwargs={"grad_tensors": (torch.ones_like(output),)}))
        shim.finish_update(optimizer)
    trained = shim._model.weight.detach().clone()
    average = optimizer.averages[(shim.id, "weight")].copy()
    assert numpy.abs(average - trained.numpy()).max() > 1e-4
    model = Model("test", lambda model, X, is_train: (X, lambda d: d), shims=[shim])
    with pytest.raises(KeyError), model.use_params(optimizer.averages):
        assert numpy.array_equal(shim._model.weight.detach().numpy(), average)
        raise KeyError
    assert torch.equal(shim._model.weight, trained)


def test_copies_have_ids_of_their_own():
    shim = SafetensorsShim(linear(0))
    assert len({shim.id, shim.copy().id, shim.copy().id}) == 3


def test_a_step_makes_no_more_calls_for_more_parameters():
    """Of functions of this package: the optimizer takes all parameters of a module at once."""

    def calls(n_layers):
        shim = SafetensorsShim(torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(n_layers))))
        optimizer, found = adamw_v1(), []

        def note(frame, event, _):
            if event == "call" and "spacy_transfer/" in frame.f_code.co_filename:
                found.append(frame.f_code.co_name)

        for _ in range(2):  # The first step enters the parameters.
            for parameter in shim._model.parameters():
                parameter.grad = torch.ones_like(parameter)
            found.clear()
            sys.setprofile(note)
            shim.finish_update(optimizer)
            optimizer.step_schedules()
            sys.setprofile(None)
        return found

    assert "step" in calls(1) and calls(1) == calls(9)
