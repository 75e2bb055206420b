"""What several records of one case drew, put together, and what a distribution looks like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.errors import RecordError
from suite.records import Record

if TYPE_CHECKING:
    from typing import TypeAlias

Entry: TypeAlias = "Mapping[str, Any]"
"""One entry of a record's statistics, as `suite.measure.questions.draws` makes them."""

DRAWN, CONSTANT, DROPOUT, LAYERS = "drawn", "constant", "dropout", "layers"
MIXED = "of different kinds"  # from seed to seed, such as drawn with one and constant with another
NEAR = 0.02  # a standard deviation so near to a rule's, as a share of it, looks like that rule
SURE = 3  # standard errors within which a standard deviation could be a rule's
NEAR_KURTOSIS = 0.12
LISTED = 2  # rules that are named where several fit

MADE_WITH = ("library_digest", "code_digest", "probe_digest")
"""What decides, by a record's environment, which numbers a seed draws, on any machine."""

PLACE = ("layer", "weight", "shape", "draws")
DROPPED = (
    "layer", "units", "behind", "draws", "share", "scale", "scale_error", "inference_change",
    "gradient_error", "repeat",
)  # fmt: skip
FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "builds": ("seeds", "digests", "again"),
        "drawn": (*PLACE, "fans", "mean", "rms", "kurtosis", "counts", "correlations", "repeat"),
        "constant": (*PLACE, "value"),
        "not finite": PLACE,
        "layers": ("layers", "pairs", "correlations", "repeat"),
        "dropout": DROPPED,
        "dropout layers": ("layers", "correlations"),
        "dropout steps": ("seeds", "repeats"),
    }
)
"""The entries of a record by their quantity, and the fields of each that are judged."""

SHAPES: Mapping[str, float] = MappingProxyType(
    {"constant in size": 1.0, "uniform": 1.8, "truncated normal": 2.365, "normal": 3.0}
)
"""Kurtosis of each distribution; the normal one is cut at two standard deviations, as in Keras."""

RULES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "2 / (fan_in + fan_out), Glorot's": (1.0, 1.0),
        "1 / fan_in, LeCun's": (0.0, 1.0),
        "2 / fan_in, He's": (0.0, 2.0),
        "1 / fan_out": (2.0, 1.0),
        "2 / fan_out": (2.0, 2.0),
    }
)
"""Rules for a variance: twice the weight of fan_out in the mean of both, and the numerator."""

FIXED: Mapping[str, float] = MappingProxyType(
    {"0.05, whatever the fan": 0.05, "uniform within 0.05, whatever the fan": 0.05 / np.sqrt(3)}
)
"""Standard deviations that do not depend on the fan: Keras' own for RandomNormal, RandomUniform."""


class Drawn(NamedTuple):
    """What all records of one case drew.

    Attributes:
        weights: One entry for each weight, by ``weight of layer``.
        dropout: One entry for each dropout layer, by its name.
        layers: The correlations between layers, by the names of two, or by "" for the strongest.
        digests: One of the whole network for each seed that it was built with.
        repeats: True where the same seed gave the same weights, and the same masks, each time.
        mask_seeds: The seeds of which dropout drew its masks.
        spreads: How the losses of steps vary that change nothing, in nats; none without dropout.
        sizes: Root mean squares of drawn weights, by what they were drawn with (`MADE_WITH`), the
            record's seed and the weight: the same draws, and no others, have the same.
    """

    weights: Mapping[str, Entry]
    dropout: Mapping[str, Entry]
    layers: Mapping[str, Entry]
    digests: Mapping[int, str]
    repeats: bool
    mask_seeds: Sequence[int]
    spreads: Mapping[str, float]
    sizes: Mapping[tuple[str, ...], float]


def drawn_by(records: Sequence[Record]) -> Drawn:
    """Put together what the records of one case drew with their seeds.

    Raises:
        RecordError: If an entry is none of `FIELDS`, or lacks one of its own.
    """
    entries = [entry for record in records for entry in checked(record)]
    builds = [entry for entry in entries if entry["quantity"] == "builds"]
    steps = [entry for entry in entries if entry["quantity"] == "dropout steps"]
    first_again = all(entry["digests"][0] == entry["again"] for entry in builds)
    return Drawn(
        pooled(entries, ("drawn", "constant", "not finite"), weight_place),
        pooled(entries, ("dropout",), lambda entry: str(entry["layer"])),
        {**pooled(entries, ("dropout layers",), pair), **strongest(entries)},
        {seed: key for entry in builds for seed, key in zip(entry["seeds"], entry["digests"])},
        first_again and all(entry["repeats"] == 1 for entry in steps),
        [seed for entry in steps for seed in entry["seeds"]],
        {
            name: float(np.mean([entry[name] for entry in steps]))
            for name in (steps[0] if steps else ())
            if name.endswith("_spread")
        },
        {key: size for record in records for key, size in sizes_of(record)},
    )


