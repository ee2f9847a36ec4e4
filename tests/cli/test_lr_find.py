"""The range test: the curve against a closed form, the run against the plain loop, the picture, the errors."""

import math
import re
import sys

import numpy
import pytest
import spacy
from spacy.cli import app
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.util import load_config
from typer.testing import CliRunner

import spacy_transfer.cli.lr_find as lr_find
from spacy_transfer.tuning import lr_range as range_test

from ..pipeline.test_parameter_table import snapshot
from ..training import ADAMW, write_training

GROUPS = """
[training.optimizer]
@optimizers = "spacy-transfer.SGD.v1"
momentum = 0.0
[training.optimizer.learn_rate]
@schedules = "spacy-transfer.Linear.v1"
learn_rate = 0.01
total_steps = 20
warmup_steps = 5
[training.optimizer.groups]
[training.optimizer.groups.heads]
pattern = "^(tagger|textcat)"
learn_rate = 0.5
"""
SGD = """
[training.optimizer]
@optimizers = "SGD.v1"
learn_rate = 0.01
L2 = 0.0
use_averages = false
"""


# The curve


def test_rates_between():
    rates = range_test.rates_between(1e-6, 1.0, 61)
    assert rates[0] == pytest.approx(1e-6) and rates[-1] == pytest.approx(1.0)
    numpy.testing.assert_allclose(numpy.diff(numpy.log10(rates)), 0.1)


@pytest.mark.parametrize(("low", "high", "steps"), [(0.0, 1.0, 50), (1.0, 0.1, 50), (0.1, 1.0, 9)])
def test_rates_that_do_not_rise(low, high, steps):
    with pytest.raises(ValueError, match=r"T621.*--low"):
        range_test.rates_between(low, high, steps)


@pytest.mark.parametrize("best", [1e-4, 3e-3, 0.05])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_suggestion_on_a_known_curve(best, noise):
    """A parabola over the logarithm of the rate, lowest at `best`."""
    rates = range_test.rates_between(1e-6, 1.0, 120)
    draws = numpy.random.default_rng(0)
    losses = [0.3 + 0.1 * math.log10(rate / best) ** 2 + noise * draws.normal() for rate in rates]
    found = range_test.suggest(rates, losses)
    assert math.log10(found.rate / (best / 10)) == pytest.approx(0.0, abs=0.03 if noise == 0 else 0.5)
    assert not found.still_falls


def test_suggestion_on_a_quadratic():
    """Gradient descent on c/2 x^2: a step multiplies x by 1 - rate * c, so what the loss does is known: the loss is
    lowest when the rate passes 2 / c, where steps begin to make x larger."""
    curvature, x, losses = 5.0, 1.0, []
    rates = range_test.rates_between(1e-4, 10.0, 200)
    divergence = range_test.Divergence()
    for rate in rates:
        loss = 0.1 + 0.5 * curvature * x * x
        if divergence.sees(loss):
            break
        losses.append(loss)
        x *= 1.0 - rate * curvature
    assert len(losses) < len(rates)
    found = range_test.suggest(rates, losses)
    assert 0.1 / curvature < found.minimum < 2.5 / curvature
    assert found.rate == pytest.approx(found.minimum / 10)


def test_a_curve_that_still_falls_or_never_does():
    rates = range_test.rates_between(1e-6, 1e-2, 50)
    assert range_test.suggest(rates, list(numpy.linspace(1.0, 0.2, 50))).still_falls
    for losses in ([1.0] * 50, list(numpy.linspace(1.0, 2.0, 50))):
        with pytest.raises(ValueError, match="T622"):
            range_test.suggest(rates, losses)


def test_smoothing_keeps_lines_and_does_not_lag():
    line = numpy.linspace(0.0, 1.0, 200)
    numpy.testing.assert_allclose(range_test.smooth(line)[30:-30], line[30:-30], atol=1e-6)
    valley = numpy.abs(numpy.arange(101) - 50.0)
    assert range_test.smooth(valley).argmin() == 50


