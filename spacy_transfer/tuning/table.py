"""The table of parameters: which are trained, and at which rates."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..text_table import text_table

HEADER = ("group", "layers", "parameters", "trainable", "rate", "decay", "schedule")


@dataclass(frozen=True)
class Row:
    """Parameters of one component with the same settings.

    group (str): Group of the optimizer; empty for none.
    depths (Tuple[int, ...]): Their depths, see `Depths` of the policy; empty where there are no layers.
    n_layers (int): Number of layers of the encoder.
    trainable (str): "yes", "no", or "later" for layers that are unfrozen later.
    rate (float): Learning rate at this step.
    highest (Optional[float]): The highest rate of the schedule, where it is known.
    """

    component: str
    group: str
    depths: tuple[int, ...]
    n_layers: int
    count: int
    trainable: str
    rate: float
    highest: float | None
    decays: tuple[float, ...]
    schedule: str


def to_text(rows: Sequence[Row]) -> str:
    """RETURNS (str): The table, with a line below it that explains the layers, if there are any."""
    data = [_cells(row) for row in rows]
    text = text_table(data, header=HEADER, aligns="llrlrrl")
    if any(row.n_layers for row in rows):
        text += "\nLayers: 0 is the embeddings, 'top' what follows the last layer."
    return text


def show_depths(depths: Collection[int], n_layers: int) -> str:
    """Depths as runs.

    depths (Collection[int]): 0 for embeddings, 1 for the lowest layer, n_layers + 1 for what follows the last.
    RETURNS (str): Such as "0-3, 6, top"; "-" for none.
    """
    runs: list[list[int]] = []
    for depth in sorted(set(depths) - {n_layers + 1}):
        if runs and runs[-1][1] == depth - 1:
            runs[-1][1] = depth
        else:
            runs.append([depth, depth])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join([*shown, *(["top"] if n_layers + 1 in depths else [])]) or "-"


def show_count(count: int) -> str:
    """RETURNS (str): A number of parameters in three digits: 950, 88.7K, 22.6M, 1.24B."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        # A number that rounds up to a thousand belongs to the next unit.
        if count >= size * (0.9995 if size > 10**3 else 1):
            return f"{count / size:#.3g}{unit}".replace(".K", "K").replace(".M", "M").replace(".B", "B")
    return str(count)


def show_rate(rate: float) -> str:
    """RETURNS (str): A rate in three digits, such as 5e-05 or 0.001."""
    return f"{rate:.3g}"


def _cells(row: Row) -> tuple[str, ...]:
    is_trained = row.trainable != "no"
    schedule = row.schedule
    if row.highest is not None:
        schedule += f", highest {show_rate(row.highest)}"
    return (
        f"{row.component}: {row.group}" if row.group else row.component,
        show_depths(row.depths, row.n_layers) if row.n_layers else "-",
        show_count(row.count),
        row.trainable,
        show_rate(row.rate) if is_trained else "-",
        " or ".join(show_rate(decay) for decay in sorted(set(row.decays), reverse=True)) if is_trained else "-",
        schedule if is_trained else "-",
    )
