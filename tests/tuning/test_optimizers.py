"""Optimizers against torch's own on the same parameters, clipping and averages against a second way.

Guards also: groups.py, torch_optimizer.py.
"""

import re

import numpy
import pytest
import spacy
import torch
from thinc.api import Adam, Config, Linear, chain

from spacy_transfer.tuning import optimizers

RNG = numpy.random.default_rng(0)


def two_layers():
    model = chain(Linear(5, 4), Linear(3, 5))
    model.initialize()
    for layer in model.layers:
        layer.set_param("W", RNG.normal(size=layer.get_param("W").shape).astype("f"))
        layer.set_param("b", RNG.normal(size=layer.get_param("b").shape).astype("f"))
    return model


def parameters(model):
    return [layer.get_param(name) for layer in model.layers for name in ("W", "b")]


def gradients(n_steps):
    return [[RNG.normal(size=shape).astype("f") for shape in ((5, 4), (5,), (3, 5), (3,))] for _ in range(n_steps)]


def set_gradients(model, arrays):
    names = [(layer, name) for layer in model.layers for name in ("W", "b")]
    for (layer, name), array in zip(names, arrays, strict=True):
        layer.set_grad(name, array.copy())


def run(model, optimizer, steps):
    for arrays in steps:
        set_gradients(model, arrays)
        model.finish_update(optimizer)
        optimizer.step_schedules()


PAIRS = {
    "adamw": (
        optimizers.adamw_v1(learn_rate=0.01, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.01),
    ),
    "sgd": (
        optimizers.sgd_v1(learn_rate=0.01, momentum=0.8, nesterov=True, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8, nesterov=True),
    ),
    "rmsprop": (
        optimizers.rmsprop_v1(learn_rate=0.01, momentum=0.5, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    ),
    "adafactor": (
        optimizers.adafactor_v1(learn_rate=0.01, weight_decay=0.1, grad_clip=1.0),
        lambda p: torch.optim.Adafactor(p, lr=0.01),
    ),
}


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_steps_are_torchs_on_thinc_parameters(name):
    """Two steps and more, clipped together, biases not decayed."""
    optimizer, make = PAIRS[name]
    model = two_layers()
    copies = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in parameters(model)]
    weights, biases = copies[::2], copies[1::2]
    plain = make([{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}])
    steps = gradients(5)
    for arrays in steps:
        for parameter, array in zip(copies, arrays, strict=True):
            parameter.grad = torch.from_numpy(array.copy())
        torch.nn.utils.clip_grad_norm_(copies, 1.0)
        plain.step()
    run(model, optimizer, steps)
    for found, expected in zip(parameters(model), copies, strict=True):
        numpy.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_it_steps_where_nobody_calls_step_schedules():
    first, second = gradients(2)
    model = two_layers()
    optimizer = optimizers.sgd_v1(learn_rate=0.1, momentum=0.0, grad_clip=0.0)
    before = [array.copy() for array in parameters(model)]
    set_gradients(model, first)
    model.finish_update(optimizer)
    assert all((a == b).all() for a, b in zip(parameters(model), before, strict=True))
    set_gradients(model, second)
    model.finish_update(optimizer)
    for found, old, gradient in zip(parameters(model), before, first, strict=True):
        numpy.testing.assert_allclose(found, old - 0.1 * gradient, rtol=1e-5, atol=1e-6)


def test_torch_parameters_step_where_nobody_calls_step_schedules():
    """When the first of them comes round again, all hold the gradients of the next step already."""
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    optimizer = optimizers.sgd_v1(learn_rate=1.0, momentum=0.0, grad_clip=0.0)
    for value in (1.0, 10.0, 100.0):
        for parameter in parameters:
            parameter.grad = torch.full((2,), value)
        for i, parameter in enumerate(parameters):
            optimizer.collect(1, {str(i): parameter})
    assert [parameter.tolist() for parameter in parameters] == [[-11.0, -11.0]] * 2
    optimizer.step()
    assert [parameter.tolist() for parameter in parameters] == [[-111.0, -111.0]] * 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_stepped(value):
    model, (first, broken, third) = two_layers(), gradients(3)
    optimizer = optimizers.adamw_v1(learn_rate=0.1)
    optimizer.learn_names({model.layers[0].id: "head.first", model.layers[1].id: "head.second"})
    run(model, optimizer, [first])
    before = [array.copy() for array in parameters(model)]
    broken[2][0, 0] = value
    with pytest.raises(ValueError, match=r"T652.*Step 1.*head\.second\.W is not finite.*head\.second\.W (nan|inf), "):
        run(model, optimizer, [broken])
    assert all((a == b).all() for a, b in zip(parameters(model), before, strict=True))
    run(model, optimizer, [third])
    assert all(numpy.isfinite(array).all() for array in parameters(model))


