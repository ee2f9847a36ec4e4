"""Callbacks for blocks such as `[training.before_to_disk]`."""

from collections.abc import Callable
from difflib import get_close_matches

from spacy.language import Language

from ..backbones.shims.torch_tuning import TuningShim
from ..errors import Errors
from ..types import Config
from .pipeline_copy import copy_of


def create_merge_adapters_v1() -> Callable[[Language], Language]:
    """For `[training.before_to_disk]`: adapters are merged into the encoder in what is saved, which then needs no
    peft. The training goes on with the adapters.

    RETURNS (Callable[[Language], Language]): Gives a merged copy of a pipeline.
    """
    return merged_copy


def merged_copy(nlp: Language) -> Language:
    """A copy of a pipeline with all adapters merged into their encoders.

    nlp (Language): The pipeline; it stays as it is.
    RETURNS (Language): The copy, or the pipeline itself if it has no adapter.
    """
    if not any(shim.adapter is not None for _, shim in _tuned(nlp)):
        return nlp
    copy = copy_of(nlp)
    for name, shim in _tuned(copy):
        if shim.adapter is not None:
            shim.merge_adapter()
            _forget_adapter(copy.get_pipe_config(name))
    return copy


def _tuned(nlp: Language) -> list[tuple[str, TuningShim]]:
    nodes = [(name, node) for name, pipe in nlp.pipeline if hasattr(pipe, "model") for node in pipe.model.walk()]
    return [(name, shim) for name, node in nodes for shim in node.shims if isinstance(shim, TuningShim)]


def _forget_adapter(block: Config) -> None:
    """With the adapter in its config, a loaded pipeline would get it again."""
    for value in block.values():
        if isinstance(value, dict):
            if str(value.get("@misc", "")).startswith("spacy-transfer.Tuning."):
                value["adapter"] = None
            _forget_adapter(value)


def create_leave_out_v1(
    *, components: list[str], then: Callable[[Language], Language] | None = None
) -> Callable[[Language], Language]:
    """For `[training.before_to_disk]`: what is saved lacks components that are there for training alone, such as
    `transfer_rows`. Training goes on with them.

    components (List[str]): Their names.
    then (Optional[Callable[[Language], Language]]): Another callback, which gets what is left: spaCy has one place for
        both.
    RETURNS (Callable[[Language], Language]): Gives a copy of a pipeline without them.
    """

    def leave_out(nlp: Language) -> Language:
        for name in components:
            if name not in nlp.component_names:
                near = get_close_matches(name, nlp.component_names, n=3, cutoff=0.4) or "none"
                raise ValueError(Errors.T435.format(name=name, names=nlp.component_names, near=near))
        copy = copy_of(nlp)
        for name in components:
            copy.remove_pipe(name)
        for name in copy.component_names:
            _forget_weights(copy.get_pipe_config(name), components)
        return copy if then is None else then(copy)

    return leave_out


def _forget_weights(block: Config, components: list[str]) -> None:
    """With weights of tasks that are not there, or of 0 for all, what is saved could not be trained."""
    weighing = block.get("weighing") or {}
    weights = weighing.get("weights") or {}
    if left := set(weights) & set(components):
        kept = {name: weight for name, weight in weights.items() if name not in left}
        weighing["weights"] = kept if any(kept.values()) else {}
