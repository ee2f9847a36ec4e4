"""Work beside a training, after which it goes on as if nothing had been."""

from spacy.language import Language


def copy_of(nlp: Language) -> Language:
    """A pipeline of its own with the same weights, of which nothing comes back. It draws random numbers: see
    `same_random_state`.

    nlp (Language): The pipeline.
    RETURNS (Language): The copy.
    """
    return type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
