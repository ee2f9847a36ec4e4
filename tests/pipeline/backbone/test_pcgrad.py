"""Gradients by task against arrays that are kept by hand."""

from random import Random
from types import SimpleNamespace

import numpy
import pytest
from thinc.api import Linear, PyTorchWrapper
from torch import nn

from spacy_transfer.backbones.shims.retained_graph import is_graph_kept
from spacy_transfer.pipeline.backbone.pcgrad import TaskGradients, check_passes, drop_all
from spacy_transfer.pipeline.parameters import parameters_of

SIZE = {"W": (2, 3), "b": (2,)}


class Pending:
    """Leaves given gradients in a model, as a backward pass would."""

    def __init__(self, model, gradients):
        self.model, self.gradients, self.kept = model, gradients, []
        self.tasks = list(gradients)

    def backprop_task(self, task):
        self.kept.append(is_graph_kept())
        for name, gradient in self.gradients[task].items():
            self.model.inc_grad(name, gradient)

    def backprop(self):
        self.model.inc_grad("b", numpy.zeros(2, dtype="f"))


def draw(seed, names=("W", "b")):
    rng = numpy.random.default_rng(seed)
    return {name: rng.normal(size=SIZE[name]).astype("f") for name in names}


@pytest.fixture
def pipe():
    model = Linear(2, 3)
    model.initialize()
    return SimpleNamespace(name="backbone", model=model)


def left(pipe):
    return {name: pipe.model.get_grad(name).copy() for name in SIZE if pipe.model.has_grad(name)}


def close(found, wanted):
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        numpy.testing.assert_allclose(found[name], gradient, rtol=1e-5, atol=1e-6)


def test_a_pass_for_each_task_and_the_sum_over_batches(pipe):
    tasks = TaskGradients("backbone")
    batches = [{"a": draw(0), "b": draw(1)}, {"b": draw(2), "c": draw(3, ["b"])}]
    for batch in batches:
        pending = Pending(pipe.model, batch)
        tasks.collect(pipe, pending)
        assert pending.kept == [True, False] and left(pipe) == {}
    names, products = tasks.products()
    flat = [draw(0), {name: draw(1)[name] + draw(2)[name] for name in SIZE}, draw(3, ["b"])]
    wanted = [[sum((one[n] * two[n]).sum() for n in one.keys() & two.keys()) for two in flat] for one in flat]
    assert names == ["a", "b", "c"]
    numpy.testing.assert_allclose(products, wanted, rtol=1e-5)
    assert {name.rpartition(".")[2]: None for name in tasks.of("c")} == {"b": None}


def test_what_is_left_for_the_optimizer(pipe):
    """Shares of the tasks, and unchanged what is no task's."""
    tasks, rest = TaskGradients("backbone"), draw(5, ["W"])
    pipe.model.inc_grad("W", rest["W"])
    tasks.collect(pipe, Pending(pipe.model, {"a": draw(0), "b": draw(1)}))
    tasks.leave(pipe, {"a": 0.5, "b": 1.0})
    close(left(pipe), {name: 0.5 * draw(0)[name] + draw(1)[name] + rest.get(name, 0.0) for name in SIZE})


def test_conflicts_are_projected(pipe):
    tasks, one, other = TaskGradients("backbone"), draw(0), draw(1)
    other = {name: other[name] - 2.0 * one[name] for name in SIZE}
    tasks.collect(pipe, Pending(pipe.model, {"a": one, "b": other}))
    tasks.merge(pipe, tasks.products()[1], Random(0))
    a, b = (numpy.concatenate([g[name].ravel() for name in SIZE]) for g in (one, other))
    assert a @ b < 0.0
    wanted = a - (a @ b) / (b @ b) * b + b - (a @ b) / (a @ a) * a
    found = left(pipe)
    numpy.testing.assert_allclose(numpy.concatenate([found[name].ravel() for name in SIZE]), wanted, rtol=1e-4)
    assert not tasks


def test_a_batch_without_tasks_makes_a_step_all_the_same(pipe):
    tasks = TaskGradients("backbone")
    tasks.collect(pipe, Pending(pipe.model, {}))
    parameters = {p.name.rpartition(".")[2]: p for p in parameters_of("backbone", pipe)}
    assert tasks and not any(tasks.moves(p) for p in parameters.values())
    tasks.add(parameters["W"], draw(7)["W"])
    assert [name for name, p in parameters.items() if tasks.moves(p)] == ["W"]
    tasks.leave(pipe, {})
    close(left(pipe), {"W": draw(7)["W"], "b": numpy.zeros(2)})
    tasks.forget()
    assert not tasks


def test_places_of_other_processes(pipe):
    """The same order in all, also where a task has no gradient here."""
    tasks = TaskGradients("backbone")
    tasks.collect(pipe, Pending(pipe.model, {"b": draw(1)}))
    rest, a, b = tasks.places(["a", "b"])
    assert rest == {} == a and len(b) == 2
    tasks.drop_empty()
    assert tasks.products()[0] == ["b"]


def test_drop_all(pipe):
    pipe.model.inc_grad("W", draw(0)["W"])
    drop_all(parameters_of("backbone", pipe))
    assert left(pipe) == {}


def test_layers_with_one_backward_pass_are_refused():
    pipe = SimpleNamespace(name="backbone", model=PyTorchWrapper(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="T664.*backbone.*PyTorchShim"):
        check_passes("backbone", parameters_of("backbone", pipe))