def sizes_of(record: Record) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the root mean square of each drawn weight; none of a record that states too little."""
    made = [str(record.environment.get(name, "")) for name in MADE_WITH]
    for entry in record.statistics:
        if all(made) and entry["quantity"] == DRAWN:
            yield (*made, str(record.seed), weight_place(entry)), entry["rms"]


def checked(record: Record) -> Sequence[Entry]:
    """Give the entries of a record that has all that is judged.

    Raises:
        RecordError: If it has not.
    """
    for entry in record.statistics:
        expected = FIELDS.get(str(entry.get("quantity")), ("quantity as in FIELDS",))
        lacking = [name for name in expected if name not in entry]
        if lacking:
            raise RecordError(
                f"{record.name} of {record.release} cannot be judged: an entry of its statistics "
                f"({entry.get('quantity')!r}) has no {lacking[0]}. Expected: "
                f"{', '.join(expected)}. Make the record anew."
            )
    return record.statistics


def weight_place(entry: Entry) -> str:
    """Name a weight, as in ``kernel of Conv2D 1``."""
    return f"{entry['weight']} of {entry['layer']}"


def pair(entry: Entry) -> str:
    """Name the two layers of an entry."""
    return " and ".join(entry["layers"])


def strongest(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Find the strongest correlation between layers of all seeds, and the pairs it was chosen of.

    A pair of layers that stands out with one seed alone is chance: each seed counts.
    """
    found = [entry for entry in entries if entry["quantity"] == "layers"]
    if not found:
        return {}
    chosen = max(found, key=lambda entry: abs(entry["correlations"]["layers"][0]))
    pairs = sum(entry["pairs"] for entry in found)
    return {"": {**chosen, "pairs": pairs, "repeat": repeated(found)}}


def pooled(entries: Iterable[Entry], quantities: Sequence[str], name: Any) -> dict[str, Entry]:
    """Pool the entries of some `quantities` that have one `name`."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry["quantity"] in quantities:
            groups.setdefault(name(entry), []).append(entry)
    return {key: pool(group) for key, group in groups.items()}


def pool(group: Sequence[Entry]) -> Entry:
    """Pool entries of one thing: counts add up, shares and moments are weighted by the draws."""
    if len({entry["quantity"] for entry in group}) > 1:
        return {**group[0], "quantity": MIXED}
    if len(group) == 1:
        return group[0]
    found = {**group[0], "correlations": correlations(group)}
    for name in ("draws", "counts"):
        if name in found:
            found[name] = np.sum([entry[name] for entry in group], axis=0).tolist()
    for name in ("largest", "scale_error", "inference_change", "gradient_error", "value"):
        if name in found:
            found[name] = max((entry[name] for entry in group), key=abs)
    if "repeat" in found:
        found["repeat"] = repeated(group)
    weights = [entry.get("draws", 1) for entry in group]
    for name in ("mean", "share", "scale"):
        if name in found:
            found[name] = float(np.average([entry[name] for entry in group], weights=weights))
    return {**found, **moments(group, weights)} if "rms" in found else found


def repeated(group: Sequence[Entry]) -> dict[str, Any]:
    """Take the lag at which the draws of any entry repeat most, of so many that were tried."""
    repeats = [entry["repeat"] for entry in group]
    chosen = max(repeats, key=lambda row: abs(row["correlation"][0]))
    return {**chosen, "lags": sum(row["lags"] for row in repeats)}


def moments(group: Sequence[Entry], weights: Sequence[int]) -> dict[str, float]:
    """Pool the root mean squares and the kurtoses of entries."""
    squares = np.array([entry["rms"] ** 2 for entry in group])
    fourths = np.array([entry["kurtosis"] for entry in group]) * squares**2
    square = np.average(squares, weights=weights)
    kurtosis = np.average(fourths, weights=weights) / square**2
    return {"rms": float(np.sqrt(square)), "kurtosis": float(kurtosis)}


def correlations(group: Sequence[Entry]) -> dict[str, list[float]]:
    """Pool the correlations of entries, each weighted by its pairs."""
    names = list(group[0].get("correlations", {}))
    found = {}
    for name in names:
        rows = [entry["correlations"][name] for entry in group if name in entry["correlations"]]
        values, pairs = zip(*rows)
        found[name] = [float(np.average(values, weights=pairs)), float(sum(pairs))]
    return found


def looks_like(entry: Entry) -> str:
    """Say what distribution and what rule for its variance drawn weights look like."""
    rules = [
        name for name, expected in expectations(entry["fans"]).items() if near(entry, expected)
    ]
    named = " or ".join(rules[:LISTED])
    return f"{shape(entry)}, {named}" if named else f"{shape(entry)}, of no rule of Keras"


def near(entry: Entry, expected: float) -> bool:
    """True where a root mean square could be the `expected` one, but for chance."""
    chance = np.sqrt((entry["kurtosis"] - 1) / (4 * entry["draws"]))  # standard error, as a share
    return bool(abs(entry["rms"] / expected - 1) < max(NEAR, SURE * chance))


def expectations(fans: Sequence[int]) -> dict[str, float]:
    """Compute the standard deviation by each rule, for the numbers of inputs and outputs."""
    taken, given = fans
    by_fan = {
        f"variance {name}": float(np.sqrt(scale / (taken * (1 - share / 2) + given * share / 2)))
        for name, (share, scale) in RULES.items()
    }
    return {**by_fan, **{f"standard deviation {name}": value for name, value in FIXED.items()}}


def shape(entry: Entry) -> str:
    """Name the distribution by its kurtosis."""
    name, expected = min(SHAPES.items(), key=lambda row: abs(row[1] - entry["kurtosis"]))
    near_enough = abs(expected - entry["kurtosis"]) < NEAR_KURTOSIS
    return name if near_enough else f"of kurtosis {entry['kurtosis']:.2f}"
