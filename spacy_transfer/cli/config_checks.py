"""Checks of configs: settings that are known to fail, or to do nothing, each with the way out."""

from collections.abc import Iterator

from spacy.language import Language
from thinc.api import Optimizer

from ..backbones.shims.thinc_tuning import LayersShim
from ..backbones.shims.tunable import Tunable, tunable_shims
from ..errors import Errors, Warnings
from ..pipeline.backbone.component import Backbone
from ..pipeline.backbone.rates import risky_row
from ..pipeline.parameter_table import change_points, overview
from ..pipeline.parameters import has_weights
from ..tuning.policy import Policy
from ..tuning.risk import risky_rate
from ..tuning.table import Row, show_rate
from ..tuning.torch_optimizer import TorchOptimizer
from ..types import Config, Pipe, hooks_of, pipes_of


def check_config(config: Config) -> list[str]:
    """What can be seen before a pipeline is made, which may fail because of it."""
    training, components = config.get("training", {}), config.get("components", {})
    frozen = training.get("frozen_components", [])
    backbones = [name for name in frozen if components.get(name, {}).get("factory") == "transfer_backbone"]
    return [Warnings.W720.format(name=name) for name in backbones]


def check_pipeline(nlp: Language, training: Config, optimizer: Optimizer) -> list[str]:
    """What can be seen in a pipeline that is ready to be trained.

    training (Dict[str, Any]): The section `[training]`, filled.
    optimizer (Optimizer): The optimizer made from it, which has been taught the names of the parameters.
    RAISES (ValueError): When the first step would fail.
    """
    frozen = training["frozen_components"]
    pipes = [(name, pipe) for name, pipe in pipes_of(nlp) if name not in frozen]
    for _, pipe in pipes:
        _check_trainable(pipe)
    encoders = {name for name, pipe in pipes if not _is_of_thinc(pipe)}
    rows = [row for row in overview(pipes, optimizer) if row.n_layers and row.component in encoders]
    policies = [(name, policy) for name, pipe in pipes for policy in _policies(pipe)]
    if isinstance(optimizer, TorchOptimizer):
        optimizer.check_groups()
    if optimizer.use_radam and any(policy.tuning.layer_decay not in (None, 1.0) for _, policy in policies):
        raise ValueError(Errors.T618)
    return [
        *_spared(pipes, optimizer),
        *_rates(rows, dict(policies), training["optimizer"]),
        *_stock_adam(rows, training["optimizer"]),
        *_averages(pipes, optimizer),
        *_schedules(training),
        *_unfreezing(policies, training["max_steps"]),
        *_accumulation(training),
    ]


def _check_trainable(pipe: Pipe) -> None:
    """RAISES (ValueError): When a backbone refuses to be trained, as one that was exported does."""
    for node in pipe.model.walk() if has_weights(pipe) else []:
        before_training = hooks_of(node).before_training
        if before_training is not None:
            before_training(node)


def _spared(pipes: list[tuple[str, Pipe]], optimizer: Optimizer) -> Iterator[str]:
    for name, pipe in pipes:
        if isinstance(pipe, Backbone) and pipe.is_spared:
            yield Warnings.W624.format(name=name, rate=show_rate(risky_rate(optimizer) or 0.0))


def _rates(rows: list[Row], policies: dict[str, Policy], block: Config) -> Iterator[str]:
    """Only for Adam, whose steps have the size of the rate."""
    if not any(kind in block["@optimizers"] for kind in ("Adam.", "RAdam.", "AdamW.")):
        return
    row = risky_row(rows, policies)
    if row is not None:
        key = f"training.optimizer.groups.{row.group}" if row.group else "training.optimizer"
        yield Warnings.W721.format(name=row.component, key=key, rate=show_rate(row.rate))


def _stock_adam(rows: list[Row], block: Config) -> Iterator[str]:
    if block["@optimizers"] not in ("Adam.v1", "RAdam.v1") or all(row.trainable == "no" for row in rows):
        return
    if block.get("L2", 0.0):
        yield Warnings.W722.format(found=block["L2"])
    if block.get("grad_clip", 0.0):
        yield Warnings.W723.format(found=block["grad_clip"])


def _averages(pipes: list[tuple[str, Pipe]], optimizer: Optimizer) -> Iterator[str]:
    if optimizer.averages is None:
        return
    for name, pipe in pipes:
        is_frozen = getattr(pipe, "frozen", False) is True
        if is_frozen or any(policy.tuning.freeze == "all" for policy in _policies(pipe)):
            yield Warnings.W724.format(name=name)


def _schedules(training: Config) -> Iterator[str]:
    most = training["max_steps"]
    for key, schedule in _blocks("training.optimizer", training["optimizer"]):
        total = schedule.get("total_steps", schedule.get("num_steps"))
        warmup = schedule.get("warmup_steps", 0)
        if not most:
            continue
        if warmup >= most:
            yield Warnings.W727.format(key=key, warmup=warmup, most=most)
        if total is not None and total < 0.9 * most:
            yield Warnings.W725.format(key=key, total=total, most=most)
        elif total is not None and total > 2 * most:
            yield Warnings.W726.format(key=key, total=total, most=most)


def _unfreezing(policies: list[tuple[str, Policy]], most: int) -> Iterator[str]:
    for name, policy in policies:
        last = change_points(policy)[-1]
        if most and last >= most:
            yield Warnings.W728.format(name=name, last=last, most=most)


def _accumulation(training: Config) -> Iterator[str]:
    size, parts = training["batcher"].get("size"), training["accumulate_gradient"]
    counts_texts = training["batcher"].get("@batchers", "").startswith("spacy.batch_by_sequence.")
    if counts_texts and isinstance(size, int) and size < parts:
        yield Warnings.W729.format(parts=parts, size=size)


def _blocks(key: str, block: Config) -> Iterator[tuple[str, Config]]:
    """Blocks of schedules, also those inside others, with their keys."""
    for name, value in block.items():
        if isinstance(value, dict):
            if "@schedules" in value:
                yield f"{key}.{name}", value
            yield from _blocks(f"{key}.{name}", value)


def _shims(pipe: Pipe) -> list[Tunable]:
    return tunable_shims(pipe.model) if has_weights(pipe) else []


def _policies(pipe: Pipe) -> list[Policy]:
    return [shim.policy for shim in _shims(pipe) if shim.policy is not None]


def _is_of_thinc(pipe: Pipe) -> bool:
    """Whether the layers of a component are Thinc's, which can be trained at higher rates than transformers."""
    return any(isinstance(shim, LayersShim) for shim in _shims(pipe))
