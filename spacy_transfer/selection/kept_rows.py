"""Rows of the chosen backbone for the sample, kept for the training that follows."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy
from spacy.tokens import Doc

from ..backbones.cached_rows.row_cache import doc_key
from ..backbones.cached_rows.row_folder import RowFolder, shared_rows
from ..backbones.encode import in_one_array
from ..types import BackboneT, Config, Floats

MOST_MB = 8192
"""Of all candidates while they are compared, and of the folder then."""
Form = tuple[str, int | None]
"""Name and depth of a candidate."""


class KeptRows:
    """Holds the rows of all candidates in a temporary folder, until one is chosen.

    folder (Path): Gets those of the chosen one, as the component's `cache_folder` reads them.
    dtype (str): The component's `cache_dtype`.
    """

    def __init__(self, folder: Path, dtype: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dtype = folder, dtype
        self._room = MOST_MB * 2**20
        self._temporary = tempfile.TemporaryDirectory(dir=folder, prefix="candidates-")
        self._found: dict[Form, RowFolder] = {}

    def add(self, form: Form, docs: Sequence[Doc], rows: Sequence[Floats], documents: Floats) -> None:
        """Add rows of some docs, as long as there is room.

        rows (Sequence[Floats2d]): Of the tokens of each doc.
        documents (Floats2d): Of the docs.
        """
        if form not in self._found:
            place = Path(self._temporary.name) / str(len(self._found))
            self._found[form] = RowFolder(place, self.dtype, self._room)
        found = self._found[form]
        for doc, array in zip(docs, in_one_array(numpy, rows, documents), strict=True):
            if array.nbytes <= self._room:
                before = found.used
                found.put(doc_key(doc), array.astype(self.dtype))
                self._room -= found.used - before

    def keep(self, form: Form | None, model: BackboneT, block: Config) -> int:
        """Add the rows of the chosen backbone to those that the folder has, and delete the others.

        form (Optional[Tuple[str, Optional[int]]]): The choice; None where the rows that are here are not what will be
            trained on.
        model (Model): The backbone, as it will be trained on.
        block (Dict[str, Any]): Its component's, filled as in a training.
        RETURNS (int): For how many texts the folder has rows.
        """
        place = shared_rows(model, lambda: block, self.dtype, (self.folder, MOST_MB))
        assert place is not None
        if form is not None and form in self._found:
            found = self._found[form]
            for key in found:
                array = found.get(key)
                if array is not None:
                    place.put(key, array)
        self._temporary.cleanup()
        return len(place)
