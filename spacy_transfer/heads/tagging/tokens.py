"""TokenHead.v1: rows -> one score for each tag of a token."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Linear, Model, noop, zero_init
from thinc.types import Floats2d

from ...checks import COUNT, require
from ...types import AnyModel, Bools, Floats, Ints
from ..layers import (
    Activation,
    ResizeAttrs,
    StatesAttrs,
    TemperatureAttrs,
    forget,
    grow_output,
    hidden_layers,
    init_hidden,
    init_output,
)
from .crf import Transitions

Decoder = Literal["softmax", "crf"]
PARTS = ("start", "matrix", "end")


@dataclass
class TokenScores:
    """The output of the head for a batch, or its gradients, of the same shapes.

    logits (Floats): Of every tag at every token, doc after doc, shape (n_tokens, n_tags).
    lengths (Ints): Tokens of every doc, shape (n_docs,), on the CPU.
    transitions (Optional[Transitions]): Scores of neighbours, on the CPU; None with the softmax decoder.
    """

    logits: Floats
    lengths: Ints
    transitions: Transitions | None

    def scaled(self, factor: float) -> "TokenScores":
        """RETURNS (TokenScores): Gradients, times a factor."""
        scaled = None if self.transitions is None else self.transitions.map(lambda part: part * factor)
        return TokenScores(self.logits * factor, self.lengths, scaled)

    def plus(self, other: "TokenScores") -> "TokenScores":
        """RETURNS (TokenScores): The sum of two gradients of one batch."""
        mine, theirs = self.transitions, other.transitions
        both = None if mine is None or theirs is None else mine.plus(theirs)
        return TokenScores(self.logits + other.logits, self.lengths, both)

    def only(self, moving: Bools) -> "TokenScores":
        """Gradients of some tags.

        moving (Bools): The tags to train, shape (n_tags,).
        RETURNS (TokenScores): 0 for other tags, and for pairs of them.
        """
        own = numpy.asarray(moving if isinstance(moving, numpy.ndarray) else moving.get())

        def part(array: Floats) -> Floats:
            return array * (own if array.ndim == 1 else own[:, None] | own)

        return TokenScores(self.logits * moving, self.lengths, self.transitions and self.transitions.map(part))


HeadT = Model[list[Doc], TokenScores]


@dataclass(kw_only=True)
class TokenAttrs(TemperatureAttrs, StatesAttrs, ResizeAttrs):
    """Of the head: a setting of `build_token_head_v1`."""

    decoder: Decoder | None = None


def build_token_head_v1(
    *,
    tok2vec: Model[list[Doc], list[Floats2d]],
    hidden: list[int] = [],  # noqa: B006 (confection needs a list; it is copied)
    activation: Activation = "relu",
    dropout: float | None = None,
    bilstm: int | None = None,
    decoder: Decoder = "softmax",
    nO: int | None = None,
) -> Model[list[Doc], Any]:
    """Pass the rows of tokens through any number of layers, and score every tag. All tokens of a batch are one matrix.

    tok2vec (Model): A backbone, or a listener to one.
    hidden (List[int]): Widths of the hidden layers.
    activation (str): Of the hidden layers.
    dropout (Optional[float]): Before every layer in training; null for what [training] dropout says.
    bilstm (Optional[int]): Width of a BiLSTM that reads the rows first (Huang et al. 2015); null for none.
    decoder (str): "softmax": every token for itself; "crf": with learned scores of neighbours (Lafferty et al. 2001).
    nO (Optional[int]): Number of tags; filled in at initialisation.
    RETURNS (Model[List[Doc], TokenScores]): Logits of shape (n_tokens, n_tags), lengths of docs, and scores of
        neighbours. The backward pass takes the gradients of all these. The temperature divides them where components
        make probabilities of them.
    """
    require("model", COUNT, bilstm=bilstm, nO=nO)
    # Zeros for the same reason as in TextCatHead: no gradient reaches the backbone in the first step.
    output: AnyModel = Linear(nO=nO, init_W=zero_init)
    context: AnyModel = noop() if bilstm is None else _bilstm(bilstm)
    all_layers: list[AnyModel] = [tok2vec, context, hidden_layers(hidden, activation, dropout, False), output]
    refs: dict[str, AnyModel | None] = {"tok2vec": tok2vec, "output": output}
    if decoder == "crf":
        transitions = build_transitions()
        refs["transitions"] = transitions
        all_layers.append(transitions)
    return Model(
        "transfer_token_head",
        forward,
        init=init,
        layers=all_layers,
        refs=refs,
        dims={"nO": nO},
        attrs=vars(TokenAttrs(decoder=decoder, resize_output=resize_output, states=states)),
    )


def build_transitions() -> AnyModel:
    """RETURNS (Model): A node that holds a CRF's scores of neighbours and is never called: "start" and "end" of shape
    (n_tags,), "matrix" of shape (n_tags, n_tags), from a tag (row) to the next (column)."""
    return Model("transfer_transitions", _no_forward, params=dict.fromkeys(PARTS))


def forward(model: HeadT, docs: list[Doc], is_train: bool) -> tuple[TokenScores, Callable[[TokenScores], object]]:
    """Logits; the callback takes their gradients and those of the scores of neighbours."""
    inputs, back_inputs = states(model, docs, is_train)
    lengths = numpy.array([len(doc) for doc in docs], dtype="int64")
    logits, back_output = model.get_ref("output")(inputs, is_train)
    node = model.get_ref("transitions") if model.has_ref("transitions") else None

    def backprop(d_scores: TokenScores) -> object:
        if node is not None and d_scores.transitions is not None:
            for part in PARTS:
                node.inc_grad(part, node.ops.asarray_f(getattr(d_scores.transitions, part)))
        return back_inputs(back_output(d_scores.logits))

    return TokenScores(logits, lengths, None if node is None else transitions_of(node)), backprop


def states(model: HeadT, docs: list[Doc], is_train: bool) -> tuple[Floats2d, Callable[[Floats2d], object]]:
    """The input of the output layer, of the tokens of all docs: shape (n_tokens, width). The callback takes its
    gradient."""
    tok2vec, context, hidden = model.layers[:3]
    rows, back_rows = tok2vec(docs, is_train)
    rows, back_context = context(rows, is_train)
    given = rows[0] if len(rows) == 1 else model.ops.xp.concatenate(rows)
    inputs, back_hidden = hidden(given, is_train)
    ends = numpy.cumsum([len(row) for row in rows]).tolist()

    def backprop(d_inputs: Floats2d) -> object:
        d_rows = back_hidden(d_inputs)
        parts = [d_rows[end - len(row) : end] for end, row in zip(ends, rows, strict=True)]
        d_docs: object = back_rows(back_context(parts))
        return d_docs

    return inputs, backprop


def transitions_of(node: AnyModel) -> Transitions:
    """RETURNS (Transitions): The scores that a node holds, on the CPU."""
    to_numpy: Callable[[object], Floats] = node.ops.to_numpy
    return Transitions(*(to_numpy(node.get_param(part)) for part in PARTS))


def init(model: HeadT, X: object = None, Y: Floats2d | None = None) -> None:
    """Fill in widths from the backbone to the tags, without a forward pass: no doc has rows yet."""
    tok2vec, context, hidden, output = model.layers[:4]
    tok2vec.initialize(X=X)
    width = tok2vec.get_dim("nO")
    if "nI" in context.dim_names:
        context.set_dim("nI", width, force=True)
        context.initialize()
        width = context.get_dim("nO")
    width = init_hidden(hidden, width)
    init_output(model, output, width, Y)
    if model.has_ref("transitions"):
        forget(model.get_ref("transitions"))
        _grow(model.get_ref("transitions"), model.get_dim("nO"))


def resize_output(model: HeadT, n_tags: int) -> HeadT:
    """Add tags. Old tags keep their weights bit for bit, new ones start at zero."""
    grow_output(model, n_tags)
    if model.has_ref("transitions") and model.get_ref("transitions").has_param("start"):
        old = model.get_ref("transitions")
        larger = build_transitions()
        for part in PARTS:
            larger.set_param(part, old.get_param(part))
        _grow(larger, n_tags)
        model.replace_node(old, larger)
    return model


def _grow(node: AnyModel, n_tags: int) -> None:
    for part in PARTS:
        grown = node.ops.alloc((n_tags, n_tags) if part == "matrix" else (n_tags,))
        if node.has_param(part):
            old = cast(Floats, node.get_param(part))
            cast(Floats, grown)[tuple(slice(size) for size in old.shape)] = old
        node.set_param(part, grown)


def _bilstm(width: int) -> AnyModel:
    # By its registered name: this layer belongs to the backbones, which heads do not import.
    build: Callable[..., AnyModel] = registry.get("architectures", "spacy-transfer.BiLSTMContext.v1")
    return build(width=width)


def _no_forward(model: AnyModel, X: object, is_train: bool) -> tuple[object, Callable[[object], object]]:
    return X, lambda dY: dY
