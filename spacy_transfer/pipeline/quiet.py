"""Work beside a training, after which it goes on as if nothing had been."""

from spacy.language import Language

from ..random_state import same_random_state


def copy_of(nlp: Language) -> Language:
    """A pipeline of its own with the same weights, of which nothing comes back. Building it draws random numbers, which
    are given back.

    nlp (Language): The pipeline.
    RETURNS (Language): The copy.
    """
    with same_random_state():
        return type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