def test_a_late_step_leaves_alone_what_it_did_not_collect():
    """A parameter that was there before, and holds a gradient of the next step only, waits for the next step."""
    here, away = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = optimizers.sgd_v1(learn_rate=1.0, momentum=0.0, grad_clip=0.0)
    for parameter in (here, away):
        parameter.grad = torch.ones(2)
        optimizer.collect(1, {"here" if parameter is here else "away": parameter})
    optimizer.step()
    here.grad = torch.ones(2)
    optimizer.collect(1, {"here": here})
    here.grad, away.grad = torch.ones(2), torch.ones(2)
    optimizer.collect(1, {"here": here})
    assert here.tolist() == [-2.0, -2.0] and away.tolist() == [-1.0, -1.0]
    assert away.grad.tolist() == [1.0, 1.0]


def test_groups_rates_and_schedules():
    model = two_layers()
    groups = {
        "still": {"pattern": r"^head\.first\.", "learn_rate": 0.0},
        "fast": {"pattern": r"W$", "learn_rate": iter([1.0, 2.0])},
    }
    optimizer = optimizers.sgd_v1(learn_rate=0.1, momentum=0.0, grad_clip=0.0, groups=groups)
    optimizer.learn_names({model.layers[0].id: "head.first", model.layers[1].id: "head.second"})
    before = [array.copy() for array in parameters(model)]
    steps = gradients(3)
    run(model, optimizer, steps)
    rates = [(0, 0, 0), (0, 0, 0), (1.0, 2.0, 2.0), (0.1, 0.1, 0.1)]
    for i, found in enumerate(parameters(model)):
        expected = before[i] - sum(rate * step[i] for rate, step in zip(rates[i], steps, strict=True))
        numpy.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_factor_on_the_rate():
    weights, gradient = numpy.zeros(3, dtype="f"), numpy.ones(3, dtype="f")
    optimizer = optimizers.sgd_v1(learn_rate=0.1, momentum=0.0, grad_clip=0.0)
    optimizer((1, "W"), weights, gradient.copy(), lr_scale=0.5)
    optimizer.step()
    optimizer((1, "W"), weights, gradient.copy(), lr_scale=2.0)
    optimizer.step()
    numpy.testing.assert_allclose(weights, -0.1 * 0.5 - 0.1 * 2.0, rtol=1e-5)


def test_torch_parameters_are_stepped_in_place_and_skipped_without_gradient():
    moving, still = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = optimizers.adamw_v1(learn_rate=0.1)
    for parameter in (moving, still):
        parameter.grad = torch.ones(3)
        optimizer.collect(7, {"moving" if parameter is moving else "still": parameter})
    optimizer.step_schedules()
    after = still.detach().clone()
    moving.grad = torch.ones(3)
    optimizer.collect(7, {"moving": moving})
    optimizer.step_schedules()
    assert (still == after).all() and (moving < after).all()
    assert moving.grad is None


def test_averages_are_thincs():
    steps = gradients(4)
    model = two_layers()
    twin = model.copy()
    ours, stock = optimizers.sgd_v1(learn_rate=0.1, use_averages=True), Adam(0.0, use_averages=True)
    for arrays in steps:
        run(model, ours, [arrays])
        for layer, other in zip(model.layers, twin.layers, strict=True):
            for name in ("W", "b"):
                other.set_param(name, layer.get_param(name))
        set_gradients(twin, arrays)
        twin.finish_update(stock)
    for layer, other in zip(model.layers, twin.layers, strict=True):
        numpy.testing.assert_allclose(ours.averages[(layer.id, "W")], stock.averages[(other.id, "W")], rtol=1e-4)


def test_slips_of_the_pen():
    model = two_layers()
    optimizer = optimizers.adamw_v1(groups={"x": {"pattern": "^trnsformer"}})
    optimizer.learn_names({model.layers[0].id: "textcat.transformer"})
    with pytest.raises(ValueError, match=r"T602.*groups\.x.*trnsformer.*textcat\.transformer\."):
        run(model, optimizer, gradients(1))
    with pytest.raises(ValueError, match=r"T603.*'x'.*rate"):
        optimizers.adamw_v1(groups={"x": {"pattern": "a", "rate": 1}})
    with pytest.raises(ValueError, match=r"T604.*'x'"):
        optimizers.adamw_v1(groups={"x": {"pattern": "("}})


