"""VectorsBackbone.v1: static word vectors as one row per token."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import numpy
from numpy.typing import NDArray
from spacy.attrs import ORTH
from spacy.strings import get_string_id
from spacy.tokens import Doc
from thinc.api import Linear, Model, with_array
from thinc.types import Floats2d, FloatsXd, Ints1d

from ...checks import COUNT, COUNT_OR_NONE, require
from ...errors import Errors
from ...tuning.policy import Tuning
from ...types import BackboneAttrs, BackboneHooks, BackboneT, Bools, Config, Floats
from ..context import ContextT
from ..pretrained_weights import BackboneModel
from ..shims.thinc_tuning import LayersShim, check_keys, is_frozen
from ..shims.thinc_weights import Weight, find_weights
from ..sources import check_unchanged, reading_again
from .lookup import Lookup, LookupAttrs
from .subwords import SAVED, Subwords

logger = logging.getLogger("spacy")
Keys: TypeAlias = NDArray[numpy.uint64]

_TABLE = "embeddings.E"  # What a tuning calls the table.


@dataclass(kw_only=True)
class VectorsAttrs(BackboneAttrs):
    """Of the whole backbone: settings of `build_vectors_backbone_v1`."""

    source: str
    prune: int | None


def build_vectors_backbone_v1(
    *,
    source: str,
    case: Literal["exact", "fallback"] = "fallback",
    oov: Literal["subwords", "hash", "zero"] = "subwords",
    prune: int | None = None,
    finetune: bool = False,
    width: int | None = None,
    context: ContextT | None = None,
    tuning: Tuning | None = None,
) -> BackboneT:
    """Word vectors: GloVe, word2vec, fastText, Model2Vec, .npy with a word list, or a spaCy pipeline's own.

    A tuning calls the table "embeddings.E". The layers after it are counted from 0 in their order: the projection to
    `width` ("layer.0.W", "layer.0.b"), then those of `context`: CNNContext has a projection of its own ("layer.1.W")
    and its convolutions ("layer.2.maxout.W", "layer.2.layernorm.G", ...), BiLSTMContext is one layer, all that is
    stacked in it included ("layer.1.weight_ih_l0", ...).

    source (str): A file, a folder, `package:NAME/path/inside`, or the name of a spaCy pipeline.
    case (str): "exact", or "fallback" to a word in lower case and then in title case.
    oov (str): What stands for other words: the mean of their "subwords" where the format has them (zeros where it
        does not), a "hash"-seeded random row, or "zero".
    prune (Optional[int]): Keep only the words of the training texts and this many of the most frequent; null for all.
    finetune (bool): Train the vectors. Gradients are dense: prune large tables.
    width (Optional[int]): Project rows to this width; null for the vectors' own.
    context (Optional[Model[List[Floats2d], List[Floats2d]]]): A layer that reads the rows of a doc in order:
        `spacy-transfer.CNNContext.v1` or `spacy-transfer.BiLSTMContext.v1`.
    tuning (Optional[Tuning]): What is trained, from when, and how fast: a block `spacy-transfer.Tuning.v1`. Its anchor
        pulls the table; the other layers begin at random.
    RETURNS (Model[List[Doc], List[Floats2d]]): The backbone: shape (len(doc), width) for every doc.
    """
    require("model", COUNT, width=width)
    require("model", COUNT_OR_NONE, prune=prune)
    _check_tuning(tuning, finetune)
    lookup: Model = Model(
        "transfer_vector_lookup",
        forward_lookup,
        dims={"nO": None},
        params={"E": None},
        attrs=vars(LookupAttrs(case=case, oov=oov, finetune=finetune)),
    )
    layers = [lookup]
    if width is not None:
        layers.append(with_array(Linear(nO=width)))
    if context is not None:
        layers.append(context)
    hooks = BackboneHooks(is_frozen=is_frozen, reads_corpus=True)
    return BackboneModel(
        "transfer_vectors",
        forward,
        init=init,
        layers=layers,
        dims={"nO": None},
        attrs=vars(VectorsAttrs(source=source, prune=prune, backbone=hooks)),
        shims=[VectorsShim(tuning)],
    )


def forward(
    model: BackboneT, docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    """Look up, project, put into context."""
    return cast(VectorsShim, model.shims[0]).run(model, docs, is_train)


def forward_lookup(
    model: BackboneT, docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    """One look-up for each word type of the batch; tokens are indexed out of those at once."""
    if not docs:
        return [], lambda d_rows: docs
    lookup, table = _lookup(model), cast(Floats, model.get_param("E"))
    orths = [doc.to_array(ORTH) for doc in docs]
    types, which = numpy.unique(numpy.concatenate(orths), return_inverse=True)
    strings = docs[0].vocab.strings
    rows = lookup.rows(types, strings)
    found = cast(Floats, model.ops.alloc2f(len(types), model.get_dim("nO")))
    known = rows >= 0
    found[known] = table[rows[known]]
    for i in numpy.flatnonzero(~known):
        found[i] = model.ops.asarray(cast(Floats2d, lookup.made(int(types[i]), strings)))
    ends = numpy.cumsum([len(orth) for orth in orths])[:-1]
    split = model.ops.xp.split(found[which], [int(end) for end in ends])

    def backprop(d_rows: list[Floats2d]) -> list[Doc]:
        if LookupAttrs.of(model).finetune:
            in_table = known[which]
            d_table, d_flat = model.ops.alloc2f(*table.shape), model.ops.xp.concatenate(d_rows)
            model.ops.scatter_add(d_table, cast(Ints1d, model.ops.xp.asarray(rows[which][in_table])), d_flat[in_table])
            model.inc_grad("E", d_table)
        return docs

    return split, backprop


def init(model: BackboneT, X: Iterable[Doc] | None = None, Y: object = None) -> None:
    """Read the source, prune it to the training texts if asked, and say how much of them it covers."""
    from .vector_files import read_vectors

    own, lookup = VectorsAttrs.of(model), model.layers[0]
    source, words, read = own.source, LookupAttrs.of(lookup), read_vectors(own.source)
    if words.finetune and not len(read.keys):
        raise ValueError(Errors.T209.format(source=source))
    counts = Counter(token.text for doc in X or () for token in doc)
    if own.prune is not None and len(read.keys):
        keep = _kept(read.keys, counts, own.prune, words.case)
        read.keys, read.data = read.keys[keep], read.data[keep]
    # Parameters of Thinc cannot be empty: without words there is one row without a key.
    data = read.data if len(read.data) else numpy.zeros((1, read.data.shape[1]), dtype=numpy.float32)
    words.keys, words.subwords = read.keys.tobytes(), Subwords(read.subwords)
    words.forget()
    lookup.set_dim("nO", data.shape[1], force=True)
    lookup.set_param("E", lookup.ops.asarray2f(cast(Floats2d, data)))
    own.fingerprint = _fingerprint(read.keys, data, read.subwords)
    _report_coverage(source, _lookup(lookup), counts)
    _initialize_rest(model, data.shape[1])
    cast(VectorsShim, model.shims[0]).start(model)


class VectorsShim(LayersShim):
    """Tunes the table and the layers after it."""

    saved = SAVED

    def find_weights(self, model: Model) -> dict[str, Weight]:
        """RETURNS (Dict[str, Weight]): All parameters by name; empty as long as there is no table."""
        return find_weights(model.layers[:1], model.layers[1:]) if model.layers[0].has_param("E") else {}

    def find_parts(self, model: Model) -> Sequence[Model]:
        """RETURNS (Sequence[Model]): Look-up, projection, context."""
        return model.layers

    def find_pretrained(self) -> list[str]:
        """RETURNS (List[str]): The table: what comes after it begins at random."""
        return [_TABLE]

    def check_tuning(self) -> None:
        """RAISES (ValueError): When all is frozen, or patterns repeat or contradict `finetune` for the table."""
        frozen = [name for name, weight in self.weights.items() if weight.is_frozen]
        if len(frozen) == len(self.weights):
            raise ValueError(Errors.T658)
        freeze = cast(Tuning, self.tuning).freeze
        if freeze is None or isinstance(freeze, (str, int)):
            return
        for pattern in freeze:
            try:
                found = [name for name in self.weights if re.search(pattern, name)]
            except re.error as error:
                raise ValueError(Errors.T616.format(pattern=pattern, error=error)) from error
            if found == [_TABLE] and frozen:
                raise ValueError(Errors.T656.format(found=list(freeze)))
            if _TABLE in found and not frozen:
                raise ValueError(Errors.T657.format(found=list(freeze)))

    def read_origin(self) -> Mapping[str, FloatsXd]:
        """RETURNS (Mapping[str, FloatsXd]): The table of the source, pruned as the saved one is."""
        from .vector_files import read_vectors

        model = cast(Model, self._node)
        own, lookup = VectorsAttrs.of(model), model.layers[0]
        keys = numpy.frombuffer(LookupAttrs.of(lookup).keys, dtype=numpy.uint64)
        with reading_again(own.source):
            read = read_vectors(own.source)
        keep = numpy.isin(read.keys, keys)
        data = read.data[keep]
        check_unchanged(own.source, _fingerprint(read.keys[keep], data, read.subwords), own.fingerprint)
        return {_TABLE: lookup.ops.asarray2f(cast(Floats2d, data))}


def _check_tuning(tuning: Tuning | None, finetune: bool) -> None:
    """Checks that need no names of parameters."""
    check_keys(tuning, "VectorsBackbone")
    if tuning is None:
        return
    freeze = tuning.freeze
    if finetune and isinstance(freeze, (str, int)):
        raise ValueError(Errors.T657.format(found=repr(freeze)))
    if not finetune and (freeze == "embeddings" or freeze == 0):
        raise ValueError(Errors.T656.format(found=repr(freeze)))
    if not finetune and tuning.anchor is not None:
        raise ValueError(Errors.T660.format(found=tuning.anchor))


def _fingerprint(keys: Keys, data: Floats, subwords: Config) -> str:
    digest = hashlib.sha256(keys.tobytes() + data.tobytes())
    digest.update(b"".join(numpy.asarray(subwords[k]).tobytes() for k in sorted(subwords)))
    return digest.hexdigest()


def _initialize_rest(model: Model, width: int) -> None:
    for layer in model.layers[1:]:
        inner = layer.layers[0] if layer.name.startswith("with_array") else layer
        inner.set_dim("nI", width, force=True)
        layer.initialize()
        width = inner.get_dim("nO")
    model.set_dim("nO", width, force=True)


def _kept(keys: Keys, counts: Counter, most_frequent: int, case: str) -> Bools:
    """Rows of the corpus' words, in every case they may be looked up in, and the first ones of the file."""
    forms = set(counts)
    if case == "fallback":
        forms |= {form for word in counts for form in (word.lower(), word.title())}
    wanted = numpy.fromiter((get_string_id(form) for form in forms), dtype=numpy.uint64, count=len(forms))
    keep = numpy.isin(keys, wanted)
    keep[:most_frequent] = True
    return keep


