"""Writing of .spacy files."""

from typing import Any

from spacy.tokens import Doc, DocBin

from ..integrity import pack


class UserDataBin(DocBin):
    """A `DocBin(store_user_data=True)`, byte for byte, without the millisecond that spaCy's own takes for the user data
    of each doc (see `integrity.pack`).

    settings (Any): The other arguments of `DocBin`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(store_user_data=True, **settings)

    def add(self, doc: Doc) -> None:
        self.store_user_data = False
        super().add(doc)
        self.store_user_data = True
        self.user_data.append(pack(doc.user_data))
