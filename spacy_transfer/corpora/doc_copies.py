"""Copies of docs: for another pipeline, and to write annotation on."""

from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab


def copy_tokens(doc: Doc, vocab: Vocab) -> Doc:
    """RETURNS (Doc): The tokens alone, without annotation and without norms of their own.

    vocab (Vocab): Of the copy.
    """
    return Doc(vocab, words=[token.text for token in doc], spaces=[bool(token.whitespace_) for token in doc])


def copy_for(doc: Doc, nlp: Language) -> Doc:
    """Copy the tokens for another pipeline. Where its tokenizer agrees the copy is its own doc, which knows what tokens
    such as "n't" stand for: encoders read that (NORM).

    nlp (Language): The pipeline that is to read the copy.
    RETURNS (Doc): A doc of that pipeline, without annotation.
    """
    if len(doc.text) <= nlp.max_length:
        own = nlp.make_doc(doc.text)
        if [token.text for token in own] == [token.text for token in doc]:
            return own
    return copy_tokens(doc, nlp.vocab)


def copy_with_info(reference: Doc) -> Doc:
    """RETURNS (Doc): A copy with the annotation and the same example info: arrays of a teacher are not copied."""
    data = reference.user_data
    reference.user_data = {}
    try:
        copied = reference.copy()
    finally:
        reference.user_data = data
    copied.user_data = dict(data)
    return copied