@pytest.mark.parametrize("name", ["AdamW", "SGD", "RMSprop", "Adafactor"])
def test_from_a_config(name):
    schedule = {"@schedules": "spacy-transfer.Linear.v1", "learn_rate": 0.5, "total_steps": 10}
    block = {
        "@optimizers": f"spacy-transfer.{name}.v1",
        "learn_rate": {**schedule, "learn_rate": 0.1},
        "groups": {"heads": {"pattern": "b$", "learn_rate": schedule}},
    }
    optimizer = spacy.registry.resolve({"optimizer": block})["optimizer"]
    model = two_layers()
    run(model, optimizer, gradients(1))
    assert optimizer.learn_rate == pytest.approx(0.09)
    rates = {place["group"]: place["lr"] for place in optimizer._torch.param_groups}
    assert rates == {"heads": pytest.approx(0.5), "": pytest.approx(0.1)}


def test_a_group_that_comes_too_late():
    model = two_layers()
    groups = {"all": {"pattern": "^textcat"}, "late": {"pattern": r"^textcat\.model"}}
    optimizer = optimizers.adamw_v1(groups=groups)
    optimizer.learn_names({layer.id: "textcat.model" for layer in model.layers})
    with pytest.raises(ValueError, match=r"T620.*groups\.late.*\['all'\]"):
        run(model, optimizer, gradients(1))


def test_a_group_may_wait_for_what_does_not_move_yet():
    model = two_layers()
    optimizer = optimizers.adamw_v1(groups={"later": {"pattern": r"^backbone\."}})
    optimizer.learn_names(parameters=["backbone.layer.0.weight"])
    before = [array.copy() for array in parameters(model)]
    run(model, optimizer, gradients(1))
    assert all((a != b).any() for a, b in zip(parameters(model), before, strict=True))


def test_node_and_shim_of_one_id_are_told_apart():
    """Thinc counts them apart, so that both can be 1, and a module's parameter can be called "b" as well."""
    groups = {"head": {"pattern": "^head", "learn_rate": 1.0}, "backbone": {"pattern": "^backbone", "learn_rate": 0.1}}
    optimizer = optimizers.sgd_v1(momentum=0.0, grad_clip=0.0, groups=groups)
    optimizer.learn_names(nodes={1: "head.model"}, shims={1: "backbone"})
    of_torch, of_thinc = torch.nn.Parameter(torch.zeros(3)), numpy.zeros(2, dtype="f")
    foreign = numpy.zeros(4, dtype="f")
    for _ in range(2):
        of_torch.grad = torch.ones(3)
        optimizer.collect(1, {"b": of_torch})
        optimizer((1, "b"), of_thinc, numpy.ones(2, dtype="f"))
        optimizer((1, "encoder.b"), foreign, numpy.ones(4, dtype="f"))
        optimizer.step_schedules()
    numpy.testing.assert_allclose(of_torch.detach().numpy(), -0.2, rtol=1e-6)
    numpy.testing.assert_allclose(of_thinc, -2.0, rtol=1e-6)
    numpy.testing.assert_allclose(foreign, -0.2, rtol=1e-6)


def test_all_rates_scaled_alike():
    model = two_layers()
    optimizer = optimizers.sgd_v1(
        learn_rate=0.1, momentum=0.0, grad_clip=0.0, groups={"w": {"pattern": "W$", "learn_rate": 1.0}}
    )
    assert optimizer.rates() == {"": 0.1, "w": 1.0}
    optimizer.scale_rates(0.5)
    assert optimizer.rates() == {"": 0.05, "w": 0.5}
    before, (arrays,) = [array.copy() for array in parameters(model)], gradients(1)
    run(model, optimizer, [arrays])
    for found, old, gradient, rate in zip(parameters(model), before, arrays, (0.5, 0.05) * 2, strict=True):
        numpy.testing.assert_allclose(found, old - rate * gradient, rtol=1e-5, atol=1e-6)


