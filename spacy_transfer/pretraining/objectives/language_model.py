"""The output layer of a masked language model, by transformers' own classes, on an encoder that stands elsewhere."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..._compat import quiet_loading
from ...backbones.shims.aligned_memory import align_weights
from ...backbones.sources import resolve_source
from ...errors import Errors, Warnings

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

logger = logging.getLogger("spacy")


class LanguageModelHead(nn.Module):
    """Scores of all word pieces for each state. Weights that are tied to the input embeddings stay the encoder's.

    encoder (PreTrainedModel): The encoder, which is no part of this module.
    source (Optional[str]): Where to look for the weights of the layer; None for fresh ones.
    """

    def __init__(self, encoder: "PreTrainedModel", source: str | None) -> None:
        super().__init__()
        model, missing = _read(encoder.config, source)
        self._given = _GivenStates()
        setattr(model, model.base_model_prefix, self._given)
        decoder = cast(nn.Linear, model.get_output_embeddings())
        lacking = [name for name in missing if not name.startswith(f"{model.base_model_prefix}.")]
        # A decoder is often tied, and then not in the file.
        self.is_fresh = source is None or any("decoder" not in name for name in lacking)
        if getattr(encoder.config, "tie_word_embeddings", True):
            model.set_output_embeddings(_TiedDecoder(encoder, decoder))
        if self.is_fresh:
            _begin_at_identity(model)
            if source is not None:
                logger.warning(Warnings.W824.format(source=source))
        self.model = model

    def forward(self, states: Tensor) -> Tensor:
        """RETURNS (Tensor): Logits of shape (n, n_pieces), for states of shape (n, width)."""
        self._given.states = states[None]
        try:
            ids = torch.zeros((1, len(states)), dtype=torch.int64, device=states.device)
            return cast(Tensor, self.model(input_ids=ids).logits[0])
        finally:
            self._given.states = None


class _GivenStates(nn.Module):
    """Stands in the place of the encoder, and gives states that were computed before."""

    states: Tensor | None = None

    def forward(self, *args: object, **kwargs: object) -> object:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=cast(torch.FloatTensor, self.states))


class _TiedDecoder(nn.Module):
    """Multiplies by the encoder's input embeddings, whatever has been put around them, and has only its own bias."""

    def __init__(self, encoder: "PreTrainedModel", decoder: nn.Linear) -> None:
        super().__init__()
        # A function keeps the encoder out of this module's parameters.
        self._weight: Callable[[], Tensor] = lambda: cast(Tensor, encoder.get_input_embeddings().weight)
        self.bias = None if decoder.bias is None else nn.Parameter(decoder.bias.detach().clone())

    def forward(self, states: Tensor) -> Tensor:
        return linear(states, self._weight(), self.bias)


def _read(config: "PretrainedConfig", source: str | None) -> tuple[Any, list[str]]:
    """A masked language model, and the names of its weights that the source lacks."""
    from transformers import AutoModelForMaskedLM

    try:
        if source is None:
            return AutoModelForMaskedLM.from_config(config, trust_remote_code=False), []
        path = resolve_source(source).path
        with quiet_loading():
            model, info = AutoModelForMaskedLM.from_pretrained(
                path,
                output_loading_info=True,
                torch_dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
            )
    except ValueError as error:
        first = str(error).partition("\n")[0]  # A list of all other types follows.
        raise ValueError(Errors.T824.format(kind=config.model_type, error=first)) from error
    align_weights(model)
    return model, list(info["missing_keys"])


def _begin_at_identity(model: nn.Module) -> None:
    """A square layer between states and embeddings that has learned nothing passes states on."""
    for name, layer in model.named_modules():
        is_square = isinstance(layer, nn.Linear) and layer.in_features == layer.out_features
        if is_square and "decoder" not in name:
            nn.init.eye_(cast(nn.Linear, layer).weight)
