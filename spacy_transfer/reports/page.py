"""A report as one HTML page: style and pictures inside it, no script, nothing to load."""

import math
from collections.abc import Sequence
from html import escape

from spacy import displacy

from .numbers import LEVEL, Confusion, Score
from .parts import ECE, Entities, LabelScore, Mistake, Part
from .pictures import by_length, reliability, scatter

# Blue and orange of a palette for colour-blind people (Okabe and Ito 2008), lighter in the dark.
STYLE = """
:root{color-scheme:light dark;
--page:#fff;--text:#1a1a1a;--soft:#595959;--rule:#d0d0d0;--blue:0,114,178;--orange:#a85200}
@media(prefers-color-scheme:dark){:root{--page:#16181c;--text:#ececec;--soft:#b4b4b4;--rule:#454a52;--blue:86,180,233;
--orange:#e69f00}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1.5rem;background:var(--page);color:var(--text);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;margin:0}
h2{font-size:1.3rem;margin:2.5rem 0 .5rem;border-top:2px solid var(--rule);padding-top:1rem}
h3{font-size:1rem;margin:1.2rem 0 .4rem}p,dl{margin:.4rem 0}a{color:rgb(var(--blue))}
.soft,figcaption,caption{color:var(--soft);font-size:.87rem;text-align:left}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{color:var(--soft)}dd{margin:0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.25rem .6rem;border-bottom:1px solid
var(--rule);text-align:right;vertical-align:top}th{font-weight:600}.left,tbody th{text-align:left}
table{overflow-wrap:normal}.wide{overflow-x:auto;max-width:100%}.confusion th,.confusion td{white-space:nowrap}
.confusion td{background:rgba(var(--blue),calc(var(--share)*.55));min-width:2.6rem;text-align:center}

.confusion td.hit{outline:2px solid rgb(var(--blue));outline-offset:-3px}
.confusion thead th{font-size:.8rem;text-align:center}
.pictures{display:flex;flex-wrap:wrap;gap:1rem}
figure{flex:1 1 22rem;margin:.5rem 0;min-width:0}svg{width:100%;height:auto}
svg text{fill:var(--text);font-size:12px}svg .title{fill:var(--soft);font-size:13px}.grid{stroke:var(--rule)}
.ideal{stroke:var(--text);stroke-dasharray:5 4}.bar{fill:rgb(var(--blue))}.point{fill:rgb(var(--blue));fill-opacity:.45}
.dot{fill:var(--orange);stroke:var(--page)}.interval{stroke:var(--orange);stroke-width:2.5}
.line{fill:none;stroke:var(--soft)}
.mistake{border-left:3px solid var(--rule);padding-left:.8rem;margin:.8rem 0}.mistake .entities{line-height:2.3}
.mistake b{font-weight:600}mark.entity{color:#111}
"""
WRONG = " \u2717"
"""Marks entities that only gold, or only the prediction has."""
MOST_CHARACTERS = 500
BEFORE = 150
HIGH = 0.1
"""A calibration error above which something is to be done."""


def make_page(parts: Sequence[Part], facts: dict[str, str], *, resamples: int) -> str:
    """The whole page.

    parts (Sequence[Part]): From `collect`.
    facts (Dict[str, str]): For the header: pipeline, data, date and the like.
    resamples (int): Draws of the bootstrap, to be told.
    """
    title = f"Report on {facts.get('pipeline', 'a pipeline')}"
    links = "".join(
        f'<li><a href="#part{i}">{escape(part.title)}</a> <span class="soft">{escape(part.component)}</span></li>'
        for i, part in enumerate(parts)
    )
    how = (
        f"Intervals hold {LEVEL:.0%}. Exact ones are those of a share of texts (Clopper-Pearson); bootstrap ones are "
        f"percentiles of {resamples:,} bootstrap draws of whole texts (seed 0), and where these are all alike, that "
        "of a share of all texts, or of none. Intervals tell how far scores would move with other texts of the same "
        "kind, not with another training."
    )
    body = "".join(_section(i, part) for i, part in enumerate(parts))
    nav = f'<nav aria-label="Heads"><ul>{links}</ul></nav>' if len(parts) > 1 else ""
    return whole_page(title, facts, how, f"{nav}<main>{body}</main>")


