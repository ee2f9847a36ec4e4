"""Writing of .spacy files."""

from typing import Any

from spacy.tokens import Doc, DocBin

from ..integrity import pack


class UserDataBin(DocBin):
    """A `DocBin(store_user_data=True)`, byte for byte. spaCy's own takes long for the user data of each doc; see
    `integrity.pack`.

    settings (Any): The other arguments of `DocBin`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(store_user_data=True, **settings)

    def add(self, doc: Doc) -> None:
        packed = pack(doc.user_data)  # First: what cannot be packed leaves nothing of its doc here.
        self.store_user_data = False
        try:
            super().add(doc)
        finally:
            self.store_user_data = True
        self.user_data.append(packed)
