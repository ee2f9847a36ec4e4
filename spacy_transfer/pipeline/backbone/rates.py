"""Rates that are known to fail: what `frozen = null` makes of them, and a warning where the encoder is trained."""

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from spacy.language import Language
from spacy.util import registry
from thinc.api import Model, Optimizer

from ...backbones.shims.torch_tuning import TuningShim
from ...backbones.shims.tunable import tunable_shims
from ...errors import Warnings
from ...tuning.policy import Policy
from ...tuning.risk import RISKY_RATE, is_adam, risky_rate
from ...tuning.table import Row, show_rate
from ..parameter_table import overview

if TYPE_CHECKING:
    from .component import Backbone

STOCK = ("Adam.v1", "RAdam.v1", "SGD.v1")


def planned_optimizer(nlp: Language) -> Optimizer | None:
    """RETURNS (Optional[Optimizer]): The optimizer of `[training]`, if it is one of Thinc's."""
    block = nlp.config.get("training", {}).get("optimizer") or {}
    if "${" in str(block):
        block = nlp.config.interpolate()["training"]["optimizer"]
    if block.get("@optimizers") not in STOCK:
        return None
    optimizer: Optimizer = registry.resolve({"optimizer": block})["optimizer"]
    return optimizer


def fails_with(model: Model, optimizer: Optimizer) -> bool:
    """Whether a backbone without a word on what is trained stays frozen with an optimizer.

    RETURNS (bool): True for a transformer without a tuning, where the rate is known to destroy it.
    """
    shims = [shim for shim in tunable_shims(model) if isinstance(shim, TuningShim)]
    return bool(shims) and all(shim.tuning is None for shim in shims) and risky_rate(optimizer) is not None


def warn_of_rate(backbone: "Backbone", optimizer: Optimizer) -> None:
    """Say, at the first step with an optimizer, what comes of a rate that is known to fail."""
    if backbone.is_spared:
        rate = show_rate(risky_rate(optimizer) or 0.0)
        warnings.warn(Warnings.W624.format(name=backbone.name, rate=rate), stacklevel=4)
        return
    shims = [shim for shim in tunable_shims(backbone.model) if isinstance(shim, TuningShim)]
    if not shims or backbone.frozen or not is_adam(optimizer):
        return
    row = risky_row(overview([(backbone.name, backbone)], optimizer), {backbone.name: shims[0].policy})
    if row is not None:
        group = f" (group {row.group})" if row.group else ""
        message = Warnings.W625.format(name=backbone.name, rate=show_rate(row.rate), group=group)
        warnings.warn(message, stacklevel=4)


def risky_row(rows: Iterable[Row], policies: Mapping[str, Policy | None]) -> Row | None:
    """The first row of a table, of an optimizer such as Adam, whose rate is known to fail. Adapters need such rates,
    and with `head_first` the heads send no random gradients.

    policies (Mapping[str, Optional[Policy]]): By name of component.
    RETURNS (Optional[Row]): The row; None if there is none.
    """
    for row in rows:
        policy = policies.get(row.component)
        is_spared = policy is not None and (policy.tuning.adapter is not None or policy.tuning.head_first > 0)
        has_warmup = row.highest is not None and row.rate < 0.5 * row.highest
        if row.n_layers and row.trainable != "no" and row.rate >= RISKY_RATE and not has_warmup and not is_spared:
            return row
    return None