def whole_page(title: str, facts: dict[str, str], how: str, body: str) -> str:
    """RETURNS (str): A page with its style inside.

    facts (Dict[str, str]): For the header.
    how (str): How to read the page.
    body (str): HTML of what follows the header.
    """
    header = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f'<body><header><h1>{escape(title)}</h1><dl class="facts">{header}</dl><p class="soft">{escape(how)}</p>'
        f"</header>{body}</body></html>\n"
    )


def _section(number: int, part: Part) -> str:
    pieces = [
        f'<section id="part{number}"><h2>{escape(part.title)}</h2>',
        f'<p class="soft">Component {escape(part.component)}; {part.n_docs:,} docs with gold annotation.</p>',
        _scores(part.scores),
        _said_of_calibration(part),
        _by_label(part.by_label) if part.by_label else "",
    ]
    pictures = []
    if part.calibration is not None:
        error = next(score for score in part.scores if score.name == ECE)
        caption = "Bars and dots on the dashed line: as often right as it says. The darker a bar, the more predictions."
        pictures.append(figure("Reliability", reliability(part.calibration.bins(), error), caption))
    if part.pairs:
        pictures.append(figure("Gold and predicted", scatter(part.pairs, part.title), "On the dashed line both agree."))
    if part.by_length:
        caption = "Groups of about as many docs each; the upright lines are the intervals."
        pictures.append(figure("Length of the docs", by_length(part.by_length), caption))
    pieces.append(f'<div class="pictures">{"".join(pictures)}</div>')
    if part.confusion is not None:
        pieces.append(_confusion(part.confusion))
    mistakes = "".join(map(_mistake, part.mistakes)) or "<p>None.</p>"
    pieces.append(f"<h3>{escape(part.mistakes_are)}</h3>{mistakes}</section>")
    return "".join(pieces)


def _scores(scores: Sequence[Score]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(s.name)}</th><td>{_number(s.value)}</td>'
        f"<td>{_number(s.low)} to {_number(s.high)}</td><td class='left soft'>{s.how}</td></tr>"
        for s in scores
    )
    names = f'<th scope="col">value</th><th scope="col">{LEVEL:.0%} interval</th><td></td>'
    head = f'<tr><th scope="col" class="left">score</th>{names}</tr>'
    return f'<table class="scores"><thead>{head}</thead><tbody>{rows}</tbody></table>'


def _said_of_calibration(part: Part) -> str:
    """What the calibration error means, and what to do about a high one."""
    error = next((score.value for score in part.scores if score.name == ECE), math.nan)
    if part.calibration is None or math.isnan(error):
        return ""
    sure, right = float(part.calibration.confidence.mean()), float(part.calibration.correct.mean())
    said = (
        f"The calibration error is how far confidence is from how often predictions are right, on average. Here they "
        f"are {sure:.0%} sure on average, and {right:.0%} are right."
    )
    if error > HIGH:
        apart = abs(sure - right) > HIGH / 2
        how = (
            f"on the whole too {'low' if sure < right else 'high'}"
            if apart
            else "too low for some, too high for others"
        )
        said += f" The error is high: confidences are {how}."
        if part.can_be_calibrated:
            said += " To fit them: <code>python -m spacy transfer calibrate PIPELINE DATA --output CALIBRATED</code>"
            said += ", where DATA are texts that were neither trained on nor tested here."
    return f'<p class="soft">{said}</p>'