def _report_coverage(source: str, lookup: Lookup, counts: Counter) -> None:
    """How much of the training text has a row of its own."""
    if not counts:
        return
    words = [word for word in counts if not word.isspace()]
    strings = {get_string_id(word): word for word in words}
    types = numpy.fromiter(strings, dtype=numpy.uint64, count=len(strings))
    has_row = lookup.rows(types, strings) >= 0
    covered = sum(counts[strings[int(key)]] for key in types[has_row])
    by_parts = sum(bool(lookup.made(int(key), strings).any()) for key in types[~has_row]) if lookup.has_subwords else 0
    if words and not has_row.any() and not by_parts:
        raise ValueError(Errors.T210.format(source=source, words=sorted(words, key=lambda w: -counts[w])[:5]))
    total = sum(counts[word] for word in words)
    logger.info(
        "Vectors %s: %.1f%% of %d tokens and %.1f%% of %d words of the training texts have a row; "
        "%d words are made from parts",
        source,
        100 * covered / max(total, 1),
        total,
        100 * has_row.mean() if len(types) else 0.0,
        len(types),
        by_parts,
    )


def _lookup(model: Model) -> Lookup:
    """Built from the saved attributes when it is first needed."""
    if not model.has_param("E"):
        raise ValueError(Errors.T208)
    words = LookupAttrs.of(model)
    if words.lookup is None:
        try:
            keys = numpy.frombuffer(words.keys, dtype=numpy.uint64)
        except (ValueError, TypeError) as error:
            raise ValueError(Errors.T437.format(where=SAVED, error=f"its keys: {error}")) from error
        words.lookup = Lookup(keys, model.get_dim("nO"), words.case, words.oov, words.subwords)
    return words.lookup
