"""Types that all floors share: rows, pipes, arrays."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Model, Optimizer
from thinc.types import Floats2d

from .attributes import Attrs

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BackboneT = Model[list[Doc], list[Floats2d]]
"""One array of shape (len(doc), width) for every doc."""
AnyModel: TypeAlias = Model[Any, Any]
"""A layer or node of Thinc, whatever it reads and returns."""

Floats: TypeAlias = NDArray[numpy.floating]
"""Real numbers in numpy's arrays, or in cupy's, which have the same methods."""
Ints: TypeAlias = NDArray[numpy.integer]
Bools: TypeAlias = NDArray[numpy.bool_]
ArrayModule: TypeAlias = ModuleType
"""numpy or cupy: the library that arrays belong to (`model.ops.xp`)."""

Losses: TypeAlias = dict[str, float]
"""By name of the component, filled by `nlp.update`."""
GetExamples: TypeAlias = Callable[[], Iterable[Example]]
"""The argument of `initialize`."""
Config: TypeAlias = dict[str, Any]
"""A block of a config: strings, numbers, lists and blocks, by key."""


@dataclass
class Encoded:
    """The output of a backbone for a batch of docs, or its gradients, of the same shapes.

    rows (List[Floats2d]): One array of shape (len(doc), width) for every doc.
    documents (Floats2d): One row for every doc, shape (len(docs), width): the encoder's own summary.
    """

    rows: list[Floats2d]
    documents: Floats2d


Encode = Callable[[BackboneT, list[Doc], bool], tuple[Encoded, Callable[[Encoded], list[Doc]]]]
"""Forward with rows *and* document rows; the callback takes gradients of both."""


class HFTokenizer(Protocol):
    """A tokenizer of transformers. Only fast ones have a `backend_tokenizer`."""

    is_fast: bool
    pad_token_id: int | None
    backend_tokenizer: "Tokenizer"
    vocab_file: str
    vocab_files_names: Mapping[str, str]

    def get_vocab(self) -> dict[str, int]:
        """RETURNS (Dict[str, int]): Ids by piece."""

    def save_pretrained(self, folder: str) -> object:
        """Write its files."""


class Pipe(Protocol):
    """A trainable component, ours or spaCy's own."""

    name: str
    model: AnyModel

    def __call__(self, doc: Doc) -> Doc:
        """RETURNS (Doc): The annotated doc."""

    @property
    def labels(self) -> Sequence[str]:
        """RETURNS (Sequence[str]): The labels."""

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: Losses | None = None,
    ) -> Losses:
        """RETURNS (Dict[str, float]): The losses."""

    def finish_update(self, sgd: Optimizer) -> None:
        """Step with the gradients that have been collected."""

    def predict(self, docs: Iterable[Doc]) -> object:
        """RETURNS (object): What `set_annotations` takes."""

    def set_annotations(self, docs: Sequence[Doc], scores: object) -> None:
        """Write predictions to docs."""


def pipe_of(nlp: Language, name: str) -> Pipe:
    """RETURNS (Pipe): A component that is known to be trainable."""
    return cast(Pipe, nlp.get_pipe(name))


def pipes_of(nlp: Language) -> list[tuple[str, Pipe]]:
    """RETURNS (List[Tuple[str, Pipe]]): Names and components. Functions among them have no model: see `has_weights`."""
    return cast(list[tuple[str, Pipe]], nlp.pipeline)


@dataclass(frozen=True)
class BackboneHooks:
    """What one of our backbones does beyond the contract. It is not saved: the builder sets it again.

    encode (Optional[Encode]): Returns document rows too; None where they are the mean of the token rows.
    is_frozen (Optional[Callable[[Model], bool]]): Whether all parameters are frozen in the next step.
    reads_empty (bool): A batch of empty docs can be encoded.
    reads_corpus (bool): `initialize` needs all training texts, not a sample.
    is_costly (bool): To keep rows costs less than to compute them. They depend on text and tokens alone.
    before_training (Optional[Callable[[Model], None]]): Called before a batch of a training, with heads alone or not.
    """

    encode: Encode | None = None
    is_frozen: Callable[[BackboneT], bool] | None = None
    reads_empty: bool = False
    reads_corpus: bool = False
    is_costly: bool = False
    before_training: Callable[[BackboneT], None] | None = None


@dataclass(kw_only=True)
class BackboneAttrs(Attrs):
    """Of our backbones.

    backbone (BackboneHooks): What it does beyond the contract; any other tok2vec has no hooks.
    fingerprint (str): Says which weights it began with; "" before it has any.
    """

    backbone: BackboneHooks = BackboneHooks()
    fingerprint: str = ""


def hooks_of(model: BackboneT) -> BackboneHooks:
    """RETURNS (BackboneHooks): The hooks of a backbone."""
    return BackboneAttrs.of(model).backbone
