"""Policies that freeze and unfreeze parameters of an encoder by their names. No model code."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from ..checks import NOT_NEGATIVE
from ..errors import Errors
from ..types import Config

# Names of layers where there is no module tree: those of our own Thinc layers (`layer.0.W`), and BERT's.
_LAYER = re.compile(r"(?:^|\.)(?:layers?|albert_layer_groups|blocks?|h)\.(\d+)\.")
# Relative positions, which all layers read, count as embeddings too (DeBERTa, MPNet, T5).
_EMBEDDINGS = re.compile(
    r"(?:^|[._])(?:embeddings?|embeddings_project|embedding_hidden_mapping_in|wte|wpe|shared|relative_attention_bias)\."
    r"|(?:^|\.)encoder\.LayerNorm\."
)

# No row depends on the pooler.
_UNUSED = re.compile(r"(?:^|\.)pooler\.")


@dataclass(frozen=True)
class Depths:
    """Depths of parameters and modules: 0 for embeddings, 1 for the lowest layer.

    n_layers (int): Number of layers; 0 where they are not known.
    by_name (Mapping[str, int]): By name of parameter or module. Parameters in a module have its depth; the others
        are above the layers (pooler, last normalisation, mix of layers).
    """

    n_layers: int
    by_name: Mapping[str, int]

    def of(self, name: str) -> int:
        """RETURNS (int): The depth of a parameter or module, by its name; `n_layers` + 1 above the layers."""
        while name not in self.by_name and name:
            name = name.rpartition(".")[0]
        return self.by_name.get(name, self.n_layers + 1)

    def __bool__(self) -> bool:
        return bool(self.by_name)


Freeze = str | int | Sequence[str] | None
Unfreeze = int | dict[str, int] | None
Anchor = float | dict[str, float] | None


@dataclass(frozen=True)
class Tuning:
    """Which parameters of a backbone are trained, and from which step. The shim that holds them counts the steps.

    freeze (Union[None, "all", "embeddings", int, List[str]]): What is always frozen: everything, the embeddings, the
        embeddings and the bottom n layers, or parameters whose names match one of these regular expressions.
    unfreeze (Union[None, int, Dict[str, int]]): Gradual unfreezing of the rest, from the top down: one layer more
        every n steps, or the number of trained layers from each step on.
    head_first (int): Steps at the beginning in which only heads are trained.
    layer_decay (Optional[float]): Factor on the learning rate from each layer to the one below it.
    adapter (Optional[Config]): The method, and its options: what is trained instead of the encoder's weights.
    anchor (Union[None, float, Dict[str, float]]): Strength of the pull toward the pretrained weights; by regular
        expression over names, or one for all.
    checkpointing (bool): Compute what is inside a layer twice instead of keeping it for the backward pass.
    """

    freeze: Freeze = None
    unfreeze: Unfreeze = None
    head_first: int = 0
    layer_decay: float | None = None
    adapter: Config | None = None
    anchor: Anchor = None
    checkpointing: bool = False


def build_tuning_v1(
    *,
    freeze: str | int | list[str] | None = None,
    unfreeze: int | dict[str, int] | None = None,
    head_first: int = 0,
    layer_decay: float | None = None,
    adapter: Config | None = None,
    anchor: float | dict[str, float] | None = None,
    checkpointing: bool = False,
) -> Tuning:
    """The block `[components.NAME.model.tuning]`.

    freeze (Union[None, "all", "embeddings", int, List[str]]): What is always frozen; see `Tuning`.
    unfreeze (Union[None, int, Dict[str, int]]): Gradual unfreezing (ULMFiT; Howard and Ruder 2018): an integer n
        unfreezes one layer more every n steps, from the top down; {"0": 1, "200": 3} trains that many layers from
        that step on. A smaller number later freezes layers again.
    head_first (int): Train nothing but the heads for so many steps (LP-FT; Kumar et al. 2022).
    layer_decay (Optional[float]): Each layer's rate is this times that of the layer above it (Howard and Ruder 2018).
    adapter (Optional[Dict[str, Any]]): {"method": "lora", "r": 8}: small trainable parts in a frozen encoder, by
        any method that peft can inject, with peft's option names; "source" is a folder to start from. The method "bias"
        trains the encoder's biases (BitFit; Ben Zaken et al. 2022). See `adapters`.
    anchor (Union[None, float, Dict[str, float]]): L2-SP (Li et al. 2018): adds strength / 2 times the squared distance
        to the pretrained weights to the loss of every doc. One strength, or one for each regular expression over names.
    checkpointing (bool): Gradient checkpointing (Chen et al. 2016): less memory, about a third more time.
    RETURNS (Tuning): The settings.
    """
    if isinstance(freeze, str) and freeze.isdecimal():
        freeze = int(freeze)  # Confection before 1.0 turns a number into a text here.
    if freeze not in ("all", "embeddings") if isinstance(freeze, str) else isinstance(freeze, int) and freeze < 0:
        raise ValueError(Errors.T610.format(found=freeze))
    if head_first < 0:
        raise ValueError(Errors.T611.format(key="head_first", found=head_first, wanted="0 or more steps"))
    if layer_decay is not None and not 0.0 < layer_decay <= 1.0:
        raise ValueError(Errors.T611.format(key="layer_decay", found=layer_decay, wanted="more than 0, at most 1"))
    if isinstance(unfreeze, int) and unfreeze < 1:
        raise ValueError(Errors.T611.format(key="unfreeze", found=unfreeze, wanted="1 step or more for each layer"))
    if isinstance(unfreeze, dict):
        _check_schedule(unfreeze)
    if freeze == "all" and (unfreeze is not None or head_first or layer_decay is not None):
        raise ValueError(Errors.T612)
    _check_adapter(adapter, freeze)
    _check_anchor(anchor, freeze)
    return Tuning(freeze, unfreeze, head_first, layer_decay, adapter, anchor, checkpointing)


def _check_adapter(adapter: Config | None, freeze: Freeze) -> None:
    if adapter is None:
        return
    if not isinstance(adapter.get("method"), str):
        raise ValueError(Errors.T640.format(found=sorted(adapter)))
    if freeze is not None:
        raise ValueError(Errors.T641.format(freeze=freeze, method=adapter["method"]))


def _check_anchor(anchor: Anchor, freeze: Freeze) -> None:
    strengths = [anchor] if isinstance(anchor, (int, float)) else list((anchor or {}).values())
    if any(strength not in NOT_NEGATIVE for strength in strengths):
        raise ValueError(Errors.T611.format(key="anchor", found=anchor, wanted="0 or more"))
    if anchor is not None and freeze == "all":
        raise ValueError(Errors.T612)


def _check_schedule(schedule: dict[str, int]) -> None:
    if not schedule or any(not str(step).isdigit() for step in schedule):
        raise ValueError(Errors.T613.format(found=schedule, problem="its keys must be steps: 0, 1, 2, ..."))
    steps = [int(step) for step in schedule]
    if steps != sorted(set(steps)):
        raise ValueError(Errors.T613.format(found=schedule, problem="its steps run backwards"))
    if any(count < 0 for count in schedule.values()):
        raise ValueError(Errors.T613.format(found=schedule, problem="it has a negative number of layers"))


class Policy:
    """A tuning, applied to the parameters of one encoder.

    trainable (Optional[Collection[str]]): What is trained with an adapter; None where there is none.
    depths (Optional[Depths]): Depths from the encoder's modules; None or empty to take them from the names.
    """

    def __init__(
        self,
        tuning: Tuning,
        names: Sequence[str],
        trainable: Collection[str] | None = None,
        depths: Depths | None = None,
    ) -> None:
        self.tuning = tuning
        self.names = list(names)
        self._depths = depths or depths_by_name(names)
        self.n_layers = self._depths.n_layers
        self.depth = {name: self._depths.of(name) for name in self.names}
        self._trainable = None if trainable is None else frozenset(trainable)
        self._moving: dict[int, frozenset[str]] = {}
        self._check()

    @cached_property
    def frozen(self) -> frozenset[str]:
        """Names of the parameters that are always frozen."""
        freeze = self.tuning.freeze
        if self._trainable is not None:
            return frozenset(self.names) - self._trainable
        if freeze is None:
            return frozenset()
        if freeze == "all":
            return frozenset(self.names)
        if freeze == "embeddings" or isinstance(freeze, int):
            bottom = 0 if freeze == "embeddings" else int(freeze)
            return frozenset(name for name in self.names if self.depth[name] <= bottom)
        return frozenset(name for name in self.names if any(re.search(pattern, name) for pattern in freeze))

    def stage(self, step: int) -> int:
        """RETURNS (int): The lowest depth that is trained after so many steps; more than all depths for nothing."""
        if step < self.tuning.head_first:
            return self.n_layers + 2
        return self._lowest(step - self.tuning.head_first)

    def moving(self, step: int) -> frozenset[str]:
        """RETURNS (FrozenSet[str]): Names of the parameters that are trained, after so many steps."""
        lowest = self.stage(step)
        if lowest not in self._moving:
            found = (name for name in self.names if self.depth[name] >= lowest and name not in self.frozen)
            self._moving[lowest] = frozenset(found)
        return self._moving[lowest]

    def is_frozen(self, step: int) -> bool:
        """RETURNS (bool): Whether everything that rows depend on is frozen, after so many steps."""
        return all(_UNUSED.search(name) for name in self.moving(step))

    def n_lower(self, step: int) -> int:
        """RETURNS (int): Number of layers below all trained parameters, whose states can be cached; 0 where the lowest
        layer or the embeddings are trained."""
        return max(0, min(self._boundary(step) - 1, self.n_layers))

    def is_below(self, module: str, step: int) -> bool:
        """RETURNS (bool): Whether a module (a layer or the embeddings) and all below it are frozen, so that dropout is
        off there. False for modules in no layer."""
        return self._depths.of(module) < self._boundary(step)

    def _boundary(self, step: int) -> int:
        used = (self.depth[name] for name in self.moving(step) if not _UNUSED.search(name))
        return min(used, default=self.n_layers + 2)

    @cached_property
    def scales(self) -> dict[str, float]:
        """Factors on the rates of parameters: the top layer has 1. Empty without `layer_decay`."""
        decay = self.tuning.layer_decay
        if decay is None:
            return {}
        return {name: decay ** max(0, self.n_layers - depth) for name, depth in self.depth.items()}

    def _lowest(self, step: int) -> int:
        """The lowest depth that is trained. Parameters above the layers belong to the top layer."""
        unfreeze = self.tuning.unfreeze
        if unfreeze is None:
            return 0
        if isinstance(unfreeze, int):
            return max(0, self.n_layers - step // unfreeze)
        count = 0
        for begin, n_layers in unfreeze.items():
            count = n_layers if step >= int(begin) else count
        return self.n_layers + 2 if count == 0 else max(0, self.n_layers + 1 - count)

    def _check(self) -> None:
        tuning, freeze = self.tuning, self.tuning.freeze
        if isinstance(freeze, int) and not isinstance(freeze, bool) and freeze > self.n_layers:
            raise ValueError(Errors.T614.format(key="freeze", found=freeze, layers=self.n_layers))
        if freeze is not None and not isinstance(freeze, (str, int)):
            for pattern in freeze:
                self._check_pattern(pattern)
            if self.frozen >= {name for name in self.names if not _UNUSED.search(name)}:
                raise ValueError(Errors.T653.format(found=list(freeze)))
        if isinstance(tuning.unfreeze, dict):
            most = max(tuning.unfreeze.values())
            if most > self.n_layers + 1:
                raise ValueError(Errors.T614.format(key="unfreeze", found=most, layers=self.n_layers))
            lowest = self.n_layers + 1 - most
            never = sorted({depth for depth in self.depth.values() if depth < lowest} - self._frozen_depths)
            if never:
                raise ValueError(Errors.T615.format(found=tuning.unfreeze, layers=never, freeze=max(never)))

    @cached_property
    def _frozen_depths(self) -> set[int]:
        """Depths that `freeze` freezes completely."""
        return {depth for depth in self.depth.values() if all(n in self.frozen for n in self._at(depth))}

    def _at(self, depth: int) -> list[str]:
        return [name for name in self.names if self.depth[name] == depth]

    def _check_pattern(self, pattern: str) -> None:
        try:
            found = any(re.search(pattern, name) for name in self.names)
        except re.error as error:
            raise ValueError(Errors.T616.format(pattern=pattern, error=error)) from error
        if not found:
            near = get_close_matches(pattern, self.names, n=5, cutoff=0.2) or self.names[:5]
            raise ValueError(Errors.T617.format(pattern=pattern, near=near))


def check_layers(tuning: Tuning | None, depths: Depths) -> None:
    """RAISES (ValueError): When settings count layers, and the depths are empty."""
    if tuning is None or depths:
        return
    for key, value in {"unfreeze": tuning.unfreeze, "layer_decay": tuning.layer_decay, "freeze": tuning.freeze}.items():
        if isinstance(value, (int, float, dict)) or value == "embeddings":
            raise ValueError(Errors.T665.format(key=key, found=value))


def depths_by_name(names: Sequence[str]) -> Depths:
    """RETURNS (Depths): Depths of parameters and their modules, by names as in BERT and our Thinc layers."""
    found: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        for part in (".".join(parts[:i]) for i in range(1, len(parts) + 1)):
            match = _LAYER.search(f"{part}.")
            if match:
                found[part] = int(match[1]) + 1
            elif is_embedding(part):
                found[part] = 0
    return Depths(max(found.values(), default=0), found)


def is_embedding(name: str) -> bool:
    """RETURNS (bool): Whether a parameter or module is an embedding by its name."""
    return bool(_EMBEDDINGS.search(f"{name}."))
