"""Seconds of one optimizer step on the 22 million parameters of MiniLM: our AdamW, and spaCy's Adam.

    python benchmarks/optimizer_step.py [--rounds 20]

What `spacy train` calls: finish_update of the shim that holds the encoder, then the optimizer's step_schedules. The
gradients are random, and are set anew before each step, outside of its time. The contenders take turns: AdamW in our
shim, Adam in Thinc's own PyTorchShim (as spacy-transformers has it), and Adam in our shim.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import spacy
import torch
from common import encoder_shim, initialized, minilm, print_rows, speedup, time_in_turn, tuned_config
from thinc.api import Adam, Optimizer, PyTorchShim

RATE = 5e-5
OURS, STOCK, ADAM = "AdamW.v1", "Adam.v1 in Thinc's shim", "Adam.v1 in our shim"


def stepper(shim: Any, optimizer: Optimizer) -> Callable[[], None]:
    def run() -> None:
        shim.finish_update(optimizer)
        optimizer.step_schedules()

    return run


def make_shims() -> dict[str, Any]:
    """RETURNS (Dict[str, Shim]): Three shims, each with an encoder of its own."""
    from transformers import AutoModel

    ours = {name: encoder_shim(initialized(tuned_config())) for name in (OURS, ADAM)}
    return {OURS: ours[OURS], STOCK: PyTorchShim(AutoModel.from_pretrained(minilm())), ADAM: ours[ADAM]}


def make_gradients(module: torch.nn.Module) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [1e-3 * torch.randn(p.shape, generator=generator) for p in module.parameters()]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--rounds", type=int, default=20)
    opts = args.parse_args()
    shims = make_shims()
    gradients = {name: make_gradients(shim._model) for name, shim in shims.items()}

    def prepare(name: str) -> None:
        for parameter, gradient in zip(shims[name]._model.parameters(), gradients[name], strict=True):
            parameter.grad = gradient.clone()

    adamw = spacy.registry.optimizers.get("spacy-transfer.AdamW.v1")(learn_rate=RATE)
    optimizers = {OURS: adamw, STOCK: Adam(RATE, L2=0.01), ADAM: Adam(RATE, L2=0.01)}
    runners = {name: stepper(shim, optimizers[name]) for name, shim in shims.items()}
    seconds = time_in_turn(runners, opts.rounds, prepare)
    ms = {name: f"{1000 * statistics.median(taken):.0f} ms" for name, taken in seconds.items()}
    measured = (
        f"{ms[OURS]}: {speedup(seconds, OURS, STOCK):.1f} x as fast as Thinc's Adam.v1 in spacy-transformers' kind of "
        f"shim ({ms[STOCK]}), {speedup(seconds, OURS, ADAM):.1f} x as Adam.v1 in our shim ({ms[ADAM]})"
    )
    millions = sum(p.numel() for p in shims[OURS]._model.parameters()) / 1e6
    print_rows([(f"optimizer step, spacy-transfer.AdamW.v1, {millions:.1f} M parameters", measured, ">= 2 x")])


if __name__ == "__main__":
    main()
