"""What moves, and from when: policies over the names of an encoder's parameters. No model code."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from ..checks import NOT_NEGATIVE
from ..errors import Errors

# Names where no module tree says more: those that our own Thinc layers get (`layer.0.W`), and BERT's.
_LAYER = re.compile(r"(?:^|\.)(?:layers?|albert_layer_groups|blocks?|h)\.(\d+)\.")
# What all layers read counts as an embedding too: positions relative to each other (DeBERTa, MPNet, T5).
_EMBEDDINGS = re.compile(
    r"(?:^|[._])(?:embeddings?|embeddings_project|embedding_hidden_mapping_in|wte|wpe|shared|relative_attention_bias)\."
    r"|(?:^|\.)encoder\.LayerNorm\."
)

# What no row depends on: it may "move", but nothing follows from that.
_UNUSED = re.compile(r"(?:^|\.)pooler\.")


@dataclass(frozen=True)
class Depths:
    """How high parameters and modules stand: 0 for embeddings, 1 for the lowest layer.

    n_layers (int): Number of layers; 0 where they cannot be told apart from the rest.
    by_name (Mapping[str, int]): By name of parameter or module. What is inside a module stands as high as the module;
        what is not here stands above the layers (pooler, last normalisation, mix of layers).
    """

    n_layers: int
    by_name: Mapping[str, int]

    def of(self, name: str) -> int:
        """RETURNS (int): How high a parameter or module stands; `n_layers` + 1 above the layers.

        name (str): Its name.
        """
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
    """Which parameters of a backbone move, and from when. The steps are counted by the shim that holds them.

    freeze (Union[None, "all", "embeddings", int, List[str]]): What never moves: everything, the embeddings, the
        embeddings and the bottom n layers, or what one of these regular expressions finds in parameter names.
    unfreeze (Union[None, int, Dict[str, int]]): How the rest thaws, from the top down: one layer more every n
        steps, or by step the number of layers that move from then on.
    head_first (int): Steps in which nothing but the heads moves, before all else.
    layer_decay (Optional[float]): Factor on the learning rate from each layer to the one below it.
    adapter (Optional[Dict[str, Any]]): The method, and its options: what moves in the place of the encoder's weights.
    anchor (Union[None, float, Dict[str, float]]): Strength of the pull toward the pretrained weights; by regular
        expression over names, or one for all.
    checkpointing (bool): Compute what is inside a layer twice instead of keeping it for the backward pass.
    """

    freeze: Freeze = None
    unfreeze: Unfreeze = None
    head_first: int = 0
    layer_decay: float | None = None
    adapter: dict[str, Any] | None = None
    anchor: Anchor = None
    checkpointing: bool = False


def build_tuning_v1(
    *,
    freeze: str | int | list[str] | None = None,
    unfreeze: int | dict[str, int] | None = None,
    head_first: int = 0,
    layer_decay: float | None = None,
    adapter: dict[str, Any] | None = None,
    anchor: float | dict[str, float] | None = None,
    checkpointing: bool = False,
) -> Tuning:
    """The block `[components.NAME.model.tuning]`.

    freeze (Union[None, "all", "embeddings", int, List[str]]): What never moves; see `Tuning`.
    unfreeze (Union[None, int, Dict[str, int]]): Gradual unfreezing (ULMFiT; Howard and Ruder 2018): an integer n thaws
        one layer more every n steps, from the top down; {"0": 1, "200": 3} lets that many layers move from that
        step on. Fewer layers later on freeze them again.
    head_first (int): Train nothing but the heads for so many steps (LP-FT; Kumar et al. 2022).
    layer_decay (Optional[float]): Each layer's rate is this times that of the layer above it (Howard and Ruder 2018).
    adapter (Optional[Dict[str, Any]]): {"method": "lora", "r": 8}: small trainable parts in a still encoder, by any
        method that peft can inject, with peft's own option names; "source" is a folder to begin from. The method
        "bias" trains the encoder's biases (BitFit; Ben Zaken et al. 2022). See `adapters`.
    anchor (Union[None, float, Dict[str, float]]): L2-SP (Li et al. 2018): adds strength / 2 times the squared distance
        to the pretrained weights to the loss of every doc. One strength, or one for each regular expression over names.
    checkpointing (bool): Gradient checkpointing (Chen et al. 2016): less memory, about a third more time.
    RETURNS (Tuning): The settings.
    """
    if isinstance(freeze, str) and freeze.isdecimal():
        freeze = int(freeze)  # What confection before 1.0 makes of a number, where a text is allowed, too.
    if isinstance(freeze, str) and freeze not in ("all", "embeddings"):
        raise ValueError(Errors.T610.format(found=freeze))
    if isinstance(freeze, int) and freeze < 0:
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


def _check_adapter(adapter: dict[str, Any] | None, freeze: Freeze) -> None:
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
    """A tuning, worked out for the parameters of one encoder.

    tuning (Tuning): The settings.
    names (Sequence[str]): Names of all parameters.
    trainable (Optional[Collection[str]]): What an adapter leaves to move; null where there is none.
    depths (Optional[Depths]): How high they stand, from the encoder's modules; null or empty to read it from the names.
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
        """Names of what never moves."""
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
        """The depth from which upward parameters move; equal numbers mean equal sets.

        step (int): Steps made so far.
        RETURNS (int): 0 stands for the embeddings, 1 for the lowest layer; more than all depths for nothing.
        """
        if step < self.tuning.head_first:
            return self.n_layers + 2
        return self._lowest(step - self.tuning.head_first)

    def moving(self, step: int) -> frozenset[str]:
        """Names of what moves.

        step (int): Steps made so far.
        RETURNS (FrozenSet[str]): Names; empty while only heads learn.
        """
        lowest = self.stage(step)
        if lowest not in self._moving:
            found = (name for name in self.names if self.depth[name] >= lowest and name not in self.frozen)
            self._moving[lowest] = frozenset(found)
        return self._moving[lowest]

    def is_still(self, step: int) -> bool:
        """Whether nothing moves that rows depend on.

        step (int): Steps made so far.
        RETURNS (bool): True while only heads learn.
        """
        return all(_UNUSED.search(name) for name in self.moving(step))

    def n_lower(self, step: int) -> int:
        """How many layers lie below everything that moves: their states can be kept.

        step (int): Steps made so far.
        RETURNS (int): 0 where the lowest layer or the embeddings move.
        """
        return max(0, min(self._boundary(step) - 1, self.n_layers))

    def is_below(self, module: str, step: int) -> bool:
        """Whether nothing in a module, nor in what stands under it, moves: dropout is off there.

        module (str): Name of a module; one of the layers or the embeddings.
        step (int): Steps made so far.
        RETURNS (bool): False for modules that stand in no layer.
        """
        return self._depths.of(module) < self._boundary(step)

    def _boundary(self, step: int) -> int:
        used = (self.depth[name] for name in self.moving(step) if not _UNUSED.search(name))
        return min(used, default=self.n_layers + 2)

    def scale(self, name: str) -> float:
        """RETURNS (float): Factor on the rate of a parameter: the top layer has 1."""
        decay = self.tuning.layer_decay
        return 1.0 if decay is None else decay ** max(0, self.n_layers - self.depth[name])

    def _lowest(self, step: int) -> int:
        """Depth from which upward parameters move; what stands above the layers goes with the top one."""
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
            never = sorted({depth for depth in self.depth.values() if depth < lowest} - self._given_up)
            if never:
                raise ValueError(Errors.T615.format(found=tuning.unfreeze, layers=never, freeze=max(never)))

    @cached_property
    def _given_up(self) -> set[int]:
        """Depths of which `freeze` says that nothing moves."""
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
    """Refuse settings that count layers where there are none to count.

    tuning (Optional[Tuning]): The settings.
    depths (Depths): Of the encoder's parameters.
    RAISES (ValueError): When they are empty.
    """
    if tuning is None or depths:
        return
    for key, value in {"unfreeze": tuning.unfreeze, "layer_decay": tuning.layer_decay, "freeze": tuning.freeze}.items():
        if isinstance(value, (int, float, dict)) or value == "embeddings":
            raise ValueError(Errors.T665.format(key=key, found=value))


def depths_by_name(names: Sequence[str]) -> Depths:
    """Read from names, as BERT and our Thinc layers have them, how high parameters and their modules stand.

    names (Sequence[str]): Names of parameters.
    RETURNS (Depths): The depths.
    """
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
    """RETURNS (bool): Whether a parameter or module is an embedding by its name.

    name (str): Its name.
    """
    return bool(_EMBEDDINGS.search(f"{name}."))
