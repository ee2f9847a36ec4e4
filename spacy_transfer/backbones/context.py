"""Layers that read the rows of a doc in their order: a CNN, a BiLSTM."""

from collections.abc import Callable
from typing import cast

from spacy.util import registry
from thinc.api import Linear, Model, chain, get_torch_default_device, torch2xp, with_array, xp2torch
from thinc.types import Floats2d

from .._compat import drop_gradient
from ..checks import BELOW_ONE, COUNT, require
from .blas import by_numpy
from .shims.retained_graph import is_graph_kept
from .shims.safetensors_shim import SafetensorsShim, read_state

ContextT = Model[list[Floats2d], list[Floats2d]]
Backprop = Callable[[list[Floats2d]], list[Floats2d]]


def build_cnn_context_v1(*, width: int = 96, depth: int = 2, window_size: int = 1, maxout_pieces: int = 3) -> ContextT:
    """spaCy's convolutions over neighbouring tokens (spacy.MaxoutWindowEncoder.v2), after a projection to `width`.

    width (int): Width of the rows it gives.
    depth (int): Number of convolutions, each with a residual connection.
    window_size (int): Tokens on each side that a convolution sees.
    maxout_pieces (int): Pieces of the maxout.
    RETURNS (Model[List[Floats2d], List[Floats2d]]): The layer: shape (n_tokens, width) for every doc.
    """
    require("context", COUNT, width=width, depth=depth, window_size=window_size, maxout_pieces=maxout_pieces)
    encode = registry.get("architectures", "spacy.MaxoutWindowEncoder.v2")(width, window_size, maxout_pieces, depth)
    inner: Model = chain(with_array(Linear(nO=width)), encode)
    return Model("transfer_cnn", _cnn_forward, init=_cnn_init, layers=[inner], dims={"nI": None, "nO": width})


def build_bilstm_context_v1(*, width: int = 128, depth: int = 1, dropout: float = 0.0) -> ContextT:
    """A bidirectional LSTM in torch (Hochreiter and Schmidhuber 1997; Graves and Schmidhuber 2005).

    width (int): Width of the rows it gives, half of it from each direction; even.
    depth (int): Number of layers.
    dropout (float): Between layers in training.
    RETURNS (Model[List[Floats2d], List[Floats2d]]): The layer: shape (n_tokens, width) for every doc.
    """
    require("context", COUNT, width=width, depth=depth)
    require("context", BELOW_ONE, dropout=dropout)
    return Model(
        "transfer_bilstm",
        _lstm_forward,
        init=_lstm_init,
        dims={"nI": None, "nO": width},
        attrs={"depth": depth, "dropout": dropout},
        shims=[LSTMShim(width, depth, dropout)],
    )


def _no_rows(model: ContextT, dim: str, n_docs: int) -> list[Floats2d]:
    return [model.ops.alloc2f(0, model.get_dim(dim)) for _ in range(n_docs)]


def _cnn_forward(model: ContextT, rows: list[Floats2d], is_train: bool) -> tuple[list[Floats2d], Backprop]:
    if not any(len(doc) for doc in rows):
        # The backward pass of Thinc's Maxout fails on a batch without tokens.
        return _no_rows(model, "nO", len(rows)), lambda d_rows: _no_rows(model, "nI", len(rows))
    return by_numpy(model.layers[0])(rows, is_train)


def _cnn_init(model: ContextT, X: object = None, Y: object = None) -> None:
    inner = model.layers[0]
    for node in inner.walk():
        for name in node.param_names:
            node.set_param(name, None)
            drop_gradient(node, name)
    inner.layers[0].layers[0].set_dim("nI", model.get_dim("nI"), force=True)
    inner.initialize()


class LSTMShim(SafetensorsShim):
    """Holds the torch LSTM, which is built when the width of its input is known."""

    def __init__(self, width: int, depth: int, dropout: float) -> None:
        super().__init__(None)
        self._shape = {"hidden_size": width // 2, "num_layers": depth, "dropout": dropout}

    def build(self, n_inputs: int) -> None:
        """Make the LSTM with random weights."""
        import torch

        lstm = torch.nn.LSTM(n_inputs, bidirectional=True, batch_first=True, **self._shape)
        self._model = lstm.to(get_torch_default_device())

    def to_bytes(self) -> bytes:
        return b"" if self._model is None else super().to_bytes()

    def from_bytes(self, bytes_data: bytes) -> "LSTMShim":
        if bytes_data:
            self.build(read_state(bytes_data)["weight_ih_l0"].shape[1])
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
    inputs = [xp2torch(rows[i], requires_grad=is_train) for i in full]
    with torch.set_grad_enabled(is_train):
        outputs = unpack_sequence(lstm(pack_sequence(inputs, enforce_sorted=False))[0])
    for i, output in zip(full, outputs, strict=True):
        found[i] = cast(Floats2d, torch2xp(output.detach()))

    def backprop(d_rows: list[Floats2d]) -> list[Floats2d]:
        for tensor in inputs:
            tensor.grad = None  # Of another backward pass.
        torch.autograd.backward(outputs, [xp2torch(d_rows[i]) for i in full], retain_graph=is_graph_kept())
        d_inputs = _no_rows(model, "nI", len(rows))
        for i, tensor in zip(full, inputs, strict=True):
            d_inputs[i] = cast(Floats2d, torch2xp(cast(torch.Tensor, tensor.grad)))
        return d_inputs

    return found, backprop
