"""A recipe for data of this size on this machine, the reasons for it, and how long it will take."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from spacy.language import Language

from ..backbones.sources import resolve_source
from ..errors import Errors
from ..progress import progress
from .recipe import DEFAULT_BACKBONE, TASKS, WINDOW, Recipe, Steps, Task, Tuning, checked, default_tuning, kind_of

FEW = 50
"""Texts a label; above that a classifier has many."""
LONGEST = 30 * 60
"""Seconds that a training on a CPU may take before less is trained."""
_SAMPLE, _PASSES = 32, 3
# Forward and backward pass, in forward passes; and a step of a head alone, in seconds.
_TUNED, _HEAD = 3.5, 0.01
# Seconds of a project that do not go with the data, the least and the most; and how far off an estimate may be.
_REST, _OFF = (30.0, 90.0), 0.3


@dataclass(frozen=True)
class Measured:
    """A backbone on this machine.

    per_text (float): Seconds that it reads a text, on average.
    pieces (Sequence[int]): Word pieces of texts; empty where it has none.
    window (int): The most word pieces that it reads at once; 0 where it has no window.
    has_gpu (bool): Whether it runs on a GPU.
    """

    per_text: float
    pieces: Sequence[int] = ()
    window: int = 0
    has_gpu: bool = False


@dataclass(frozen=True)
class Sizes:
    """How many texts there are to train, to evaluate and to test on, and how many labels."""

    train: int
    dev: int
    labels: int
    test: int = 0


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    reasons (Tuple[str, ...]): Why, for people.
    seconds (float): The estimated time of the training.
    whole (Tuple[float, float]): The least and the most seconds of all steps of the project.
    """

    recipe: Recipe
    reasons: tuple[str, ...]
    seconds: float
    whole: tuple[float, float]


def check_backbone(source: str | None) -> str:
    """RETURNS (str): The source; the default backbone if it is installed and none is given.

    RAISES (ValueError): With what to install.
    """
    if source is not None:
        kind_of(source)
        return source
    try:
        resolve_source(DEFAULT_BACKBONE)
    except ValueError as error:
        raise ValueError(Errors.T993.format(source=DEFAULT_BACKBONE)) from error
    return DEFAULT_BACKBONE


def check_tuning(task: str | None, source: str, tuning: Tuning | None) -> None:
    """Before work is done for a config that cannot be.

    task (Optional[str]): What is to be learned; None where it is not known yet.
    tuning (Optional[str]): What is given; None to choose.
    RAISES (ValueError): When they do not go together.
    """
    if tuning is not None:
        known: Task = next((known for known in TASKS if known == task), "textcat")  # It goes with every tuning.
        checked(Recipe(known, source, kind_of(source), tuning))


def measure(nlp: Language, source: str, texts: Sequence[str], *, gpu_id: int = -1) -> Measured:
    """Read some texts with a backbone.

    texts (Sequence[str]): In random order.
    """
    from spacy import registry

    from ..backbones.encode import encode
    from .config_blocks import partial_config

    kind = kind_of(source)
    recipe = Recipe("textcat", source, kind, window=longest_window(source) if kind == "transformer" else WINDOW)
    block = partial_config(_with_steps(recipe, 0)).interpolate()["components"]["transfer_backbone"]["model"]
    model = registry.resolve({"model": block})["model"]
    docs = [nlp.make_doc(text) for text in texts]
    model.initialize(X=docs[:2])
    encode(model, docs[:8], False)  # The first pass makes room.
    seconds = list[float]()
    for _ in progress(range(_PASSES), what="Measuring the time", unit=" passes"):
        start, cpu = time.perf_counter(), time.process_time()
        encode(model, docs[:_SAMPLE], False)
        seconds.append(time.perf_counter() - start)
        if gpu_id < 0:
            # Waiting for other processes is not counted: what is chosen should not go by them.
            seconds.append(time.process_time() - cpu)
    per_text = min(seconds) / len(docs[:_SAMPLE])
    pretrained = next((s.pretrained for node in model.walk() for s in node.shims if hasattr(s, "pretrained")), None)
    if pretrained is None:
        return Measured(per_text, has_gpu=gpu_id >= 0)
    encoded = pretrained.tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return Measured(per_text, [len(found.ids) for found in encoded], recipe.window, gpu_id >= 0)


