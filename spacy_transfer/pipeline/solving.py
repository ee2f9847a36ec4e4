"""SolveHead.v1: after training, heads are solved to their optimum on the rows of the tuned encoder."""

import hashlib
from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from typing import cast

import numpy
from spacy.language import Language
from thinc.types import FloatsXd

from ..backbones.cached_rows.row_folder import weights_of
from ..backbones.shims.tunable import tunable_shims
from ..checks import SHARE, require
from ..errors import Errors
from ..random_state import same_random_state
from ..types import Config, Floats, pipes_of
from .calibration import corpus_of
from .callbacks import merged_copy
from .heads.classifier import Classifier
from .heads.maxent_start import Start
from .parameters import has_weights
from .pipeline_copy import copy_of

Callback = Callable[[Language], Language]
_KEY = "training.before_to_disk"


def create_solve_head_v1(
    *,
    components: list[str] | None = None,
    share: float = 1.0,
    average_heads: bool = False,
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
    average_heads (bool): Output layers are averages as well, with the same share: of the trained one, and of the one
        that is solved on the rows of the pretrained encoder. False solves them on the rows of the averaged encoder.
    corpus (Optional[str]): Dotted name of the corpus to solve on; null for what [training] train_corpus says.
    then (Optional[Callable[[Language], Language]]): A further callback, such as `spacy-transfer.Calibrate.v1`; it gets
        the solved copy.
    RETURNS (Callable[[Language], Language]): Gives a solved copy of a pipeline.
    """
    require(_KEY, SHARE, share=share)
    solver = _Solver(components, corpus)

    def solve_head_v1(nlp: Language) -> Language:
        with same_random_state():
            copy = copy_of(nlp if share == 1.0 else merged_copy(nlp))
            if average_heads:
                pretrained = copy_of(copy)
                _average_encoders(pretrained, 0.0)
                solved = solver.solve(pretrained)
                _average_encoders(copy, share)
                for head in _starts(copy, components):
                    own = _output(head)
                    _write(
                        head, tuple(old + share * (new - old) for new, old in zip(own, solved[head.name], strict=True))
                    )
            else:
                _average_encoders(copy, share)
                solver.solve(copy)
        return copy if then is None else then(copy)

    return solve_head_v1


Layer = tuple[Floats, ...]
"""Weights and biases of an output layer: shapes (n_labels, width) and (n_labels,)."""


class _Solver:
    """Solves heads. The last solution is kept for the same encoders: pretrained rows are solved once in a training, and
    the end of a training is once more its best."""

    def __init__(self, components: list[str] | None, corpus: str | None) -> None:
        self.components, self.corpus = components, corpus
        self._of = b""
        self._solved: dict[str, Layer] = {}

    def solve(self, nlp: Language) -> dict[str, Layer]:
        """Solve heads on the rows of their pipeline.

        RETURNS (Dict[str, Tuple[Floats, ...]]): Their output layers, by name.
        """
        starts = _starts(nlp, self.components)
        for head in starts:
            # An optimum does not depend on what stood there before.
            _write(head, tuple(numpy.zeros_like(values) for values in _output(head)))
        digest = hashlib.blake2b()
        for name, pipe in pipes_of(nlp):
            digest.update(name.encode())
            for part in weights_of(pipe.model) if has_weights(pipe) else ():
                digest.update(part)
        state = digest.digest()
        if state == self._of:
            for head in starts:
                _write(head, self._solved[head.name])
            return self._solved
        name = self.corpus or nlp.config.interpolate()["training"]["train_corpus"]
        read = partial(corpus_of, nlp, name, f"{_KEY}.corpus")
        for head, start in starts.items():
            head.solve(read, nlp, start)
        self._of, self._solved = state, {head.name: _output(head) for head in starts}
        return self._solved


def _output(head: Classifier) -> Layer:
    output = head.model.get_ref("output")
    return tuple(cast(Floats, output.get_param(name).copy()) for name in ("W", "b"))


def _write(head: Classifier, layer: Layer) -> None:
    output = head.model.get_ref("output")
    for name, values in zip(("W", "b"), layer, strict=True):
        output.set_param(name, cast(FloatsXd, values.copy()))


def _average_encoders(nlp: Language, share: float) -> None:
    """Move the encoders onto the line from their pretrained weights to their own."""
    if share < 1.0:
        for _, pipe in pipes_of(nlp):
            for shim in tunable_shims(pipe.model):
                shim.average_with_origin(share)


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
