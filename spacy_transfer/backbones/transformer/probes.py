"""Trial passes of an encoder on a few artificial windows."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...errors import Errors
from .layers.module_tree import find_layers
from .packed import can_pack
from .packing.layouts import arguments

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# A few times the rounding error of float32 after many layers, and far below the effect of other texts in a batch.
_TOLERANCE = 1e-4
_ROUNDING = 1e-6
_SIZES = [13, 6]


def check_input(transformer: "PreTrainedModel") -> None:
    """Run the encoder once, as prediction will.

    RAISES (ValueError): When the encoder asks for more than word pieces.
    """
    name = type(transformer).__name__
    if not isinstance(getattr(transformer.config, "vocab_size", None), int):
        raise ValueError(Errors.T140.format(kind=name, error="it has no vocabulary (config.vocab_size)."))
    try:
        with undisturbed(transformer), torch.no_grad():
            run(transformer, sample(transformer, [6]))
    except Exception as error:  # Whatever transformers' own code raises on a pass that it does not support.
        raise ValueError(Errors.T140.format(kind=name, error=error)) from error


def check_autocast(transformer: "PreTrainedModel", autocast: AbstractContextManager, precision: str) -> None:
    """Run the encoder once in another precision, as prediction will.

    RAISES (ValueError): When the encoder's own code does not know it.
    """
    try:
        with undisturbed(transformer), torch.no_grad(), autocast:
            has_mask = "attention_mask" in arguments(transformer.__class__.forward)
            run(transformer, sample(transformer, _SIZES if has_mask else _SIZES[:1]))
    except RuntimeError as error:
        kind = type(transformer).__name__
        raise ValueError(Errors.T141.format(kind=kind, precision=precision, error=error)) from error


def check_rows(transformer: "PreTrainedModel", source: str) -> None:
    """Check that a text has the same rows in all batches.

    RAISES (ValueError): When they differ even among texts of its length, or in a second pass.
    """
    if rows_depend_on_padding(transformer) and rows_depend_on_neighbours(transformer):
        raise ValueError(Errors.T143.format(source=source, kind=type(transformer).__name__))


def check_top_layers(transformer: "PreTrainedModel", n_top: int, source: str) -> None:
    """Check that the states of the top layers can lie side by side.

    RAISES (ValueError): When there are not so many layers, or their states have other shapes than the last ones.
    """
    count = int(getattr(transformer.config, "num_hidden_layers", 1))
    if n_top > count:
        raise ValueError(Errors.T873.format(layers=n_top, source=source, count=count))
    with undisturbed(transformer), torch.no_grad():
        output = transformer(**sample(transformer, [6]), output_hidden_states=True, **options(transformer))
    shapes = [tuple(states.shape) for states in output.hidden_states[-n_top:]]
    if shapes != [tuple(output.last_hidden_state.shape)] * n_top:
        raise ValueError(Errors.T874.format(layers=n_top, kind=type(transformer).__name__, shapes=shapes))


def rows_depend_on_padding(transformer: "PreTrainedModel") -> bool:
    """Whether the states of a window change when a longer one is in the batch.

    RETURNS (bool): True where only windows of one length can go through the encoder together.
    """
    if "attention_mask" not in arguments(transformer.__class__.forward):
        return True
    return _differ(transformer, _SIZES)


def rows_depend_on_neighbours(transformer: "PreTrainedModel") -> bool:
    """RETURNS (bool): Whether the states of a window depend on others of the same length, or change in a second
    pass."""
    return _differ(transformer, [_SIZES[0]] * 3)


def take_whole_windows(transformer: "PreTrainedModel") -> None:
    """Switch off chunks in feed-forward layers, which change no result and want windows of certain lengths."""
    holders: list[PretrainedConfig | nn.Module] = [transformer.config, *transformer.modules()]
    for holder in holders:
        if getattr(holder, "chunk_size_feed_forward", 0):
            holder.chunk_size_feed_forward = 0


def switch_on_checkpointing(transformer: "PreTrainedModel") -> None:
    """Let an encoder compute its layers twice in training.

    RAISES (ValueError): When it does not know how to.
    """
    try:
        transformer.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except ValueError as error:
        raise ValueError(Errors.T142.format(kind=type(transformer).__name__, error=error)) from error
    if not can_pack(transformer):
        check_checkpointing(transformer)


def check_checkpointing(transformer: "PreTrainedModel") -> None:
    """Send a gradient back through an encoder that computes its layers twice.

    RAISES (ValueError): When it fails, or nothing is computed twice.
    """
    name, layers = type(transformer).__name__, find_layers(transformer)
    first = transformer if layers is None else transformer.get_submodule(f"{layers.paths[0]}.0")
    calls: list[nn.Module] = []
    handles = [part.register_forward_pre_hook(lambda *args: calls.append(args[0])) for part in first.modules()]
    try:
        with undisturbed(transformer), with_gradients(transformer):
            transformer.train()
            states = run(transformer, sample(transformer, [6]))
            once = len(calls)
            torch.autograd.grad(states.sum(), list(first.parameters()), allow_unused=True)
    except Exception as error:  # Whatever transformers' own code raises on a pass that it does not support.
        raise ValueError(Errors.T142.format(kind=name, error=f"It fails: {error}")) from error
    finally:
        for handle in handles:
            handle.remove()
    if len(calls) == once:
        raise ValueError(Errors.T142.format(kind=name, error="It computes nothing twice, and saves no memory."))


def options(transformer: "PreTrainedModel") -> dict[str, bool]:
    """RETURNS (Dict[str, bool]): Options of each pass. Keys and values for a next word are not needed."""
    return {
        "return_dict": True,
        **({"use_cache": False} if "use_cache" in arguments(transformer.__class__.forward) else {}),
    }


def sample(transformer: "PreTrainedModel", sizes: list[int]) -> dict[str, Tensor]:
    """Artificial windows.

    sizes (List[int]): Pieces in each window, the longest first. Shorter ones are padded.
    RETURNS (Dict[str, Tensor]): Arguments of the encoder; no mask where there is no padding.
    """
    config = transformer.config
    pad_id = max(0, getattr(config, "pad_token_id", None) or 0)
    known = [i for i in range(min(int(config.vocab_size), 1000)) if i != pad_id]
    ids = torch.full((len(sizes), sizes[0]), pad_id)
    for row, size in enumerate(sizes):
        ids[row, :size] = torch.tensor([known[(7 * i + 11 * row + 5) % len(known)] for i in range(size)])
    device = next(transformer.parameters()).device
    inputs = {"input_ids": ids.to(device)}
    if sizes[-1] < sizes[0]:
        mask = torch.arange(sizes[0])[None] < torch.tensor(sizes)[:, None]
        inputs["attention_mask"] = mask.long().to(device)
    return inputs


def run(transformer: "PreTrainedModel", inputs: dict[str, Tensor]) -> Tensor:
    """RETURNS (Tensor): States after the last layer, shape (n_windows, longest, width).

    inputs (Dict[str, Tensor]): From `sample`.
    """
    return transformer(**inputs, **options(transformer)).last_hidden_state


def tolerance_of(transformer: "PreTrainedModel") -> float:
    """RETURNS (float): For `are_close`, at most a hundredth of what a window's first piece changes in the others:
    weights near zero hide what attention sees."""
    inputs = sample(transformer, _SIZES[1:] * 2)
    states = run(transformer, inputs)
    inputs["input_ids"][:, 0] = inputs["input_ids"][:, 1]
    moved = (run(transformer, inputs) - states)[:, 1:]
    return min(_TOLERANCE, 0.01 * float(moved.abs().max() / states.abs().max()))


def are_close(found: Tensor, expected: Tensor, tolerance: float = _TOLERANCE) -> bool:
    """RETURNS (bool): Whether states differ by no more than `tolerance` times the largest of them."""
    if found.shape != expected.shape:
        return False
    return float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


@contextmanager
def undisturbed(transformer: nn.Module) -> Iterator[None]:
    """Within, passes are those of prediction. Afterwards modes and random states are restored."""
    device = next(transformer.parameters()).device
    with predicting(transformer), torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


@contextmanager
def with_gradients(transformer: nn.Module) -> Iterator[None]:
    """Within, passes are recorded for all parameters, also for frozen ones."""
    before = {parameter: parameter.requires_grad for parameter in transformer.parameters()}
    transformer.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter, requires_grad in before.items():
            parameter.requires_grad_(requires_grad)


@contextmanager
def predicting(transformer: nn.Module) -> Iterator[None]:
    """Within, passes are those of prediction: without dropout."""
    training = [part for part in transformer.modules() if part.training]
    transformer.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _differ(transformer: "PreTrainedModel", sizes: list[int]) -> bool:
    with undisturbed(transformer), torch.no_grad():
        tolerance, inputs = max(_ROUNDING, tolerance_of(transformer)), sample(transformer, sizes)
        together = run(transformer, inputs)
        for i, size in enumerate(sizes):
            (alone,) = run(transformer, {"input_ids": inputs["input_ids"][i : i + 1, :size]})
            if not are_close(together[i, :size], alone, tolerance):
                return True
    return False
