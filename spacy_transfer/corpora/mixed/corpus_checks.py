"""Checks of a config that uses several corpora, before training."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from spacy.language import Language
from spacy.training import Example

from ...errors import Errors
from ...types import Config
from .masking import is_head

NAME, SCORER = "spacy-transfer.MixedCorpus.v1", "spacy-transfer.PerCorpusScorer.v1"
Trains = Mapping[str, Collection[str] | None]
"""By corpus: names of the components that learn from it; None for all."""


def check_components(nlp: Language, trains: Trains, frozen: Collection[str], *, learn: bool) -> None:
    """Check that components exist and can be trained.

    learn (bool): Whether they will be trained, not only scored.
    RAISES (ValueError): With the nearest names.
    """
    heads = [name for name, pipe in nlp.components if is_head(pipe) and name not in frozen]
    for corpus, names in trains.items():
        if names is not None and not names:
            raise ValueError(Errors.T529.format(corpus=corpus, heads=heads))
        for name in names or ():
            if name not in nlp.component_names:
                near = get_close_matches(name, nlp.component_names, n=3, cutoff=0.4) or list(nlp.component_names)
                raise ValueError(Errors.T512.format(corpus=corpus, found=name, near=near))
            if name in frozen:
                raise ValueError(Errors.T513.format(corpus=corpus, found=name))
        # Beside trained components the encoder that they listen to may be named.
        others = [name for name in names or () if name not in heads]
        untrainable = [name for name in others if not getattr(nlp.get_pipe(name), "is_trainable", False)]
        if learn and (untrainable or (others and len(others) == len(names or ()))):
            found = (untrainable or others)[0]
            factory = nlp.get_pipe_meta(found).factory
            raise ValueError(Errors.T527.format(corpus=corpus, found=found, factory=factory, heads=heads))


def roles_of(config: Config, corpora: Collection[str], sampling: str | None) -> set[str]:
    """How a config uses a reader, which is not told.

    RETURNS (Set[str]): Of "train_corpus" and "dev_corpus"; none in a script, and both where both look the same.
    """
    return {
        role
        for role in ("train_corpus", "dev_corpus")
        for block in mixed_blocks(config, role)
        if set(block.get("corpora", ())) == set(corpora) and block.get("sampling") == sampling
    }


def mixed_blocks(config: Config, role: str) -> Iterator[Config]:
    """YIELDS (Config): Blocks of our reader in what training.train_corpus, or dev_corpus, names."""
    block: object = config
    for key in str(config.get("training", {}).get(role) or "").split("."):
        block = block.get(key) if isinstance(block, dict) else None
    yield from _calls(block, "@readers", NAME)


def _calls(block: object, registry: str, name: str) -> Iterator[Config]:
    """YIELDS (Config): Blocks, in this block, of a registered function."""
    todo = [block]
    while todo:
        block = todo.pop()
        if isinstance(block, dict):
            if block.get(registry) == name:
                yield block
            todo.extend(block.values())


def examples_of(corpus: str, reader: Callable[[Language], object], nlp: Language) -> Iterator[Example]:
    """One reading by any reader.

    RAISES (ValueError): When that is something else.
    """
    found = reader(nlp)
    if not isinstance(found, Iterable):
        raise ValueError(Errors.T530.format(corpus=corpus, found=repr(found)))
    for example in found:
        if not isinstance(example, Example):
            raise ValueError(Errors.T530.format(corpus=corpus, found=f"a {type(example).__name__}"))
        yield example


def check_use(nlp: Language, config: Config, trains: Trains, sampling: str | None) -> set[str]:
    """Whether a config uses the reader in a way that works.

    RETURNS (Set[str]): See `roles_of`.
    RAISES (ValueError): When a setting of [training] is at odds with the reader.
    """
    training = config.get("training", {})
    roles = roles_of(config, trains, sampling)
    is_dev = roles == {"dev_corpus"}  # Frozen components may be scored.
    check_components(nlp, trains, () if is_dev else training.get("frozen_components") or (), learn=not is_dev)
    _check_scorers(nlp, config)
    if "train_corpus" in roles:
        max_epochs = training.get("max_epochs")
        if sampling is not None and max_epochs != -1:
            raise ValueError(Errors.T510.format(found=max_epochs, sampling=sampling))
        if sampling is None and max_epochs == -1:
            raise ValueError(Errors.T511)
        _check_development(nlp, config, trains)
    if "dev_corpus" in roles and sampling is not None:
        raise ValueError(Errors.T525.format(sampling=sampling))
    return roles


def _check_scorers(nlp: Language, config: Config) -> None:
    """Check the component of each scorer, which does not know the pipeline."""
    for name, block in config.get("components", {}).items():
        for scorer in _calls(block.get("scorer"), "@scorers", SCORER):
            found = scorer["component"]
            if found not in nlp.component_names:
                near = get_close_matches(found, nlp.component_names, n=3, cutoff=0.4) or "none"
                facts = {"key": f"components.{name}.scorer", "component": found, "near": near}
                what = f"is no component of this pipeline ({nlp.component_names})"
                raise ValueError(Errors.T522.format(what=what, **facts))


def _check_development(nlp: Language, config: Config, trains: Trains) -> None:
    """Every trained component must be scored, if development sets name their components."""
    blocks = list(mixed_blocks(config, "dev_corpus"))
    each = [corpus.get("trains") for block in blocks for corpus in block.get("corpora", {}).values()]
    if not each or any(names is None for names in each):
        return
    scored = {name for names in each for name in names}
    frozen = config["training"].get("frozen_components") or ()
    learns = {name: pipe for name, pipe in nlp.components if is_head(pipe) and name not in frozen}
    for head in [name for name, pipe in learns.items() if getattr(pipe, "scorer", None) is not None]:
        by = [corpus for corpus, names in trains.items() if names is None or head in names]
        if by and head not in scored:
            dev = config["training"]["dev_corpus"]
            raise ValueError(Errors.T515.format(component=head, train=by, dev=dev))


def check_score_names(nlp: Language, config: Config, sample: Sequence[Example]) -> None:
    """Check that every name in training.score_weights has a score: spaCy ignores names without one. The scorers are
    called on a few texts with their gold annotation as prediction.

    RAISES (ValueError): With the nearest names.
    """
    copies = [Example(example.reference.copy(), example.reference) for example in sample]
    found = {"speed", *_names(nlp, copies)}
    # Factories define names that a component may not have: these are allowed with weight 0.
    metas = [nlp.get_pipe_meta(name) for name in nlp.component_names]
    shown = {name for meta in metas for name in meta.default_score_weights or ()}
    for name, weight in (config["training"].get("score_weights") or {}).items():
        if weight is not None and name not in found and (weight or name not in shown):
            near = get_close_matches(name, sorted(found), n=4, cutoff=0.4) or sorted(found)
            raise ValueError(Errors.T523.format(found=name, near=near))


def _names(nlp: Language, examples: list[Example]) -> Iterable[str]:
    # Frozen components are disabled during initialisation, and scored later.
    pipes = [nlp.tokenizer, *(pipe for _, pipe in nlp.components)]
    return {name for pipe in pipes if hasattr(pipe, "score") for name in pipe.score(examples)}