def longest_window(source: str) -> int:
    """As many word pieces as an encoder has positions for, and no more than 128.

    RETURNS (int): For a window.
    RAISES (ValueError): When the source cannot be found, or its header is not safe.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    from ..backbones.transformer.reading.source_checks import check_folder
    from ..backbones.transformer.transformer_shim import most_pieces

    found = resolve_source(source)
    if found.kind == "pipeline":
        return WINDOW
    most = check_folder(found.path, source).get("max_position_embeddings")
    if not isinstance(most, int) or most >= 2 * WINDOW:
        return WINDOW
    # Some encoders need two positions for themselves. Only their layers tell, here without weights.
    config = AutoConfig.from_pretrained(found.path, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        encoder = AutoModel.from_config(config, trust_remote_code=False)
    return min(WINDOW, most_pieces(encoder) or WINDOW)


def choose(
    task: Task,
    source: str,
    sizes: Sizes,
    measured: Measured,
    *,
    lang: str = "en",
    pairs: bool = False,
    span_sizes: tuple[int, int] = (1, 3),
    tuning: Tuning | None = None,
) -> Choice:
    """Choose what is trained, and for how long.

    span_sizes (Tuple[int, int]): See `Recipe`.
    tuning (Optional[str]): What is given; None to choose.
    """
    kind = kind_of(source)
    found, reasons = _tuning(task, kind, sizes) if tuning is None else (tuning, ["--tuning was given"])
    window, n_train = measured.window or WINDOW, sizes.train
    recipe = Recipe(task, source, kind, found, lang=lang, window=window, pairs=pairs, span_sizes=span_sizes)
    recipe = _with_steps(recipe, n_train)
    seconds = estimate(recipe, sizes, measured)
    if seconds > LONGEST and not measured.has_gpu and tuning is None and found != "frozen" and kind == "transformer":
        reasons = [
            f"fine-tuning would take about {in_words(seconds)} on this CPU, so the encoder stays frozen: "
            "with a GPU, run `init` again with --gpu-id 0"
        ]
        recipe = _with_steps(replace(recipe, tuning="frozen", solved=True), n_train)
        seconds = estimate(recipe, sizes, measured)
    where = "a GPU" if measured.has_gpu else "the CPU"
    assert recipe.steps is not None
    batch = min(recipe.batch, n_train)
    if recipe.trains_encoder:
        epochs = recipe.steps.most * batch / n_train
        reasons.append(f"{recipe.steps.most} steps of {batch} texts: about {epochs:.0f} epochs of {n_train} texts")
    reasons.append(f"it runs on {where}")
    return Choice(recipe, tuple(reasons), seconds, estimate_all(seconds, sizes.test, measured))


def _tuning(task: Task, kind: str, sizes: Sizes) -> tuple[Tuning, list[str]]:
    n_train, n_labels = sizes.train, sizes.labels
    if kind != "transformer":
        return "frozen", [f"a backbone of the kind {kind}: its layers are trained as they are made for it"]
    if task == "textcat":
        few = n_train < FEW * n_labels
        if few:
            return "lpft", [
                f"few texts ({n_train} for {n_labels} labels): the head is solved first, then all is fine-tuned gently"
            ]
        return "fine-tuning", [f"many texts ({n_train} for {n_labels} labels): the whole encoder is fine-tuned"]
    if task == "multilabel":
        return default_tuning(task, "transformer"), ["several labels: a solved head on the frozen encoder"]
    return "fine-tuning", [f"{task}: the whole encoder is fine-tuned, the head at a higher rate"]


def _with_steps(recipe: Recipe, n_train: int) -> Recipe:
    """RETURNS (Recipe): Ten evaluations, at steps that go with the size of the data."""
    if not recipe.trains_encoder or recipe.is_thinc:
        most = 100 if recipe.starts_solved else 1000 if n_train > 1000 else 500
        return replace(recipe, steps=Steps(most, most // 10, 0 if recipe.starts_solved else most // 2))
    epochs = {"lpft": 12, "lora": 20, "gradual": 15, "contrastive": 12}.get(recipe.tuning, 20 if n_train < 2000 else 4)
    every = min(300, max(5, round(epochs * n_train / recipe.batch / 10)))
    return replace(recipe, steps=Steps(10 * every, every))


def estimate(recipe: Recipe, sizes: Sizes, measured: Measured) -> float:
    """RETURNS (float): Seconds of the training, evaluations counted."""
    assert recipe.steps is not None
    n_train, n_dev = sizes.train, sizes.dev
    evaluations = recipe.steps.most / recipe.steps.every * n_dev * measured.per_text
    if recipe.trains_encoder:
        return recipe.steps.most * min(recipe.batch, n_train) * measured.per_text * _TUNED + evaluations
    # A frozen encoder reads each text once; its rows are kept.
    return (n_train + n_dev) * measured.per_text + recipe.steps.most * _HEAD


def estimate_all(training: float, n_test: int, measured: Measured) -> tuple[float, float]:
    """All steps of a project: the training, the test texts read twice, and what does not go with the data: five
    processes that start, and the wheel.

    training (float): Seconds of the training, as estimated.
    RETURNS (Tuple[float, float]): The least and the most seconds.
    """
    expected = training + 2 * n_test * measured.per_text
    return (1 - _OFF) * expected + _REST[0], (1 + _OFF) * expected + _REST[1]


def range_in_words(ends: tuple[float, float]) -> str:
    """RETURNS (str): Such as "40 seconds to 2 minutes", or "2 to 4 minutes"."""
    low, high = map(in_words, ends)
    if low == high:
        return f"about {low}"
    same_unit = low.split()[1] == high.split()[1]
    return f"{low.split()[0] if same_unit else low} to {high}"


def in_words(seconds: float) -> str:
    """RETURNS (str): A time as people say it."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} seconds"
    return f"{round(seconds / 60):.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"
