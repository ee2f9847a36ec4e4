"""The side of a backbone that listeners see: which of the later components listen, and how wide its rows are."""

from collections.abc import Sequence

from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2Vec, Tok2VecListener
from spacy.tokens import Doc
from spacy.ty import ListenedToComponent
from spacy.vocab import Vocab
from thinc.api import Model

from ...backbones.links import BackboneRows
from ...backbones.listeners import TransferListener, connect, disconnect, link_of
from ...backbones.similarity import compare_by_rows
from ...errors import Errors
from ...tuning.weighing import TaskWeights
from ...types import BackboneT, Encoded
from .tasks import Surgery, Tasks
from .training_log import TrainingLog


class ListenedTok2Vec(Tok2Vec):
    """spaCy's Tok2Vec, whose listeners are linked to its rows.

    vocab (Vocab), model (Model), name (str), weighing (Optional[TaskWeights]), surgery (Optional[str]): See `Backbone`.
    """

    def __init__(
        self, vocab: Vocab, model: BackboneT, name: str, weighing: TaskWeights | None, surgery: Surgery | None
    ) -> None:
        self.rows = BackboneRows(self)
        self.training_log = TrainingLog()
        self.tasks = Tasks(name, weighing, surgery)
        super().__init__(vocab, model, name)

    @property
    def listener_map(self) -> dict[str, list[Tok2VecListener]]:
        """RETURNS (Dict[str, List[Tok2VecListener]]): Listeners, by the component they are in. spaCy sets an empty one
        whenever it goes through the pipeline anew; then all later components are found anew."""
        return self._listener_map

    @listener_map.setter
    def listener_map(self, listener_map: dict[str, list[Tok2VecListener]]) -> None:
        self._listener_map = listener_map
        self.training_log.forget_components()

    def find_listeners(self, component: object) -> None:
        """Connect what listens in a later component, and remember the component: see `Backbone.finish_update`."""
        self.training_log.add_component(component)
        self.tasks.add_component(component)
        disconnect(getattr(component, "model", None), self.rows)
        super().find_listeners(component)

    def add_listener(self, listener: Tok2VecListener, component_name: str) -> None:
        """Connect a listener of a later component. One without a width takes this backbone's, if it is known."""
        super().add_listener(listener, component_name)
        is_stock = not isinstance(listener, TransferListener)
        if is_stock and listener.upstream_name == "*" and self._has_later_encoder:
            return  # It takes the nearest encoder of any kind.
        connect(listener, self.rows, component_name)
        if self.model.has_dim("nO"):
            self._agree_on_width(listener, component_name)

    def set_annotations(self, docs: Sequence[Doc], encoded: Encoded) -> None:
        """Leave the rows on the docs: in `doc.tensor`, and where the listeners of this backbone find them.

        docs (Sequence[Doc]): The docs.
        encoded (Encoded): From `predict`.
        """
        links = map(link_of, self.listeners)
        wants_documents = any(link is not None and link.per_document for link in links)
        # A slice would keep the whole batch alive for as long as the doc lives.
        rows = [of_doc.copy() for of_doc in encoded.rows]
        documents = [row.copy() for row in encoded.documents] if wants_documents else [None] * len(rows)
        for doc, of_doc in zip(docs, rows, strict=True):
            assert len(of_doc) == len(doc)
            doc.tensor = of_doc  # type: ignore[assignment]
            compare_by_rows(doc)
        self.rows.put(docs, rows, documents, self._has_later_encoder)

    @property
    def _has_later_encoder(self) -> bool:
        return any(isinstance(component, Tok2Vec) for component in self.training_log.later.values())

    def _connect_copies(self) -> None:
        """What was copied or pickled with its heads is linked by names; see `Link`."""
        for head, listeners in self.listener_map.items():
            for listener in listeners:
                link = link_of(listener)
                if link is not None and link.rows is None and link.backbone == self.name:
                    link.connect(self.rows, head)

    def _agree_on_width(self, listener: Tok2VecListener, component_name: str) -> None:
        link, width = link_of(listener), self.model.get_dim("nO")
        if link is None or link.rows is not self.rows:
            return
        found = listener.maybe_get_dim("nO")
        if found is None:
            listener.set_dim("nO", width)
        elif found != width:
            raise ValueError(Errors.T403.format(head=component_name, found=found, width=width, backbone=self.name))

    def _check_order(self, nlp: Language) -> None:
        mine = {self.name, "*"}
        for name, pipe in nlp.pipeline:
            if name == self.name:
                return
            model = getattr(pipe, "model", None)
            nodes = model.walk() if isinstance(model, Model) else ()
            if any(isinstance(node, Tok2VecListener) and node.upstream_name in mine for node in nodes):
                raise ValueError(Errors.T405.format(head=name, backbone=self.name))
            if isinstance(pipe, ListenedToComponent):
                mine.discard("*")  # It has found that one.