def test_divergence():
    divergence = range_test.Divergence()
    assert not any(divergence.sees(loss) for loss in [1.0, 0.5, 0.5, 0.5, 0.6, 0.5])
    assert any(divergence.sees(10.0) for _ in range(3))
    assert range_test.Divergence().sees(math.nan)


# The run


def ready(folder, source, optimizer, overrides=None):
    return init_nlp(load_config(write_training(folder, source, optimizer=optimizer, overrides=overrides)))


@pytest.mark.parametrize("optimizer", [ADAMW, GROUPS, SGD], ids=["adamw", "groups", "thinc"])
def test_the_loss_goes_down_before_it_goes_up(tiny_bert, tmp_path, optimizer):
    nlp = ready(tmp_path, tiny_bert, optimizer)
    rates = range_test.rates_between(1e-5, 100.0, 60)
    seen, losses, base = lr_find.run(nlp, rates)
    assert seen == rates[: len(losses)]
    assert losses[0] == pytest.approx(1.0, rel=0.3)
    assert min(losses) < 0.9
    assert base == pytest.approx(5e-5 if optimizer is ADAMW else 0.01)


def test_all_groups_rise_alike(tiny_bert, tmp_path, monkeypatch):
    from spacy_transfer.tuning.torch_optimizer import TorchOptimizer

    rates, step = [], TorchOptimizer.step
    monkeypatch.setattr(TorchOptimizer, "step", lambda self: rates.append(self.rates()) or step(self))
    lr_find.run(ready(tmp_path, tiny_bert, GROUPS), range_test.rates_between(1e-6, 1e-4, 10))
    assert len(rates) == 10
    assert [r[""] for r in rates] == pytest.approx(range_test.rates_between(1e-6, 1e-4, 10))
    # The schedule's highest rate is 0.01, whatever it is at a step.
    assert all(r["heads"] / r[""] == pytest.approx(50.0) for r in rates)


def test_the_curve_ends_before_the_first_loss_that_is_no_number(tiny_bert, tmp_path, monkeypatch):
    """Later losses would stand at the rates of earlier ones."""
    nlp, rates = ready(tmp_path, tiny_bert, ADAMW), range_test.rates_between(1e-5, 1e-4, 10)
    monkeypatch.setattr(range_test.Losses, "curve", lambda self: [1.0, 0.9, math.nan, 0.5, math.inf, 0.4])
    seen, losses, _ = lr_find.run(nlp, rates)
    assert losses == [1.0, 0.9] and seen == rates[:2]


def test_frozen_is_frozen_and_gradients_accumulate(tiny_bert, tmp_path):
    overrides = {"components.transfer_backbone.frozen": True, "training.accumulate_gradient": 2}
    nlp = ready(tmp_path, tiny_bert, ADAMW, overrides)
    before = snapshot(nlp)
    lr_find.run(nlp, range_test.rates_between(1e-5, 1e-2, 10))
    for name, array in snapshot(nlp).items():
        assert (array == before[name]).all() == name.startswith("transfer_backbone."), name


def test_only_heads_that_learn_count(tiny_bert, tmp_path):
    nlp = ready(tmp_path, tiny_bert, ADAMW)
    assert lr_find._trained_heads(nlp, ["tagger"]) == ["textcat"]


def test_one_curve_of_sums_and_means():
    """Sums over words, sums over texts, and means, of batches of all sizes: what is left is the factor put in."""
    draws = numpy.random.default_rng(0)
    losses, sums, factors = range_test.Losses(["tagger", "textcat", "other"]), {}, []
    for step in range(60):
        n_texts, n_words = (int(n) for n in (draws.integers(2, 9), draws.integers(20, 90)))
        factors.append(1.0 if step < 30 else 0.98 ** (step - 30))
        if step in (0, 17):
            sums = {}  # as after an evaluation
        for name, size in (("tagger", 2.5 * n_words), ("textcat", 0.7 * n_texts), ("other", 3.0), ("backbone", 9.0)):
            sums[name] = sums.get(name, 0.0) + size * factors[-1]
        losses.add(sums, n_texts, n_words)
    numpy.testing.assert_allclose(losses.curve(), factors, rtol=1e-9)