def test_the_default_survives_configs():
    """A $ would be taken for a variable, and doubled by each saving."""
    config = spacy.registry.fill(Config().from_str('[optimizer]\n@optimizers = "spacy-transfer.AdamW.v1"'))
    for _ in range(2):
        config = Config().from_str(config.to_str(), interpolate=False)
        assert config["optimizer"]["no_decay"] == optimizers.NO_DECAY
    names = {"a.bias": True, "LayerNorm.weight": True, "softmax.b": True, "b": True, "layernorm.G": True}
    for name, spared in {**names, "bias.weight": False, "W": False, "query.weight": False}.items():
        assert bool(re.search(optimizers.NO_DECAY, name)) is spared, name


@pytest.mark.parametrize("name", sorted(PAIRS))
@pytest.mark.parametrize("grad_clip", [0.0, 1.0])
def test_a_tensor_without_gradient_stays_bit_for_bit(name, grad_clip):
    """Thinc's tensors and torch's: no decay, no momentum, whatever the others do. Then it goes on as torch does with a
    parameter that has no gradient."""
    build, make = getattr(optimizers, f"{name}_v1"), PAIRS[name][1]
    more = {} if name in ("adamw", "adafactor") else {"momentum": 0.8 if name == "sgd" else 0.5}
    more |= {"nesterov": True} if name == "sgd" else {}
    optimizer = build(learn_rate=0.01, weight_decay=0.1, grad_clip=grad_clip, use_averages=True, **more)
    model = two_layers()
    shimmed = torch.nn.Parameter(torch.from_numpy(RNG.normal(size=(4, 2)).astype("f")))
    copies = [torch.nn.Parameter(torch.from_numpy(a.copy())) for a in parameters(model)]
    copies.append(torch.nn.Parameter(shimmed.detach().clone()))
    weights, biases = [copies[0], copies[2], copies[4]], [copies[1], copies[3]]
    plain = make([{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}])
    # What has zeros at each step: one bias, nothing, the second layer and the shim's, the other bias.
    for masked in ({3}, set(), {2, 3, 4}, {2, 3, 4}, {1}):
        arrays = [RNG.normal(size=tuple(p.shape)).astype("f") for p in copies]
        for i in masked:
            arrays[i][:] = 0
        before = [a.copy() for a in parameters(model)] + [shimmed.detach().numpy().copy()]
        set_gradients(model, arrays[:4])
        shimmed.grad = torch.from_numpy(arrays[4].copy())
        model.finish_update(optimizer)
        optimizer.collect(99, {"weight": shimmed})
        kept = {k: v.copy() for k, v in optimizer.averages.items()}
        optimizer.step_schedules()
        after = [*parameters(model), shimmed.detach().numpy()]
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            assert (old.tobytes() == new.tobytes()) == (i in masked)
        averages = optimizer.averages
        assert sum(k not in kept or (averages[k] != kept[k]).any() for k in averages) == 5 - len(masked)
        for i, (copy, array) in enumerate(zip(copies, arrays, strict=True)):
            copy.grad = None if i in masked else torch.from_numpy(array.copy())
        if grad_clip:
            torch.nn.utils.clip_grad_norm_(copies, grad_clip)
        plain.step()
    for new, copy in zip([*parameters(model), shimmed.detach().numpy()], copies, strict=True):
        numpy.testing.assert_allclose(new, copy.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_gradient_whose_square_is_zero_is_none_of_zeros():
    optimizer = optimizers.adamw_v1(learn_rate=0.01, weight_decay=0.1)
    model = two_layers()
    before = [a.copy() for a in parameters(model)]
    set_gradients(model, [numpy.full(a.shape, 1e-30, dtype="f") for a in before])
    model.finish_update(optimizer)
    optimizer.step_schedules()
    assert all((a != b).all() for a, b in zip(parameters(model)[::2], before[::2], strict=True))


def test_rows_that_do_not_occur_decay_with_their_tensor():
    optimizer = optimizers.adamw_v1(learn_rate=0.01, weight_decay=0.1)
    model = two_layers()
    before = model.layers[0].get_param("W").copy()
    gradient = numpy.zeros_like(before)
    gradient[0] = 1.0
    set_gradients(model, [gradient, *(numpy.zeros(shape, dtype="f") for shape in ((5,), (3, 5), (3,)))])
    model.finish_update(optimizer)
    optimizer.step_schedules()
    numpy.testing.assert_allclose(model.layers[0].get_param("W")[1:], before[1:] * (1 - 0.01 * 0.1), rtol=1e-6)
