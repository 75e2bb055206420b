"""The page of parity: what the comparison of two releases, step by step, has found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from suite.judge.parity.compare import Comparison
from suite.judge.parity.distances import Distance, tolerance_name
from suite.report.grid import markdown_grid
from suite.report.text import markdown, printable

COLUMNS = ("quantity", "step 0", "allowed", "later steps", "allowed", "largest at")


def section(found: Comparison) -> str:
    """Write what was found in one case in Markdown, with the largest distance of each quantity."""
    lines = "\n".join(f"- {markdown(line)}" for line in findings(found))
    head = markdown(f"{_name(found)}: {_verdict(found)}")
    return "\n\n".join(filter(None, (f"### {head}", lines, _table(found.distances))))


def parity_summary(release: str, reference: str, *, agree: int, known: int, traces: int) -> str:
    """Say how many traces of a release agree, and how many of these but for known differences."""
    aside = f" ({known} but for known differences)" if known else ""
    return printable(f"{agree} of {traces} traces of {release} agree with {reference}'s{aside}.")


def paragraph(found: Comparison) -> str:
    """Write the verdict on one case and, indented, what was found."""
    lines = [f"{_name(found)}: {_verdict(found)}", *(f"  {line}" for line in findings(found))]
    return "\n".join(map(printable, lines))


def findings(found: Comparison) -> Iterator[str]:
    """Write what was found in one case.

    Yields:
        One sentence each; "here" is the release, "there" the reference.
    """
    first = found.first
    if first:
        yield f"first divergence: {first.place}, by {first.against}"
        layers = _others(found.distances, first)
        if layers:
            yield layers
    for cause in found.causes:
        yield f"looks like: {cause}"
    if first and not found.causes:
        yield "looks like: none of the causes the suite knows"
    for known in found.known:
        yield f"known difference: {known}"
    if found.nearest and not first:
        yield f"nearest to its tolerance: {found.nearest.place}, {found.nearest.against}"


def _others(distances: Sequence[Distance], first: Distance) -> str:
    """Count what diverges at the first step at which anything does, by quantity."""
    step = first.place.step
    counts: dict[str, int] = {}
    for distance in distances:
        if distance.diverges and distance.place.step == step:
            name = tolerance_name(distance.place)
            counts[name] = counts.get(name, 0) + 1
    listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
    return f"diverging at step {step}, with the number of places: {listed}"


def _name(found: Comparison) -> str:
    """Name the case, the seed and the state."""
    state = f", from the state after step {found.state}" if found.state else ""
    return f"{found.case} (seed {found.seed}{state})"


def _verdict(found: Comparison) -> str:
    """Write the verdict in a few words."""
    if not found.agrees:
        return f"DIVERGES from {found.reference}"
    return "agrees but for known differences" if found.known else "agrees"


def _table(distances: Sequence[Distance]) -> str:
    """Write the largest distances of each quantity, at step 0 and later, as a Markdown table."""
    own: dict[str, list[Distance]] = {}
    for distance in distances:
        own.setdefault(tolerance_name(distance.place), []).append(distance)
    return markdown_grid(COLUMNS, [_row(name, found) for name, found in own.items()])


def _row(name: str, distances: Sequence[Distance]) -> tuple[str, ...]:
    """Write the row of one quantity."""
    first = _largest(distance for distance in distances if distance.place.step == 0)
    later = _largest(distance for distance in distances if distance.place.step > 0)
    worst = _largest(found for found in (first, later) if found)
    return (name, *_cells(first), *_cells(later), str(worst.place) if worst else "-")


def _largest(distances: Iterable[Distance]) -> Distance | None:
    """Find the largest distance; NaN is larger than any number."""
    return max(distances, key=lambda found: (found.value != found.value, found.value), default=None)


def _cells(distance: Distance | None) -> tuple[str, str]:
    """Write a distance and how much is allowed as two cells."""
    return (f"{distance.value:.2g}", distance.allowed) if distance else ("-", "-")