def test_short_batches_are_left_out(nlp):
    def batch(*texts):
        return [Example.from_dict(nlp.make_doc(text), {}) for text in texts]

    batches = [(0, batch("a b c d", "e f g h")), (0, batch("a b c d")), (1, batch("a b", "c d e")), (1, batch("a b"))]
    assert [len(found) for _, found in lr_find._without_short_ones(batches)] == [2, 1, 2]


# The command


def invoke(*arguments):
    result = CliRunner().invoke(app, ["transfer", "lr-find", *map(str, arguments)])
    return result.exit_code, re.sub(r"\x1b\[\d*m|\s+", " ", result.output)


def test_command_prints_what_to_set_and_draws(tiny_bert, tmp_path):
    config = write_training(tmp_path, tiny_bert, optimizer=GROUPS)
    picture = tmp_path / "curve.png"
    code, out = invoke(config, "--output", picture, "--low", 1e-5, "--high", 10, "--steps", 40)
    assert code == 0, out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.cfg", "curve.png", "train.spacy"]
    rate = float(re.search(r"Suggested rate: (\S+)", out)[1])
    own = float(re.search(r"--training\.optimizer\.learn_rate\.learn_rate (\S+)", out)[1])
    heads = float(re.search(r"--training\.optimizer\.groups\.heads\.learn_rate (\S+)", out)[1])
    assert own == pytest.approx(rate) and heads == pytest.approx(50 * rate, rel=0.05)


def test_a_loss_that_still_falls_is_a_warning(tiny_bert, tmp_path, capsys):
    falling = range_test.suggest(range_test.rates_between(1e-6, 1e-3, 50), list(numpy.linspace(1.0, 0.2, 50)))
    lr_find.report(ready(tmp_path, tiny_bert, ADAMW), falling, 0.1)
    assert "[W730] The loss was still falling at the last rate" in capsys.readouterr().err


def test_what_is_missing_is_said_before_the_work(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(lr_find, "initialise", lambda *_, **__: pytest.fail("worked"))
    config = write_training(tmp_path, tiny_bert)
    code, out = invoke(config, "--output", tmp_path / "nowhere" / "curve.png")
    assert code == 2 and "T721" in out
    code, out = invoke(config, "--low", 2, "--output", "-")
    assert code == 2 and "T621" in out
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out = invoke(config, "--output", tmp_path / "curve.png")
    assert code == 1 and "T720" in out and "pip install" in out


@pytest.mark.parametrize(
    ("expected", "overrides"),
    [
        ("T623", {"training.frozen_components": ["tagger", "textcat"]}),
        ("T723", {"training.optimizer.learn_rate": 0.0}),
        ("T723", {"training.optimizer.learn_rate": math.nan}),
    ],
)
def test_nothing_to_find(tiny_bert, tmp_path, expected, overrides):
    config = write_training(tmp_path, tiny_bert, overrides=overrides)
    code, out = invoke(config, "--output", "-", "--steps", 10)
    assert code == 1 and expected in out


def test_an_optimizer_that_refuses_a_nan_has_diverged():
    def steps():
        yield 1
        raise ValueError("[T6xx] the gradient is not finite")

    assert list(lr_find._until_not_finite(steps())) == [1]
    with pytest.raises(ValueError, match="other"):
        list(lr_find._until_not_finite(other for other in iter(fail, None)))


def fail():
    raise ValueError("other")


def test_it_is_there_without_an_import():
    assert "lr_find" in str(spacy.registry.cli.get_all())