def _by_label(rows: Sequence[LabelScore]) -> str:
    names = ("precision", "recall", "F1", "in gold", "predicted")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{escape(row.label)}</th><td>{_number(row.precision)}</td><td>{_number(row.recall)}</td>'
        f"<td>{_number(row.f1)}</td><td>{row.n_gold:,}</td><td>{row.n_predicted:,}</td></tr>"
        for row in rows
    )
    return (
        '<h3>By label</h3><div class="wide" tabindex="0"><table class="types"><thead><tr><th scope="col" class="left">'
        f"label</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def figure(title: str, picture: str, caption: str) -> str:
    """RETURNS (str): HTML of a picture."""
    return f"<figure><h3>{title}</h3>{picture}<figcaption>{caption}</figcaption></figure>"


def _confusion(table: Confusion) -> str:
    """Cells are shaded by their share of the row."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    rows = []
    for name, counts in zip(table.rows, table.counts, strict=True):
        total = int(counts.sum()) or 1
        cells = "".join(
            f'<td style="--share:{n / total:.3f}"{" class=hit" if column == name else ""}>{n if n else ""}</td>'
            for column, n in zip(table.columns, counts.tolist(), strict=True)
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    caption = "Rows are gold, columns are predictions; shaded by the share of the row, outlined where both agree."
    if table.rows != table.columns:
        caption = "How often each label was rightly and wrongly given and not given; shaded by the share of the row."
    return (
        f'<h3>What is taken for what</h3><p class="soft">{caption}</p><div class="wide" tabindex="0">'
        f'<table class="confusion"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _mistake(mistake: Mistake) -> str:
    if mistake.gold_ents is not None and mistake.guess_ents is not None:
        start, end = _window(mistake)
        pairs = ((mistake.gold_ents, mistake.guess_ents), (mistake.guess_ents, mistake.gold_ents))
        drawn = [_draw(mistake.text, own, start, end, set(own) - set(other)) for own, other in pairs]
        return (
            f'<div class="mistake"><p class="soft">{escape(mistake.weight)}; marked{WRONG}</p><b>gold</b> {drawn[0]}'
            f"<b>predicted</b> {drawn[1]}</div>"
        )
    text = mistake.text if len(mistake.text) <= MOST_CHARACTERS else mistake.text[:MOST_CHARACTERS] + " ..."
    return (
        f'<div class="mistake"><p><b>gold</b> {escape(mistake.gold)} <b>predicted</b> {escape(mistake.guess)} '
        f'<span class="soft">{escape(mistake.weight)}</span></p><p>{escape(text)}</p></div>'
    )


def _window(mistake: Mistake) -> tuple[int, int]:
    """The part of a long text in which the first entity is wrong."""
    if len(mistake.text) <= MOST_CHARACTERS:
        return 0, len(mistake.text)
    wrong = set(mistake.gold_ents or ()) ^ set(mistake.guess_ents or ())
    start = max(0, min((ent[0] for ent in wrong), default=0) - BEFORE)
    return start, min(len(mistake.text), start + MOST_CHARACTERS)


def _draw(text: str, ents: Entities, start: int, end: int, wrong: set[tuple[int, int, str]]) -> str:
    """displaCy's picture. It escapes the text, not the labels.

    wrong (Set[Tuple[int, int, str]]): Those that the other side does not have; they are marked.
    """
    before, after = "... " if start else "", " ..." if end < len(text) else ""
    shift = len(before) - start
    inside = [
        {"start": a + shift, "end": b + shift, "label": escape(label) + WRONG * ((a, b, label) in wrong)}
        for a, b, label in ents
        if start <= a and b <= end
    ]
    shown = before + text[start:end] + after
    colors = {str(ent["label"]).upper(): "#f2a97e" for ent in inside if str(ent["label"]).endswith(WRONG)}
    drawn = {"text": shown, "ents": inside, "title": None}
    return displacy.render(drawn, style="ent", manual=True, jupyter=False, options={"colors": colors})
