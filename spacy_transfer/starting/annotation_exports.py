"""Records that say what they are: exports of Prodigy, Label Studio and doccano, and lists of tokens with tags."""

from collections.abc import Iterator, Sequence
from typing import Any

from .labelled_rows import TEXTS, Found, Record, Row, SpanOf, Table, task_of_spans

LeftOut = tuple[Row, str]
_SPANS = ("label", "labels", "entities", "ents", "spans")
"""Keys of lists of spans."""
_TOKENS, _TAGS = ("tokens", "words"), ("ner_tags", "tags", "ner", "pos_tags", "upos", "pos", "labels", "label")


def read_export(table: Table, left_out: list[LeftOut]) -> Found | None:
    """RETURNS (Optional[Found]): The rows of an export; None for any other table.

    left_out (List[Tuple[Row, str]]): Gets the rows that were rejected or ignored, with a reason.
    """
    some = table.records[:50]
    for name, is_kind, rows_of in _KINDS:
        if any(is_kind(record) for record in some):
            rows = list(rows_of(table, left_out))
            task = _task(rows, table)
            return Found(name, rows={"train": rows}, task=task, notes=list(table.notes))
    return None


def _task(rows: Sequence[Row], table: Table) -> str:
    if any(row.spans for row in rows):
        return task_of_spans(rows)
    if any(row.tags for row in rows):
        return "tagger"
    is_choice = any(len(row.labels) > 1 or (row.is_annotated and not row.labels) for row in rows)
    return "multilabel" if is_choice else "textcat"


def _is_label_studio(record: Record) -> bool:
    return isinstance(record.get("data"), dict) and any(key in record for key in ("annotations", "completions"))


def _label_studio(table: Table, left_out: list[LeftOut]) -> Iterator[Row]:
    for place, record in zip(table.places, table.records, strict=True):
        data = record.get("data")
        if not isinstance(data, dict):
            left_out.append((Row(place, ""), "it has no data"))
            continue
        text = next((value for key, value in data.items() if key == "text"), None)
        text = (
            text
            if isinstance(text, str)
            else max((v for v in data.values() if isinstance(v, str)), key=len, default="")
        )
        done = [each for each in record.get("annotations") or record.get("completions") or [] if isinstance(each, dict)]
        kept = [each for each in done if not each.get("was_cancelled")]
        results = [part for each in kept[:1] for part in each.get("result", [])]
        values = [part.get("value", {}) for part in results]
        labels = tuple(choice for value in values for choice in value.get("choices", []))
        spans = tuple(
            (int(v["start"]), int(v["end"]), str(label))
            for v in values
            for label in v.get("labels", [])
            if "start" in v
        )
        numbers = [v.get("number", v.get("rating")) for v in values if "number" in v or "rating" in v]
        row = Row(place, text, labels, float(numbers[0]) if numbers else None, spans, is_annotated=bool(kept))
        if kept:
            yield row
        else:
            left_out.append((row, "no annotation, or it was skipped"))


def _is_prodigy(record: Record) -> bool:
    is_choice = isinstance(record.get("options"), list) and isinstance(record.get("accept"), list)
    is_answer = record.get("answer") in ("accept", "reject", "ignore")
    has_hash = "_task_hash" in record or "_input_hash" in record
    has_mark = is_answer or has_hash or is_choice or _spans_of(record, "spans") is not None
    return isinstance(record.get("text"), str) and has_mark


def _prodigy(table: Table, left_out: list[LeftOut]) -> Iterator[Row]:
    names = {record["label"] for record in table.records if isinstance(record.get("label"), str)}
    rejected = {record.get("answer") for record in table.records}
    is_binary = len(names) == 1 and "reject" in rejected
    for place, record in zip(table.places, table.records, strict=True):
        answer = record.get("answer", "accept")
        labels = tuple(map(str, record.get("accept") or [])) or _texts(record.get("label"))
        row = Row(place, str(record.get("text", "")), labels, spans=tuple(_spans_of(record, "spans") or ()))
        if answer == "accept":
            yield row
        elif answer == "reject" and is_binary:
            yield Row(place, row.text)
        else:
            left_out.append((row, f"its answer is {answer!r}"))


def _has_spans(record: Record) -> bool:
    return any(_spans_of(record, key) is not None for key in _SPANS)


