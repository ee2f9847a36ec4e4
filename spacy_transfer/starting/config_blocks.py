"""A config out of a recipe: what differs from spaCy's defaults is written here, spaCy fills in the rest."""

from thinc.api import Config

from ..errors import Errors, WrongUsage
from ..types import Config as Block
from .labelled_rows import SPANS_KEY
from .recipe import Recipe, checked

LISTENER = {"@architectures": "spacy-transfer.Listener.v1", "upstream": "*"}
# A softmax over rows that do not move learns small differences late: the likelihood counts more there.
_LIKELIHOOD = {True: {"cats_score": 0.7, "cats_likelihood": 0.3}, False: {"cats_score": 0.99, "cats_likelihood": 0.01}}
_RATES = {"ner": (2e-4, 5e-3), "tagger": (2e-4, 1e-3), "regression": (1e-4, 1e-3)}
_OF_TUNING = {"lora": 1e-3, "contrastive": 2e-4}
_PAIRS = "transfer_contrast"


def make_config(recipe: Recipe) -> Config:
    """RETURNS (Config): Filled, as `spacy init fill-config` does it.

    RAISES (ValueError): When parts of the recipe do not go together.
    """
    from spacy.util import get_sourced_components, load_model_from_config

    config = partial_config(checked(recipe))
    try:
        filled = load_model_from_config(config, auto_fill=True, validate=False).config
        # Of these it has the whole blocks now.
        filled["components"].update(get_sourced_components(config))
    except (OSError, KeyError) as error:
        if recipe.kind != "imported":
            raise
        problem = f"--kind imported with --backbone {recipe.source}: it is no pipeline with transfer_backbone and "
        problem += f"{recipe.component}, as from-hf writes them"
        raise WrongUsage(Errors.T981.format(problem=problem)) from error
    return filled


def partial_config(recipe: Recipe) -> Config:
    """RETURNS (Config): What a recipe says, without defaults."""
    head = recipe.component
    start = _start(recipe)
    pairs: Block = {_PAIRS: {"factory": _PAIRS}} if recipe.tuning == "contrastive" else {}
    weights = "pretrained" if recipe.kind == "fresh" else "backbone"
    blocks: Block = {
        "paths": {"train": None, "dev": None, weights: None if recipe.kind == "fresh" else recipe.source},
        "system": {"seed": 0},
        "nlp": {"lang": recipe.lang, "pipeline": ["transfer_backbone", head, *pairs], "batch_size": 64},
        "corpora": {part: {"@readers": "spacy.Corpus.v1", "path": f"${{paths.{part}}}"} for part in ("train", "dev")},
        "training": _training(recipe),
        "initialize": {"components": {head: start} if start else {}},
        "components": {"transfer_backbone": _backbone(recipe), head: _head(recipe), **pairs},
    }
    if recipe.kind == "fresh":
        blocks["initialize"]["components"]["transfer_backbone"] = {"pretrained": "${paths.pretrained}"}
    return Config(blocks)


def _training(recipe: Recipe) -> Block:
    assert recipe.steps is not None
    weights = _LIKELIHOOD[not recipe.trains_encoder and recipe.kind == "transformer"] if recipe.is_classifier else {}
    of_pairs: Block = {}
    if recipe.tuning == "contrastive":
        solve = {"@callbacks": "spacy-transfer.SolveHead.v1"}
        leave = {"@callbacks": "spacy-transfer.LeaveOut.v1", "components": [_PAIRS], "then": solve}
        of_pairs = {"before_to_disk": leave}
    labels = {"@batchers": "spacy-transfer.LabelBatcher.v1", "size": recipe.batch, "per_label": 2}
    plain = {"@batchers": "spacy.batch_by_sequence.v1", "size": recipe.batch}
    every: int | str = recipe.steps.every
    if every == recipe.steps.most and recipe.trains_encoder:
        # Also where the end comes sooner: else the best is the pipeline of step 0. Without schedules that need a last
        # step, epochs may end the training as well (max_steps = 0, by which spaCy cannot divide).
        every = "${training.max_steps}"
    return {
        **of_pairs,
        "dropout": 0.2 if recipe.kind in ("vectors", "pipeline") else 0.1,
        "patience": recipe.steps.patience,
        "max_epochs": 0,
        "max_steps": recipe.steps.most,
        "eval_frequency": every,
        "batcher": labels if of_pairs else plain,
        "optimizer": _optimizer(recipe),
        "score_weights": weights,
        "logger": {"@loggers": "spacy-transfer.ConsoleLogger.v1"},
    }


