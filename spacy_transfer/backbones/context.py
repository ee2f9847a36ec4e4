"""Layers that read the rows of a doc in their order: a CNN, a BiLSTM."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from spacy.util import registry
from thinc.api import (
    Linear,
    Maxout,
    Model,
    chain,
    clone,
    get_torch_default_device,
    residual,
    torch2xp,
    with_array,
)
from thinc.types import Floats2d

from ..attributes import Attrs
from ..checks import BELOW_ONE, COUNT, require
from ..errors import Errors
from ..types import Config
from .blas import by_numpy
from .shims.aligned_memory import as_tensor
from .shims.retained_graph import is_graph_kept
from .shims.safetensors_shim import SafetensorsShim, read_state
from .shims.thinc_weights import forget_weights

ContextT = Model[list[Floats2d], list[Floats2d]]
Backprop = Callable[[list[Floats2d]], list[Floats2d]]


@dataclass(kw_only=True)
class CNNAttrs(Attrs):
    """Of `build_cnn_context_v1`."""

    causal: bool


@dataclass(kw_only=True)
class BiLSTMAttrs(Attrs):
    """Of `build_bilstm_context_v1`; no other layer has a depth."""

    depth: int | None = None
    dropout: float = 0.0
    mix_directions: bool = True


@dataclass(kw_only=True)
class WindowAttrs(Attrs):
    """Of the node that gives each row those before it."""

    window_size: int


def build_cnn_context_v1(
    *, width: int = 96, depth: int = 2, window_size: int = 1, maxout_pieces: int = 3, causal: bool = False
) -> ContextT:
    """spaCy's convolutions over neighbouring tokens (spacy.MaxoutWindowEncoder.v2), after a projection to `width`.
    The row of a token depends on `depth * window_size` tokens before it, on itself, and on as many after it; with
    `causal` on none after it.

    width (int): Width of the rows it gives.
    depth (int): Number of convolutions, each with a residual connection.
    window_size (int): Tokens on each side that a convolution sees.
    maxout_pieces (int): Pieces of the maxout.
    causal (bool): See the token itself and those before it only, as predicting the next word needs it.
    RETURNS (Model[List[Floats2d], List[Floats2d]]): The layer: shape (n_tokens, width) for every doc.
    """
    require("context", COUNT, width=width, depth=depth, window_size=window_size, maxout_pieces=maxout_pieces)
    build = _build_causal_encoder if causal else registry.get("architectures", "spacy.MaxoutWindowEncoder.v2")
    inner: Model = chain(with_array(Linear(nO=width)), build(width, window_size, maxout_pieces, depth))
    dims: dict[str, int | None] = {"nI": None, "nO": width}
    own = vars(CNNAttrs(causal=causal))
    return Model("transfer_cnn", _cnn_forward, init=_cnn_init, layers=[inner], dims=dims, attrs=own)


def build_bilstm_context_v1(
    *, width: int = 128, depth: int = 1, dropout: float = 0.0, mix_directions: bool = True
) -> ContextT:
    """A bidirectional LSTM in torch (Hochreiter and Schmidhuber 1997; Graves and Schmidhuber 2005).

    width (int): Width of the rows it gives, half of it from each direction; even.
    depth (int): Number of layers.
    dropout (float): Between layers in training.
    mix_directions (bool): Let each layer read the rows of both directions below it. False for two separate stacks
        (ELMo, Peters et al. 2018), as predicting the next word needs them where `depth` is more than 1: see
        `split_directions`.
    RETURNS (Model[List[Floats2d], List[Floats2d]]): The layer: shape (n_tokens, width) for every doc.
    """
    require("context", COUNT, width=width, depth=depth)
    require("context", BELOW_ONE, dropout=dropout)
    return Model(
        "transfer_bilstm",
        _lstm_forward,
        init=_lstm_init,
        dims={"nI": None, "nO": width},
        attrs=vars(BiLSTMAttrs(depth=depth, dropout=dropout, mix_directions=mix_directions)),
        shims=[LSTMShim(width, depth, dropout, mix_directions)],
    )


def _no_rows(model: ContextT, dim: str, n_docs: int) -> list[Floats2d]:
    return [model.ops.alloc2f(0, model.get_dim(dim)) for _ in range(n_docs)]


def split_directions(context: ContextT, rows: list[Floats2d]) -> tuple[list[Floats2d], list[Floats2d]]:
    """The rows of a BiLSTM by direction. Row t of the forward half depends on tokens up to t only, row t of the
    backward half on tokens from t on only. Gradients of both, side by side, are those of the rows.

    context (Model[List[Floats2d], List[Floats2d]]): A `spacy-transfer.BiLSTMContext.v1`.
    rows (List[Floats2d]): What it gave: shape (n_tokens, width) for every doc.
    RETURNS (Tuple[List[Floats2d], List[Floats2d]]): The forward and the backward halves: shape
        (n_tokens, width / 2) for every doc.
    RAISES (ValueError): When it is another layer, or its directions mix.
    """
    own = BiLSTMAttrs.of(context)
    if context.name != "transfer_bilstm" or (own.mix_directions and own.depth != 1):
        raise ValueError(Errors.T225.format(found=context.name, depth=own.depth))
    half = context.get_dim("nO") // 2
    return [doc[:, :half] for doc in rows], [doc[:, half:] for doc in rows]


def _cnn_forward(model: ContextT, rows: list[Floats2d], is_train: bool) -> tuple[list[Floats2d], Backprop]:
    if not any(len(doc) for doc in rows):
        # The backward pass of Thinc's Maxout fails on a batch without tokens.
        return _no_rows(model, "nO", len(rows)), lambda d_rows: _no_rows(model, "nI", len(rows))
    return by_numpy(model.layers[0])(rows, is_train)


def _cnn_init(model: ContextT, X: object = None, Y: object = None) -> None:
    inner = model.layers[0]
    forget_weights(inner)
    inner.layers[0].layers[0].set_dim("nI", model.get_dim("nI"), force=True)
    inner.initialize()


def _build_causal_encoder(width: int, window_size: int, maxout_pieces: int, depth: int) -> Model:
    """spaCy's MaxoutWindowEncoder with windows that end at the token."""
    maxout = Maxout(nO=width, nI=width * (window_size + 1), nP=maxout_pieces, dropout=0.0, normalize=True)
    window: Model = Model("causal_window", _causal_window, attrs=vars(WindowAttrs(window_size=window_size)))
    return with_array(clone(residual(chain(window, maxout)), depth), pad=window_size * depth)