def _texts_with_spans(table: Table, left_out: list[LeftOut]) -> Iterator[Row]:
    """As doccano writes them, spaCy's `Doc.to_json`, and others."""
    for place, record in zip(table.places, table.records, strict=True):
        text = next((record[key] for key in (*TEXTS, "data") if isinstance(record.get(key), str)), "")
        spans = [span for key in _SPANS for span in _spans_of(record, key) or ()]
        yield Row(place, text, spans=tuple(spans))


def _spans_of(record: Record, key: str) -> list[SpanOf] | None:
    """RETURNS (Optional[List[Tuple[int, int, str]]]): Spans under a key; None where it holds something else."""
    found = record.get(key)
    if not isinstance(found, list) or not found:
        return None
    spans = list[SpanOf]()
    for each in found:
        span = _span(each)
        if span is None:
            return None
        spans.append(span)
    return spans


def _span(each: Any) -> SpanOf | None:
    if isinstance(each, list | tuple) and len(each) == 3 and isinstance(each[0], int) and isinstance(each[1], int):
        return each[0], each[1], str(each[2])
    if isinstance(each, dict):
        start = each.get("start", each.get("start_offset"))
        end = each.get("end", each.get("end_offset"))
        label = next((each[key] for key in ("label", "labels", "type", "tag", "entity_group") if key in each), None)
        label = label[0] if isinstance(label, list) and label else label
        if isinstance(start, int) and isinstance(end, int) and label is not None:
            return start, end, str(label)
    return None


def _pairs(record: Record) -> tuple[str, str] | None:
    """RETURNS (Optional[Tuple[str, str]]): Names of the columns with tokens and with tags."""
    for tokens in _TOKENS:
        words = record.get(tokens)
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            for tags in _TAGS:
                if isinstance(record.get(tags), list) and len(record[tags]) == len(words):
                    return tokens, tags
    return None


def _tokens(table: Table, left_out: list[LeftOut]) -> Iterator[Row]:
    from spacy.training import iob_to_biluo
    from spacy.training.iob_utils import tags_to_entities

    found = next(pair for record in table.records if (pair := _pairs(record)))
    names = table.classes.get(found[1])
    for place, record in zip(table.places, table.records, strict=True):
        words, tags = tuple(record.get(found[0]) or ()), record.get(found[1]) or ()
        if len(words) != len(tags):
            left_out.append((Row(place, " ".join(words)), f"{len(words)} tokens, {len(tags)} tags"))
            continue
        if names and any(isinstance(tag, int) and not 0 <= tag < len(names) for tag in tags):
            left_out.append((Row(place, " ".join(words)), f"a tag has a number beyond the {len(names)} names"))
            continue
        tags = tuple(names[tag] if names and isinstance(tag, int) else str(tag) for tag in tags)
        spaces = (True,) * (len(words) - 1) + (False,)
        starts = [sum(len(word) + 1 for word in words[:i]) for i in range(len(words))]
        spans = list[SpanOf]()
        if all(tag == "O" or tag[1:2] == "-" for tag in tags):
            for label, first, last in tags_to_entities(iob_to_biluo(list(map(as_iob, tags)))):
                spans.append((starts[first], starts[last] + len(words[last]), label))
        iob = all(tag == "O" or tag[1:2] == "-" for tag in tags)
        yield Row(place, " ".join(words), (), None, tuple(spans), words, spaces, () if iob else tags)


_AS_IOB = {"E": "I", "M": "I", "L": "I", "S": "B", "U": "B"}


def as_iob(tag: str) -> str:
    """RETURNS (str): A tag of BIOES, BMES or BILUO in IOB: an entity begins with B, and goes on with I."""
    return _AS_IOB.get(tag[0], tag[0]) + tag[1:] if tag[1:2] == "-" else tag


def _texts(found: Any) -> tuple[str, ...]:
    if found is None or found == "":
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else (str(found),)


_KINDS = (
    ("a Label Studio export", _is_label_studio, _label_studio),
    ("a list of tokens with tags", lambda record: _pairs(record) is not None, _tokens),
    ("a Prodigy export", _is_prodigy, _prodigy),
    ("texts with spans", _has_spans, _texts_with_spans),
)
