"""The rows of the table of parameter groups: what is trained in a pipeline, and at which learning rate."""

from collections.abc import Collection, Iterable

from thinc.api import Optimizer
from thinc.shims import Shim

from ..backbones.shims.tunable import Tunable
from ..tuning.policy import Policy, Tuning, depths_by_name
from ..tuning.schedules import describe
from ..tuning.table import Row
from ..tuning.torch_optimizer import settings_of
from ..types import AnyModel, Pipe
from .parameters import NamedParameter, parameters_of


def overview(pipes: Iterable[tuple[str, Pipe]], optimizer: Optimizer, *, excluded: Collection[str] = ()) -> list[Row]:
    """One row for all parameters of a component that share group, rate and state.

    pipes (Iterable[Tuple[str, Pipe]]): Names and components, in the order of the pipeline.
    optimizer (Optimizer): Has the rates, and has been given the names.
    excluded (Collection[str]): Components that are not updated: `[training] frozen_components`.
    """
    rows = []
    for name, pipe in pipes:
        is_component_frozen = name in excluded or getattr(pipe, "frozen", False) is True
        rows += _rows(parameters_of(name, pipe), optimizer, is_component_frozen)
    return rows


def _trained_when(parameters: Collection[NamedParameter], is_component_frozen: bool = False) -> dict[str, str]:
    """Whether each parameter moves at the step that its shim has reached.

    is_component_frozen (bool): Whether the whole component stays as it is.
    RETURNS (Dict[str, str]): By full name: "yes", "no", or "later".
    """
    found = {}
    for tuner, own in _by_tuner(parameters):
        now = ever = frozenset(parameter.tuned_name for parameter in own)
        if isinstance(tuner, Tunable) and tuner.policy is not None:
            now, ever = tuner.policy.moving(tuner.steps), ever_moving(tuner.policy, tuner.steps)
        for parameter in own:
            if is_component_frozen or parameter.is_frozen:
                when = "no"
            else:
                when = "yes" if parameter.tuned_name in now else "later" if parameter.tuned_name in ever else "no"
            found[parameter.name] = when
    return found


def is_ever_trained(name: str, pipe: Pipe) -> bool:
    """RETURNS (bool): Whether a parameter of a component moves at this step or at any later one."""
    is_component_frozen = getattr(pipe, "frozen", False) is True
    return any(when != "no" for when in _trained_when(parameters_of(name, pipe), is_component_frozen).values())


def change_points(policy: Policy) -> list[int]:
    """RETURNS (List[int]): Steps from which on other parameters move than before, the first step included."""
    first, unfreeze = policy.tuning.head_first, policy.tuning.unfreeze
    if unfreeze is None:
        return sorted({0, first})
    if isinstance(unfreeze, int):
        return sorted({0, *(first + unfreeze * layer for layer in range(policy.n_layers + 1))})
    return sorted({0, first, *(first + int(step) for step in unfreeze)})


def ever_moving(policy: Policy, step: int) -> frozenset[str]:
    """RETURNS (FrozenSet[str]): Names of what moves at this step or at any later one."""
    later = [policy.moving(point) for point in change_points(policy) if point > step]
    return policy.moving(step).union(*later)


def _rows(parameters: list[NamedParameter], optimizer: Optimizer, is_component_frozen: bool) -> list[Row]:
    when = _trained_when(parameters, is_component_frozen)
    buckets: dict[tuple, list[tuple[NamedParameter, int | None, float]]] = {}
    n_layers: dict[int, int] = {}
    for tuner, own in _by_tuner(parameters):
        depth, n_layers[id(tuner)] = _depths(tuner, own)
        for parameter in own:
            scale = tuner.rate_scales.get(parameter.tuned_name, 1.0) if isinstance(tuner, Tunable) else 1.0
            found = settings_of(optimizer, parameter.name, scale)
            name, highest = describe(found.schedule)
            highest = None if highest is None else highest * found.scale
            key = (when[parameter.name], found.group, found.rate, highest, name, n_layers[id(tuner)])
            key = (key[0], *("", 0.0, None, ""), key[-1]) if key[0] == "no" else key
            buckets.setdefault(key, []).append((parameter, depth.get(parameter.tuned_name), found.decay))
    rows = []
    for (trainable, group, rate, highest, schedule, layers), members in buckets.items():
        levels = tuple(sorted({depth for _, depth, _ in members if depth is not None}))
        decays = tuple(sorted({decay for _, _, decay in members}))
        count = sum(parameter.parameter.size for parameter, _, _ in members)
        component = members[0][0].component
        rows.append(Row(component, group, levels, layers, count, trainable, rate, highest, decays, schedule))
    return sorted(rows, key=lambda row: row.depths)


def _by_tuner(parameters: Collection[NamedParameter]) -> list[tuple[AnyModel | Shim, list[NamedParameter]]]:
    tuners: dict[int, tuple[AnyModel | Shim, list[NamedParameter]]] = {}
    for parameter in parameters:
        tuners.setdefault(id(parameter.tuner), (parameter.tuner, []))[1].append(parameter)
    return list(tuners.values())


def _depths(tuner: AnyModel | Shim, parameters: list[NamedParameter]) -> tuple[dict[str, int], int]:
    """How high the parameters under a shim stand, and how many layers it has; 0 for what has none."""
    if not isinstance(tuner, Shim):
        return {}, 0
    names = [parameter.tuned_name for parameter in parameters]
    policy = tuner.policy if isinstance(tuner, Tunable) else None
    if policy is None:
        find = getattr(tuner, "find_depths", None)
        policy = Policy(Tuning(), names, depths=None if find is None else find())
    # What is frozen for other reasons is none of the policy's names, but has its depth.
    by_name = depths_by_name(names)
    return {name: policy.depth.get(name, by_name.of(name)) for name in names}, policy.n_layers