def _optimizer(recipe: Recipe) -> Block:
    adam: Block = {"@optimizers": "Adam.v1", "L2": 0.0}
    if recipe.is_thinc:
        return {**adam, "L2": 0.01, "learn_rate": 0.001}
    if recipe.kind == "vectors":
        return {**adam, "learn_rate": 0.02}
    if not recipe.trains_encoder:
        return {**adam, "learn_rate": 0.0001 if recipe.starts_solved else 0.003}
    if recipe.head == "spacy" and recipe.tuning == "fine-tuning":
        return {**adam, "L2": 0.01, "learn_rate": _linear(1e-4, 0.025)}
    if recipe.kind == "imported":
        return {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": _linear(3e-5, 0.1)}
    encoder, heads = (1e-4, 1e-3) if recipe.head == "spacy" else _RATES.get(recipe.task, (1e-4, 1e-3))
    encoder = _OF_TUNING.get(recipe.tuning, encoder)
    # A head that is solved, or learns alone at first, needs no warm-up.
    is_solved = recipe.starts_solved and recipe.tuning != "fine-tuning"
    warmup = 0.0 if is_solved or recipe.tuning == "gradual" else 0.1
    rate = min(heads, 2e-3) if is_solved else heads
    group = {"pattern": rf"^{recipe.component}\.", "learn_rate": _linear(rate, warmup)}
    rates = {"learn_rate": _linear(encoder, 0.1), "groups": {"heads": group}}
    return {"@optimizers": "spacy-transfer.AdamW.v1", **rates}


def _linear(rate: float, warmup: float) -> Block:
    steps = {"total_steps": "${training.max_steps}", "warmup_share": warmup}
    return {"@schedules": "spacy-transfer.Linear.v1", "learn_rate": rate, **steps}


def _backbone(recipe: Recipe) -> Block:
    if recipe.kind == "imported":
        return {"source": "${paths.backbone}"}
    makers = {"transformer": _transformer, "vectors": _vectors, "pipeline": _pipeline, "fresh": _fresh}
    model = makers[recipe.kind](recipe)
    block: Block = {"factory": "transfer_backbone", "frozen": not recipe.trains_encoder, "model": model}
    if recipe.tuning == "contrastive":
        weights = {recipe.component: 1.0, _PAIRS: 1.0}
        block["weighing"] = {"@misc": "spacy-transfer.TaskWeights.v1", "weights": weights}
    return block


def _transformer(recipe: Recipe) -> Block:
    model: Block = {
        "@architectures": "spacy-transfer.TransformerBackbone.v1",
        "source": "${paths.backbone}",
        "window": recipe.window,
        "overlap": min(16, recipe.window // 8),
        "special_tokens": recipe.pairs or recipe.task == "regression",
    }
    tunings: dict[str, Block] = {
        "lpft": {"head_first": 0},
        "gradual": {"unfreeze": 40, "head_first": 40},
        "contrastive": {"head_first": 0, "freeze": 3},
        "lora": {"adapter": {"method": "lora", "r": 8, "lora_alpha": 16}},
    }
    if recipe.tuning in tunings:
        model["tuning"] = {"@misc": "spacy-transfer.Tuning.v1", **tunings[recipe.tuning]}
    return model


def _vectors(recipe: Recipe) -> Block:
    contexts = {"cnn": _cnn(2), "bilstm": {"@architectures": "spacy-transfer.BiLSTMContext.v1"}}
    model = {"@architectures": "spacy-transfer.VectorsBackbone.v1", "source": "${paths.backbone}", "prune": 50000}
    return {**model, "context": contexts[recipe.context]} if recipe.context else model


def _cnn(depth: int) -> Block:
    return {"@architectures": "spacy-transfer.CNNContext.v1", "width": 96, "depth": depth}


def _pipeline(recipe: Recipe) -> Block:
    return {"@architectures": "spacy-transfer.PipelineBackbone.v1", "source": "${paths.backbone}"}


def _fresh(recipe: Recipe) -> Block:
    return {"@architectures": "spacy-transfer.HashEmbedBackbone.v1", "context": _cnn(4)}


def _head(recipe: Recipe) -> Block:
    if recipe.kind == "imported":
        return {"source": "${paths.backbone}"}
    if recipe.head == "spacy":
        return {"factory": recipe.task, "model": _of_spacy(recipe.task)}
    if recipe.task == "spancat":
        return _spancat(*recipe.span_sizes)
    settings: Block = {"factory": recipe.component}
    if recipe.task == "multilabel":
        settings["class_weights"] = "balanced"
    if recipe.is_classifier:
        pooled = {"pooling": ["mean", "max"] if recipe.is_thinc else ["mean"], "normalize": not recipe.is_thinc}
        exclusive = {"exclusive_classes": recipe.task == "textcat"}
        model = {"@architectures": "spacy-transfer.TextCatHead.v1", **pooled, **exclusive}
    elif recipe.task == "regression":
        model = {"@architectures": "spacy-transfer.RegressionHead.v1"}
    else:
        decoder = "crf" if recipe.task == "ner" else "softmax"
        model = {"@architectures": "spacy-transfer.TokenHead.v1", "decoder": decoder}
    return {**settings, "model": {**model, "tok2vec": LISTENER}}


def _spancat(low: int, high: int) -> Block:
    """spaCy's own head, on spans of so many tokens."""
    suggester = {"@misc": "spacy.ngram_range_suggester.v1", "min_size": low, "max_size": high}
    reducer = {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 128}
    layers = {"reducer": reducer, "scorer": {"@layers": "spacy.LinearLogistic.v1", "nO": None, "nI": None}}
    model = {"@architectures": "spacy.SpanCategorizer.v1", **layers, "tok2vec": LISTENER}
    return {"factory": "spancat", "spans_key": SPANS_KEY, "suggester": suggester, "model": model}


def _of_spacy(task: str) -> Block:
    if task == "tagger":
        return {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}
    parser = {"state_type": "ner", "extra_state_tokens": False, "hidden_width": 64, "maxout_pieces": 2}
    model = {"@architectures": "spacy.TransitionBasedParser.v2", **parser, "use_upper": False}
    return {**model, "tok2vec": LISTENER}


def _start(recipe: Recipe) -> Block:
    """Settings of the head's initialisation."""
    if recipe.kind == "imported":
        return {}
    if recipe.starts_solved:
        names = {"label_texts": "names"} if recipe.tuning == "contrastive" else {}
        return {"fit": "maxent", "strength": None, **names}
    is_plain = not recipe.is_classifier or recipe.kind == "fresh" or recipe.context is not None
    return {} if is_plain else {"fit": None, "strength": None}
