"""Frozen is frozen: the largest change of a weight that should stay, after steps with weight decay.

    python benchmarks/frozen.py [--steps 20] [--batch-size 16]

One row for each mode of freezing, with our AdamW and with spaCy's Adam (decay 0.01 in both), on BBC articles cut at 200
characters. The change of what should move stands beside it, to show that there was training. In the last row
spacy-transformers has `grad_factor = 0`, the only freezing it offers.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import spacy
import torch
from common import bbc_texts, encoder_shim, initialized, our_config, peer_config, print_rows, tuned_config
from frozen_epochs import gold, step
from spacy.language import Language
from thinc.api import Adam, Config, Optimizer

RATE = 1e-4
State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Mode:
    """A way of freezing.

    what (str): For the table.
    config (Callable): Makes the config.
    stays (Callable): Tells from the name of a parameter of the encoder whether it must stay.
    """

    what: str
    config: Callable[[], Config]
    stays: Callable[[str], bool]


def is_low(name: str) -> bool:
    """RETURNS (bool): Whether a parameter is in the embeddings or one of the three bottom layers."""
    return ".embeddings." in f".{name}" or any(f".layer.{i}." in name for i in range(3))


def modes(steps: int) -> list[Mode]:
    attention = ["attention", "LayerNorm"]
    lora = {"method": "lora", "r": 8}
    return [
        Mode('freeze = "all"', lambda: tuned_config(freeze="all"), lambda name: True),
        Mode('freeze = "embeddings"', lambda: tuned_config(freeze="embeddings"), lambda n: ".embeddings." in f".{n}"),
        Mode("freeze = 3", lambda: tuned_config(freeze=3), is_low),
        Mode(
            f"freeze = {attention}".replace("'", '"'),
            lambda: tuned_config(freeze=attention),
            lambda name: any(part in name for part in attention),
        ),
        Mode(f"head_first = {steps}", lambda: tuned_config(head_first=steps), lambda name: True),
        Mode('adapter = {"method": "lora"}, the base', lambda: tuned_config(adapter=lora), lambda n: "lora_" not in n),
        Mode("frozen = true of the component", lambda: our_config("textcat_transformer"), lambda name: True),
    ]


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "AdamW.v1": lambda: spacy.registry.optimizers.get("spacy-transfer.AdamW.v1")(learn_rate=RATE),
    "Adam.v1": lambda: Adam(RATE, L2=0.01),
}


def largest_change(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> float:
    """RETURNS (float): Largest absolute difference of tensors of the same names; 0 for none. NaN if any is."""
    changes = [(after[name].double() - tensor.double()).abs().max() for name, tensor in before.items()]
    return float(torch.stack(changes).max()) if changes else 0.0


def all_weights(nlp: Language, upstream: str) -> State:
    """RETURNS (State): Copies of the weights of the encoder, and of the head's, under "head."."""
    if upstream == "transfer_backbone":
        module = encoder_shim(nlp)._model
    else:
        module = nlp.get_pipe(upstream).model.transformer
    own = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    head = nlp.get_pipe(nlp.pipe_names[-1]).model
    for i, node in enumerate(head.walk()):
        for name in node.param_names if node.name != "transformer" else ():
            if node.has_param(name):
                own[f"head.{i}.{name}"] = torch.from_numpy(node.get_param(name).copy())
    return own


def train(config: Config, optimizer: Optimizer, texts: list[str], steps: int, batch_size: int) -> tuple[State, State]:
    """RETURNS (Tuple[State, State]): Weights before and after."""
    nlp = initialized(config, texts)
    docs = gold(nlp, texts)
    before = all_weights(nlp, nlp.pipe_names[0])
    for number in range(steps):
        begin = number * batch_size % len(docs)
        step(nlp, (docs + docs)[begin : begin + batch_size], optimizer)
    return before, all_weights(nlp, nlp.pipe_names[0])


def apart(mode: Mode, before: State, after: State) -> tuple[float, float]:
    """RETURNS (Tuple[float, float]): Largest change of what must stay, and of the rest: the encoder's, or the head's
    where all of the encoder stays."""
    own = {name for name in before if not name.startswith("head.")}
    stays = {name for name in own if mode.stays(name)}
    if not stays:
        raise SystemExit(f"{mode.what}: no parameter of this encoder is meant to stay")
    moves = own - stays or before.keys() - own
    still = {name: tensor for name, tensor in before.items() if name in stays}
    rest = {name: tensor for name, tensor in before.items() if name in moves}
    return largest_change(still, after), largest_change(rest, after)


def show(change: float) -> str:
    """RETURNS (str): "0.0" for an exact zero and for nothing else."""
    return "0.0" if change == 0.0 else f"{change:.1e}"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--steps", type=int, default=20)
    args.add_argument("--batch-size", type=int, default=16)
    opts = args.parse_args()
    texts = [text[:200] for text in bbc_texts(opts.steps * opts.batch_size)]
    size = (texts, opts.steps, opts.batch_size)
    rows = []
    for mode in modes(opts.steps):
        print(mode.what, file=sys.stderr, flush=True)
        found = {name: apart(mode, *train(mode.config(), make(), *size)) for name, make in OPTIMIZERS.items()}
        measured = "; ".join(
            f"{show(still)} with {name} (the rest {rest:.0e})" for name, (still, rest) in found.items()
        )
        rows.append((f"largest weight change after {opts.steps} steps, {mode.what}", measured, "0.0"))
    peer = peer_config()
    peer["components"]["textcat"]["model"]["tok2vec"]["grad_factor"] = 0.0
    mode = Mode("spacy-transformers, grad_factor = 0", lambda: peer, lambda name: True)
    still, rest = apart(mode, *train(peer, OPTIMIZERS["Adam.v1"](), *size))
    measured = f"{show(still)} with Adam.v1 (the rest {rest:.0e})"
    print_rows([*rows, (f"largest weight change after {opts.steps} steps, {mode.what}", measured, "-")])


if __name__ == "__main__":
    main()
