"""A copy of a pipeline, made without an effect on a training."""

from spacy.language import Language

from ..random_state import same_random_state


def copy_of(nlp: Language) -> Language:
    """A pipeline with the same weights that shares nothing. The state of random numbers is restored."""
    with same_random_state():
        return type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
