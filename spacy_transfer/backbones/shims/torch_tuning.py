"""A shim whose encoder is tuned by a policy: what moves, from when, how fast, from where, and whether it may."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import Errors
from ...tuning.adapters import has_adapter, inject, merge, plain_name, trainable_names
from ...tuning.anchors import strengths
from ...tuning.policy import Depths, Policy, Tuning, check_layers
from ..row_cache import RowCache
from .loss_scale import LossScale
from .parameter import TorchParameter
from .safetensors_shim import SafetensorsShim
from .tunable import Tunable

if TYPE_CHECKING:
    from torch import Tensor


class TuningShim(Tunable, SafetensorsShim):
    """Counts steps, and applies a tuning to the module it holds. Both live here, so that they survive
    `replace_listeners`, and work in whatever component the shim stands.

    tuning (Optional[Tuning]): What moves; null for everything.
    model (Any): What the shim holds to begin with.
    """

    # What stands before the encoder's names in those of the module that the shim holds.
    prefix = ""
    of_this_training: tuple[str, ...] = ("_cache",)

    def __init__(self, tuning: Tuning | None, model: Any = None, **kwargs: Any) -> None:
        super().__init__(model, **kwargs)
        self.begin_tuning(tuning)
        self.adapter: dict[str, Any] | None = None
        self.loss_scale: LossScale | None = None
        self._plain: list[str] = []
        self._stage = -1
        self._cache: RowCache | None = None

    # Setting up

    def adopt(self, transformer: Any, adapter: Mapping[str, Any] | None) -> None:
        """Take an encoder, before it is put under this shim, and put the adapter into it."""
        from ..transformer.module_tree import attention_layers
        from ..transformer.probes import switch_on_checkpointing, take_whole_windows

        self._plain = list(transformer.state_dict())
        take_whole_windows(transformer)
        if self.tuning is not None and self.tuning.checkpointing:
            switch_on_checkpointing(transformer)
        self.adapter = None if adapter is None else inject(transformer, dict(adapter), attention_layers(transformer))

    def find_depths(self) -> Depths:
        """RETURNS (Depths): How high each parameter stands, by its name in the module that this shim holds."""
        from ..transformer.depths import find_depths

        return find_depths(self._model.get_submodule(self.prefix.rstrip(".")), self.prefix)

    def check_layers(self) -> None:
        """RAISES (ValueError): When the tuning counts layers, and this encoder's cannot be told apart from the rest."""
        if self.tuning is not None:
            check_layers(self.tuning, self.find_depths())

    def work_out(self) -> None:
        """Apply the tuning to the names of the module that this shim holds by now."""
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
        """Keep the weights toward which the anchor pulls: the module's own as they are now, or such as are read.

        read (Optional[Callable[[], Mapping[str, Tensor]]]): Gives the pretrained weights, by the module's names.
        """
        if not self._strengths:
            return
        found = dict(self._model.named_parameters()) if read is None else read()
        self._origin = {name: found[name].detach().clone() for name in self._strengths}

    def read_origin(self) -> "Mapping[str, Tensor]":
        """RETURNS (Mapping[str, Tensor]): The pretrained weights, once a saved pipeline is trained on."""
        raise NotImplementedError

    def _forget(self) -> None:
        self._stage, self._cache, self._origin, self._n_docs = -1, None, {}, 0

    # A step

    def let_move(self, n_docs: int) -> None:
        """Training mode and gradients for what moves at this step, and for nothing below it."""
        self._n_docs += n_docs
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
        """RETURNS (Tuple[int, Optional[RowCache]]): How many layers stay as they are, and what keeps their states."""
        n_lower = 0 if self.policy is None else self.policy.n_lower(self.steps)
        if n_lower and self._cache is None and self.cache_settings.is_on:
            self._cache = RowCache(self.cache_settings)
        return n_lower, self._cache if n_lower else None

    def finish_update(self, optimizer: Any) -> None:
        """Add the anchor's pull, look at the gradients, step, and count the step.

        RAISES (ValueError): When a gradient is not finite; nothing has moved then.
        """
        parameters = {name: p for name, p in self._model.named_parameters() if p.grad is not None}
        self.add_pull({name: TorchParameter(self, name) for name in self._strengths})
        if self._may_step(parameters):
            super().finish_update(optimizer)
        else:
            for parameter in parameters.values():
                parameter.grad = None
        self._n_docs = 0
        self.steps += 1

    def _may_step(self, parameters: dict[str, Any]) -> bool:
        import torch

        if not parameters:
            return True
        grads = [parameter.grad for parameter in parameters.values()]
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
        """Forget what has been collected for the next step."""
        self._n_docs = 0
        for parameter in self._model.parameters():
            parameter.grad = None

    # Adapters

    def merge_adapter(self) -> None:
        """Fold the adapter into the encoder, in place; from then on it is an encoder like any other."""
        if self.adapter is None or not has_adapter(self._model):
            raise ValueError(Errors.T648.format(name=self.owner, what="merge"))
        merge(self._model)
        self.adapter = None
        if self.tuning is not None:
            self.tuning = replace(self.tuning, adapter=None)
        self.work_out()

    def adapter_tensors(self) -> "dict[str, Tensor]":
        """RETURNS (Dict[str, Tensor]): The adapter's own tensors, by their names in the encoder."""
        own = {self.prefix + name for name in self._plain}
        return {
            name.removeprefix(self.prefix): tensor.detach().cpu()
            for name, tensor in self._model.state_dict().items()
            if name.startswith(self.prefix) and plain_name(name) not in own
        }

    def fill_adapter(self, tensors: "Mapping[str, Tensor]", without: str = "") -> None:
        """Fill the adapter; its names must be those of the file.

        without (str): What the names of the file lack.
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
