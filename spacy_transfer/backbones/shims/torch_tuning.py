"""A shim that applies a tuning to an encoder in torch: freezing, rates, anchor, adapter, and checks of gradients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from thinc.api import Optimizer

from ...errors import Errors
from ...tuning.adapters import has_adapter, inject, merge, plain_name, read_adapter, trainable_names
from ...tuning.anchors import strengths
from ...tuning.policy import Depths, Policy, Tuning, check_layers
from ...types import Config
from ..cached_rows.row_cache import RowCache
from .loss_scale import LossScale
from .parameter import TorchParameter
from .safetensors_shim import SafetensorsShim, parameters_with_gradient, step_parameters
from .tunable import Tunable

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter as TensorParameter
    from transformers import PreTrainedModel


class TuningShim(Tunable, SafetensorsShim):
    """Counts steps, and applies a tuning to its module; None trains everything."""

    # The prefix of the encoder's names in those of the module.
    prefix = ""
    not_copied: tuple[str, ...] = ("_cache",)

    def __init__(self, tuning: Tuning | None, model: Any = None, **kwargs: Any) -> None:
        super().__init__(model, **kwargs)
        self.begin_tuning(tuning)
        self.adapter: Config | None = None
        self.loss_scale: LossScale | None = None
        self._plain: list[str] = []
        self._stage = -1
        self._cache: RowCache | None = None

    # Setting up

    def install_from_source(self, install: Callable[[Config | None], None], fingerprint: str) -> None:
        """Install an encoder from its source: with a new adapter, or one that was saved with such an encoder.

        install (Callable[[Optional[Config]], None]): Installs it with an adapter.
        """
        from ..transformer.reading.source_checks import check_finite

        adapter, tensors = None if self.tuning is None else self.tuning.adapter, None
        if adapter is not None and adapter.get("source"):
            adapter, tensors = read_adapter(str(adapter["source"]), adapter, fingerprint)
            check_finite(tensors.items(), str(adapter["source"]))
        install(adapter)
        self.check_layers()
        if tensors is not None:
            self.fill_adapter(tensors, without=".default")
        self.remember_origin()

    def prepare_encoder(self, transformer: "PreTrainedModel", adapter: Config | None) -> None:
        """Put an adapter into an encoder that will be this shim's, and switch on what the tuning asks for."""
        from ..transformer.layers.module_tree import attention_layers
        from ..transformer.probes import switch_on_checkpointing, take_whole_windows

        self._plain = list(transformer.state_dict())
        take_whole_windows(transformer)
        if self.tuning is not None and self.tuning.checkpointing:
            switch_on_checkpointing(transformer)
        self.adapter = None if adapter is None else inject(transformer, dict(adapter), attention_layers(transformer))

    def find_depths(self) -> Depths:
        """RETURNS (Depths): The depth of each parameter, by its name in the module."""
        from ..transformer.layers.depths import find_depths

        return find_depths(self._model.get_submodule(self.prefix.rstrip(".")), self.prefix)

    def check_layers(self) -> None:
        """RAISES (ValueError): When the tuning counts layers, and those of this encoder are not known."""
        if self.tuning is not None:
            check_layers(self.tuning, self.find_depths())

    def apply_tuning(self) -> None:
        """Apply the tuning to the parameters of the module."""
        self._forget()
        self.policy, self._strengths = None, {}
        tuning = self.tuning
        if tuning is None:
            return
        names = [name for name, _ in self._model.named_parameters()]
        plain = {self.prefix + name for name in self._plain}
        trainable = None if self.adapter is None else trainable_names(names, plain, self.adapter)
        self.policy = Policy(tuning, names, trainable, self.find_depths())
        self._strengths = strengths(tuning.anchor, [name for name in names if plain_name(name) in plain])

    def remember_origin(self, read: Callable[[], "Mapping[str, Tensor]"] | None = None) -> None:
        """Keep the weights toward which the anchor pulls: those that `read` returns, by the module's names, or the
        present ones."""
        if not self._strengths:
            return
        found = dict(self._model.named_parameters()) if read is None else read()
        self._origin = {name: found[name].detach().clone() for name in self._strengths}

    def read_origin(self) -> "Mapping[str, Tensor]":
        """RETURNS (Mapping[str, Tensor]): The pretrained weights, by the module's names, from the source."""
        raise NotImplementedError

    def training_state(self) -> Config:
        scale = None if self.loss_scale is None else self.loss_scale.training_state()
        return {**super().training_state(), "loss_scale": scale}

    def set_training_state(self, state: Config) -> None:
        super().set_training_state(state)
        if self.loss_scale is not None:
            self.loss_scale.set_training_state(state["loss_scale"])

    def own_parameters(self) -> dict[str, TorchParameter]:
        """RETURNS (Dict[str, TorchParameter]): The parameters, by the module's names."""
        return {name: TorchParameter(self, name) for name, _ in self._model.named_parameters()}

    def _forget(self) -> None:
        self._stage, self._cache, self._origin, self._n_docs = -1, None, {}, 0

    # A step

    def own_weights(self) -> None:
        """Called before weights change: one that shares them makes copies."""

    def prepare_step(self, n_docs: int) -> None:
        """Set training mode and gradients for the trained parameters of this step, and for no layer below them."""
        self._n_docs += n_docs
        self.own_weights()
        module = self._model
        if self.policy is None:
            module.train()
            return
        stage = self.policy.stage(self.steps)
        if stage == self._stage and module.training:
            return
        module.train()
        moving = self.policy.moving(self.steps)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in moving)
        for name, part in module.named_modules():
            if self.policy.is_below(name, self.steps):
                part.training = False
        if stage != self._stage:
            self._stage, self._cache = stage, None  # The states at the old boundary, or of weights that moved since.
        if self._strengths and not self._origin:
            self.remember_origin(self.read_origin)

    def states_below(self) -> tuple[int, RowCache | None]:
        """RETURNS (Tuple[int, Optional[RowCache]]): Number of frozen lower layers, and the cache of their states."""
        n_lower = 0 if self.policy is None else self.policy.n_lower(self.steps)
        if n_lower and self._cache is None and self.cache_settings.is_on:
            self._cache = RowCache(self.cache_settings)
        return n_lower, self._cache if n_lower else None

    @property
    def current_scale(self) -> float:
        """RETURNS (float): The loss scale; 1 without."""
        return 1.0 if self.loss_scale is None else self.loss_scale.scale

    @staticmethod
    def send_back(
        outputs: "Sequence[Tensor]", grads: "Sequence[Tensor]", scale: float, *, retain_graph: bool = False
    ) -> None:
        """Send gradients, times a loss scale, back through the module."""
        import torch

        pairs = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if out.requires_grad]
        if pairs:
            scaled = [grad * scale if scale != 1.0 else grad for _, grad in pairs]
            torch.autograd.backward([out for out, _ in pairs], scaled, retain_graph=retain_graph)

    def finish_update(self, optimizer: Optimizer) -> None:
        """Add the anchor's pull, check the gradients, step, and count the step.

        RAISES (ValueError): When a gradient is not finite. No parameter has changed then.
        """
        parameters = parameters_with_gradient(self._model)
        self.add_pull({name: TorchParameter(self, name) for name in self._strengths})
        if self._may_step(parameters):
            step_parameters(optimizer, self.id, parameters, self.rate_scales)
        else:
            for parameter in parameters.values():
                parameter.grad = None
        self._n_docs = 0
        self.steps += 1

    def _may_step(self, parameters: "dict[str, TensorParameter]") -> bool:
        import torch

        if not parameters:
            return True
        grads = [grad for parameter in parameters.values() if (grad := parameter.grad) is not None]
        norms = torch.stack(torch._foreach_norm(grads))
        is_finite = bool(torch.isfinite(norms).all())
        if self.loss_scale is not None:
            return self.loss_scale.unscale(grads, is_finite)
        if not is_finite:
            order = torch.argsort(torch.nan_to_num(norms, nan=float("inf")), descending=True)[:5].tolist()
            names = list(parameters)
            largest = ", ".join(f"{names[i]} {float(norms[i]):.3g}" for i in order)
            what = "NaN" if bool(torch.isnan(norms).any()) else "infinite"
            self.drop_gradients()
            raise ValueError(Errors.T652.format(step=self.steps, name=self.owner, what=what, norms=largest))
        return True

    def drop_gradients(self) -> None:
        """Drop the gradients of the next step."""
        self._n_docs = 0
        for parameter in self._model.parameters():
            parameter.grad = None

    # Adapters

    def merge_adapter(self) -> None:
        """Merge the adapter into the encoder's weights, in place."""
        if self.adapter is None or not has_adapter(self._model):
            raise ValueError(Errors.T648.format(name=self.owner, what="merge"))
        self.own_weights()
        merge(self._model)
        self.adapter = None
        if self.tuning is not None:
            self.tuning = replace(self.tuning, adapter=None)
        self.apply_tuning()

    def adapter_tensors(self) -> "dict[str, Tensor]":
        """RETURNS (Dict[str, Tensor]): The adapter's own tensors, by their names in the encoder."""
        own = {self.prefix + name for name in self._plain}
        return {
            name.removeprefix(self.prefix): tensor.detach().cpu()
            for name, tensor in self._model.state_dict().items()
            if name.startswith(self.prefix) and plain_name(name) not in own
        }

    def fill_adapter(self, tensors: "Mapping[str, Tensor]", without: str = "") -> None:
        """Fill the adapter.

        without (str): A part of the adapter's names that those in `tensors` lack.
        RAISES (ValueError): When names or shapes differ.
        """
        import torch

        own = {name.replace(without, ""): name for name in self.adapter_tensors()}
        state = self._model.state_dict()
        missing, unexpected = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
        both = set(own) & set(tensors)
        shapes = sorted(name for name in both if state[self.prefix + own[name]].shape != tensors[name].shape)
        if missing or unexpected or shapes:
            raise ValueError(Errors.T102.format(missing=missing, unexpected=unexpected, shapes=shapes))
        with torch.no_grad():
            for name, tensor in tensors.items():
                state[self.prefix + own[name]].copy_(tensor)
