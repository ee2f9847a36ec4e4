"""SolveHead.v1: after training, heads are solved to their optimum on the rows of the tuned encoder."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import fields
from difflib import get_close_matches
from functools import partial

from spacy.language import Language

from ..backbones.shims.tunable import tunable_shims
from ..checks import SHARE, require
from ..errors import Errors
from ..random_state import same_random_state
from ..types import Config, Floats, pipes_of
from .calibration import corpus_of
from .callbacks import merged_copy
from .heads.classifier import Classifier
from .heads.maxent_start import Start
from .pipeline_copy import copy_of

Callback = Callable[[Language], Language]
_KEY = "training.before_to_disk"


def create_solve_head_v1(
    *,
    components: list[str] | None = None,
    share: float = 1.0,
    corpus: str | None = None,
    then: Callback | None = None,
) -> Callback:
    """For `[training.before_to_disk]`: in the saved copy, output layers are solved once more, as by `fit = "maxent"`,
    on the rows of the encoder that was tuned. The pipeline in training, which is evaluated, stays as it is. This costs
    one prediction over the training texts at each save.

    Before that, the encoder's weights can be averaged with the pretrained ones (WiSE-FT; Wortsman et al. 2022). The
    saved pipeline has one encoder, and no more work to do. An adapter is merged into it.

    components (Optional[List[str]]): Which heads; null for all that begin with fit = "maxent". The other settings
        (strength, label texts) are those of `[initialize.components.NAME]`.
    share (float): Of the tuned weights, from 0 to 1, in the average with the pretrained ones.
    corpus (Optional[str]): Dotted name of the corpus to solve on; null for what [training] train_corpus says.
    then (Optional[Callable[[Language], Language]]): A further callback, such as `spacy-transfer.Calibrate.v1`; it gets
        the solved copy.
    RETURNS (Callable[[Language], Language]): Gives a solved copy of a pipeline.
    """
    require(_KEY, SHARE, share=share)
    last = _Last()

    def solve_head_v1(nlp: Language) -> Language:
        with same_random_state():
            copy = copy_of(nlp if share == 1.0 else merged_copy(nlp))
            starts = _starts(copy, components)
            if share < 1.0:
                for _, pipe in pipes_of(copy):
                    for shim in tunable_shims(pipe.model):
                        shim.average_with_origin(share)
            name = corpus or copy.config.interpolate()["training"]["train_corpus"]
            read = partial(corpus_of, copy, name, f"{_KEY}.corpus")
            if not last.write(copy, starts):
                for head, start in starts.items():
                    head.solve(read, copy, start)
                last.keep(starts)
        return copy if then is None else then(copy)

    return solve_head_v1


class _Last:
    """The last solution. spaCy saves the end of a training twice, if it is also the best: one search is enough."""

    def __init__(self) -> None:
        self._of = b""
        self._solved: dict[str, tuple[Floats, Floats]] = {}

    def write(self, nlp: Language, heads: Iterable[Classifier]) -> bool:
        """Write the last solution into the heads.

        RETURNS (bool): Whether it is the one of this pipeline; otherwise nothing is written.
        """
        state = hashlib.blake2b(nlp.to_bytes(exclude=["tokenizer", "vocab"])).digest()
        if state != self._of:
            self._of, self._solved = state, {}
        if not self._solved:
            return False
        for head in heads:
            output, (W, b) = head.model.get_ref("output"), self._solved[head.name]
            output.set_param("W", W.copy())
            output.set_param("b", b.copy())
        return True

    def keep(self, heads: Iterable[Classifier]) -> None:
        """Keep the solution of the heads, for the pipeline that `write` was asked about."""
        for head in heads:
            output = head.model.get_ref("output")
            self._solved[head.name] = output.get_param("W").copy(), output.get_param("b").copy()


def _starts(nlp: Language, wanted: list[str] | None) -> dict[Classifier, Start]:
    """RETURNS (Dict[Classifier, Start]): The settings of each head to solve.

    RAISES (ValueError): When there is none, or one that is asked for cannot be solved.
    """
    blocks = nlp.config.interpolate()["initialize"]["components"]
    keys = [field.name for field in fields(Start)]
    found: dict[str, tuple[Classifier, Start]] = {}
    for name, pipe in nlp.components:
        block: Config = blocks.get(name, {})
        if isinstance(pipe, Classifier) and block.get("fit") == "maxent":
            found[name] = pipe, Start(**{key: block[key] for key in keys if key in block})
    for name in [] if wanted is None else wanted:
        if name not in found:
            near = get_close_matches(name, found, n=3, cutoff=0.4) or list(found) or "none"
            raise ValueError(Errors.T925.format(key=f"{_KEY}.components", name=name, near=near))
    if not found:
        raise ValueError(Errors.T926.format(key=_KEY, names=nlp.component_names))
    return dict(pair for name, pair in found.items() if wanted is None or name in wanted)
