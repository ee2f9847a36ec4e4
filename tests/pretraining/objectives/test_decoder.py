"""The decoder against a plain loop over pieces with the same weights; it sees the past and the row alone."""

import math

import numpy
import pytest
import torch

from spacy_transfer.pretraining.objectives import decoder as module
from spacy_transfer.pretraining.objectives.decoder import TextDecoder, n_heads

TEXTS = [numpy.array(ids) for ids in ([3, 1, 4, 1], [5], [2, 6, 0])]


@pytest.fixture
def rows():
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def make(n_predicted=7, table_width=None):
    torch.manual_seed(0)
    table = None if table_width is None else torch.nn.Parameter(torch.randn(n_predicted, table_width).double())
    return TextDecoder(8, 6, n_predicted, None if table is None else lambda: table).double(), table


def normed(layer, x):
    deviation = x - x.mean()
    return deviation / torch.sqrt((deviation**2).mean() + layer.eps) * layer.weight + layer.bias


def by_hand(decoder, row, ids):
    """Negative log-likelihood of each piece."""
    layer, table = decoder.layer, decoder.table
    read = [decoder.start, *(decoder.enter(table[i]) for i in ids[:-1])]
    states = [x + decoder.positions.weight[i] for i, x in enumerate(read)]
    normal = [normed(layer.norm1, x) for x in states]
    weight, bias = layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
    losses = []
    for i, state in enumerate(states):
        query, keys, values = (
            [weight[8 * k : 8 * k + 8] @ x + bias[8 * k : 8 * k + 8] for x in normal[: i + 1]] for k in range(3)
        )
        scores = torch.stack([query[i] @ key for key in keys]) / math.sqrt(8)
        seen = sum(share * value for share, value in zip(torch.softmax(scores, 0), values, strict=True))
        state = state + layer.self_attn.out_proj(seen)
        # There is one row to look at, which gets all the attention.
        of_row = layer.multihead_attn.in_proj_weight[16:] @ row + layer.multihead_attn.in_proj_bias[16:]
        state = state + layer.multihead_attn.out_proj(of_row)
        hidden = layer.linear1(normed(layer.norm3, state))
        state = state + layer.linear2(hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)
        logits = table[: len(decoder.bias)] @ decoder.leave(normed(decoder.norm, state)) + decoder.bias
        if ids[i] < len(logits):
            losses.append(torch.logsumexp(logits, 0) - logits[ids[i]])
    return losses


@pytest.mark.parametrize("table_width", [None, 8, 5])
def test_loss_and_gradients_against_a_loop_over_pieces(rows, table_width):
    decoder, _ = make(table_width=table_width)
    assert decoder.layer.self_attn.num_heads == 1
    rows.requires_grad_(True)
    texts = [*TEXTS[:2], numpy.array([2, 7, 0])] if table_width is None else TEXTS
    loss, count = decoder(rows, texts)
    losses = [each for row, ids in zip(rows, texts, strict=True) for each in by_hand(decoder, row, ids)]
    expected = sum(losses) / len(losses)
    # An unknown word is read, and not predicted.
    assert count == len(losses) == (7 if table_width is None else 8)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-10)
    wanted = [rows, *decoder.parameters()]
    both = [torch.autograd.grad(each, wanted, allow_unused=True) for each in (loss, expected)]
    for ours, plain in zip(*both, strict=True):
        numpy.testing.assert_allclose(ours, torch.zeros_like(ours) if plain is None else plain, atol=1e-10)
    assert both[0][0].abs().min() > 0


def test_it_sees_no_piece_to_come(rows):
    decoder, _ = make()
    ids = torch.tensor([[3, 1, 4, 1]] * 2)
    ids[1, 2] = 6
    states = decoder.states(rows[:1].expand(2, -1), ids)
    assert torch.allclose(states[0, :3], states[1, :3], atol=1e-12) and not torch.allclose(states[0, 3], states[1, 3])


def test_a_borrowed_table_gets_no_gradient(rows):
    decoder, table = make(table_width=5)
    decoder(rows, TEXTS)[0].backward()
    assert table.grad is None and table.requires_grad
    assert all("own" not in name for name, _ in decoder.named_parameters())


@pytest.mark.parametrize("table_width", [None, 5])
def test_portions_change_nothing(rows, table_width, monkeypatch):
    decoder, _ = make(table_width=table_width)
    rows.requires_grad_(True)
    wanted = [rows, *decoder.parameters()]
    whole = decoder(rows, TEXTS)[0]
    monkeypatch.setattr(module, "_PORTION", 3)
    parts = decoder(rows, TEXTS)[0]
    assert whole.item() == pytest.approx(parts.item(), abs=1e-12)
    for one, other in zip(*(torch.autograd.grad(loss, wanted) for loss in (whole, parts)), strict=True):
        numpy.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(("width", "heads"), [(8, 1), (96, 3), (300, 6), (384, 12), (768, 12), (37, 1)])
def test_heads_are_wide_enough(width, heads):
    assert n_heads(width) == heads and width % heads == 0