def _causal_window(model: Model, rows: Floats2d, is_train: bool) -> tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    """For each row those before it, the farthest first, and itself: shape (n, (window_size + 1) * width)."""
    size, (n, width) = WindowAttrs.of(model).window_size, rows.shape
    padded = model.ops.xp.concatenate([model.ops.alloc2f(size, width), rows])
    windows = model.ops.xp.concatenate([padded[i : i + n] for i in range(size + 1)], axis=1)

    def backprop(d_windows: Floats2d) -> Floats2d:
        d_padded = model.ops.alloc2f(n + size, width)
        for i in range(size + 1):
            d_padded[i : i + n] += d_windows[:, i * width : (i + 1) * width]
        return d_padded[size:]

    return windows, backprop


class LSTMShim(SafetensorsShim):
    """Holds the torch LSTM, which is built when the width of its input is known."""

    def __init__(self, width: int, depth: int, dropout: float, mix_directions: bool = True) -> None:
        super().__init__(None)
        self._mix_directions = mix_directions
        self._shape: Config = {"hidden_size": width // 2, "num_layers": depth, "dropout": dropout}

    def build(self, n_inputs: int) -> None:
        """Make the LSTM with random weights."""
        import torch

        from .lstm_stacks import LSTMStacks

        lstm: torch.nn.Module
        if self._mix_directions:
            lstm = torch.nn.LSTM(n_inputs, bidirectional=True, batch_first=True, **self._shape)
        else:
            lstm = LSTMStacks(n_inputs, **self._shape)
        self._model = lstm.to(get_torch_default_device())

    def to_bytes(self) -> bytes:
        return b"" if self._model is None else super().to_bytes()

    def from_bytes(self, bytes_data: bytes) -> "LSTMShim":
        if bytes_data:
            state = read_state(bytes_data)
            self.build(next(tensor for name, tensor in state.items() if name.endswith("weight_ih_l0")).shape[1])
            super().from_bytes(bytes_data)
        return self


def _lstm_init(model: ContextT, X: object = None, Y: object = None) -> None:
    cast(LSTMShim, model.shims[0]).build(model.get_dim("nI"))


def _lstm_forward(model: ContextT, rows: list[Floats2d], is_train: bool) -> tuple[list[Floats2d], Backprop]:
    """All docs with tokens are one packed sequence."""
    import torch
    from torch.nn.utils.rnn import pack_sequence, unpack_sequence

    lstm: torch.nn.LSTM = model.shims[0]._model
    full = [i for i, doc in enumerate(rows) if len(doc)]
    found = _no_rows(model, "nO", len(rows))
    if not full:
        return found, lambda d_rows: _no_rows(model, "nI", len(rows))
    lstm.train(is_train)
    inputs = [as_tensor(rows[i]).requires_grad_(is_train) for i in full]
    with torch.set_grad_enabled(is_train):
        outputs = unpack_sequence(lstm(pack_sequence(inputs, enforce_sorted=False))[0])
    for i, output in zip(full, outputs, strict=True):
        found[i] = cast(Floats2d, torch2xp(output.detach()))

    def backprop(d_rows: list[Floats2d]) -> list[Floats2d]:
        for tensor in inputs:
            tensor.grad = None  # Of another backward pass.
        torch.autograd.backward(outputs, [as_tensor(d_rows[i]) for i in full], retain_graph=is_graph_kept())
        d_inputs = _no_rows(model, "nI", len(rows))
        for i, tensor in zip(full, inputs, strict=True):
            d_inputs[i] = cast(Floats2d, torch2xp(cast(torch.Tensor, tensor.grad)))
        return d_inputs

    return found, backprop
