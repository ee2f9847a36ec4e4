"""Every schedule against torch's or transformers' own scheduler, or its closed form."""

import itertools
import math

import pytest
import spacy
import torch
from transformers import (
    get_cosine_schedule_with_warmup,
    get_inverse_sqrt_schedule,
    get_linear_schedule_with_warmup,
)

from spacy_transfer.tuning import schedules

STEPS = 60


def theirs(make):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


PAIRS = {
    "linear": (
        schedules.linear_v1(learn_rate=0.1, total_steps=STEPS, warmup_steps=7),
        lambda o: get_linear_schedule_with_warmup(o, 7, STEPS),
    ),
    "linear without warm-up": (
        schedules.linear_v1(learn_rate=0.1, total_steps=40),
        lambda o: get_linear_schedule_with_warmup(o, 0, 40),
    ),
    "cosine": (
        schedules.cosine_v1(learn_rate=0.1, total_steps=STEPS, warmup_steps=7),
        lambda o: get_cosine_schedule_with_warmup(o, 7, STEPS),
    ),
    "one cycle": (
        schedules.one_cycle_v1(learn_rate=0.1, total_steps=STEPS),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=STEPS + 1 - 1 or STEPS),
    ),
    "inverse square root": (
        schedules.inverse_sqrt_v1(learn_rate=0.1, warmup_steps=10),
        lambda o: get_inverse_sqrt_schedule(o, 10, timescale=10),
    ),
}


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "one cycle"])
def test_like_the_schedulers_of_others(name):
    ours, make = PAIRS[name]
    assert list(itertools.islice(ours, STEPS)) == pytest.approx(theirs(make), rel=1e-6, abs=1e-9)


def test_one_cycle_is_torchs():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=STEPS)
    expected = []
    for step in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < STEPS - 1:
            scheduler.step()
    ours = schedules.one_cycle_v1(learn_rate=0.1, total_steps=STEPS)
    assert list(itertools.islice(ours, STEPS)) == pytest.approx(expected, rel=1e-6)


def test_slanted_triangular_is_the_papers():
    total, cut_share, ratio = 50, 0.1, 32
    cut = math.floor(total * cut_share)
    expected = []
    for t in range(total + 1):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_share - 1))
        expected.append(0.1 * (1 + p * (ratio - 1)) / ratio)
    ours = schedules.slanted_triangular_v1(learn_rate=0.1, total_steps=total)
    assert list(itertools.islice(ours, total + 1)) == pytest.approx(expected)


def test_rates_stay_where_they_end():
    for schedule in (
        schedules.linear_v1(learn_rate=0.1, total_steps=5),
        schedules.cosine_v1(learn_rate=0.1, total_steps=5, lowest=0.01),
        schedules.one_cycle_v1(learn_rate=0.1, total_steps=5),
        schedules.slanted_triangular_v1(learn_rate=0.1, total_steps=10),
    ):
        rates = list(itertools.islice(schedule, 100))
        assert min(rates) >= 0 and len(set(rates[20:])) == 1


@pytest.mark.parametrize("make", [schedules.linear_v1, schedules.cosine_v1])
def test_warm_up_by_share(make):
    by_share = make(learn_rate=0.1, total_steps=STEPS, warmup_share=7 / STEPS + 1e-9)
    by_number = make(learn_rate=0.1, total_steps=STEPS, warmup_steps=7, warmup_share=0.9)
    assert list(itertools.islice(by_share, STEPS)) == list(itertools.islice(by_number, STEPS))
    assert next(make(learn_rate=0.1, total_steps=2, warmup_share=0.1)) == 0.1


@pytest.mark.parametrize("name", ["linear", "cosine", "one_cycle", "slanted_triangular"])
def test_a_loop_without_an_end(name):
    """spaCy leaves the variable as it is in nlp.resume_training()."""
    make = getattr(schedules, f"{name}_v1")
    assert set(itertools.islice(make(learn_rate=0.1, total_steps="${training.max_steps}"), 50)) == {0.1}
    warm = {"warmup_steps": 4} if name in ("linear", "cosine") else {}
    rates = list(itertools.islice(make(learn_rate=0.1, total_steps="${training.max_steps}", **warm), 50))
    assert (rates[0] == 0.0) == bool(warm) and set(rates[4:]) == {0.1}
    with pytest.raises(ValueError, match="T980.*'100'"):
        make(learn_rate=0.1, total_steps="100")


def test_warm_up_that_cannot_be():
    with pytest.raises(ValueError, match=r"T601.*warmup_steps = 5.*total_steps = 5"):
        schedules.linear_v1(learn_rate=0.1, total_steps=5, warmup_steps=5)
    with pytest.raises(ValueError, match=r"T601"):
        schedules.inverse_sqrt_v1(learn_rate=0.1, warmup_steps=0)


@pytest.mark.parametrize("name", ["Linear", "Cosine", "OneCycle", "SlantedTriangular", "InverseSqrt"])
def test_in_a_stock_optimizer(name):
    schedule = {"@schedules": f"spacy-transfer.{name}.v1", "learn_rate": 0.1}
    schedule |= {"warmup_steps": 2} if name == "InverseSqrt" else {"total_steps": 10}
    block = {"optimizer": {"@optimizers": "Adam.v1", "learn_rate": schedule}}
    optimizer = spacy.registry.resolve(block)["optimizer"]
    rates = [optimizer.learn_rate]
    for _ in range(5):
        optimizer.step_schedules()
        rates.append(optimizer.learn_rate)
    assert len(set(rates)) > 3
