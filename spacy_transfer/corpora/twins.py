"""A doc for another pipeline: its vocabulary, the same tokens."""

from spacy.language import Language
from spacy.tokens import Doc


def twin(doc: Doc, nlp: Language) -> Doc:
    """A doc without annotation, with the same tokens. Where the pipeline's tokenizer agrees it is its own doc, which
    knows what tokens such as "n't" stand for: encoders read that (NORM).

    doc (Doc): Any doc.
    nlp (Language): The pipeline that is to read it.
    RETURNS (Doc): A doc of that pipeline.
    """
    words = [token.text for token in doc]
    if len(doc.text) <= nlp.max_length:
        own = nlp.make_doc(doc.text)
        if [token.text for token in own] == words:
            return own
    return Doc(nlp.vocab, words=words, spaces=[bool(token.whitespace_) for token in doc])
