"""What the comparison of releases step by step found, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from suite.judge.parity.compare import Comparison
from suite.judge.parity.distances import FINITE, Distance, tolerance_name
from suite.report.grid import markdown_grid

COLUMNS = ("quantity", "step 0", "allowed", "later steps", "allowed", "largest at")


def parity_text(comparisons: Sequence[Comparison]) -> str:
    """Return what was found, a paragraph a case and a line that sums up."""
    return "\n".join([*map(paragraph, comparisons), "", parity_summary(comparisons)])


def parity_markdown(comparisons: Sequence[Comparison]) -> str:
    """Return the same in Markdown, with the largest distance of every quantity."""
    release, reference = comparisons[0].release, comparisons[0].reference
    sections = [f"## {release} against {reference}, step by step", parity_summary(comparisons)]
    for found in comparisons:
        lines = "\n".join(f"- {line}" for line in findings(found))
        sections += [f"### {_name(found)}: {_verdict(found)}", lines, _table(found.distances)]
    return "\n\n".join(section for section in sections if section) + "\n"


def parity_summary(comparisons: Sequence[Comparison]) -> str:
    """Return how many traces agree."""
    agree = sum(found.agrees for found in comparisons)
    release, reference = comparisons[0].release, comparisons[0].reference
    known = sum(bool(found.known) and found.agrees for found in comparisons)
    aside = f" ({known} but for known differences)" if known else ""
    return f"{agree} of {len(comparisons)} traces of {release} agree with {reference}'s{aside}."


def paragraph(found: Comparison) -> str:
    """Return the verdict on one case, and indented what was found."""
    return "\n".join(
        [f"{_name(found)}: {_verdict(found)}", *(f"  {line}" for line in findings(found))]
    )


def findings(found: Comparison) -> Iterator[str]:
    """Yield what was found in one case, a sentence each; `here` is the release."""
    first = found.first
    if first:
        yield f"first divergence: {first.place}, by {_against(first)}"
        layers = _others(found.distances, first)
        if layers:
            yield layers
    for cause in found.causes:
        yield f"looks like: {cause}"
    if found.causes == [] and first:
        yield "looks like: none of the causes the suite knows"
    for known in found.known:
        yield f"known difference: {known}"
    compared = [distance for distance in found.distances if 0 < distance.tolerance < FINITE]
    if compared and not first:
        worst = max(compared, key=lambda distance: distance.value / distance.tolerance)
        yield f"nearest to its tolerance: {worst.place}, {_against(worst)}"


def _others(distances: Sequence[Distance], first: Distance) -> str:
    """Return what else diverges at the first step that does."""
    step = first.place.step
    counts: dict[str, int] = {}
    for distance in distances:
        if distance.diverges and distance.place.step == step:
            name = tolerance_name(distance.place)
            counts[name] = counts.get(name, 0) + 1
    listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
    return f"diverging at step {step}, with the number of places: {listed}"


def _name(found: Comparison) -> str:
    """Return case and seed."""
    return f"{found.case} (seed {found.seed})"


def _verdict(found: Comparison) -> str:
    """Return the verdict in a word or two."""
    if not found.agrees:
        return f"DIVERGES from {found.reference}"
    return "agrees but for known differences" if found.known else "agrees"


def _against(distance: Distance) -> str:
    """Return a distance and what is allowed."""
    return f"{distance.value:.2g} where {_allowed(distance)} is allowed"


def _table(distances: Sequence[Distance]) -> str:
    """Return the largest distance of every quantity at step 0 and later, as a Markdown table."""
    names = dict.fromkeys(tolerance_name(distance.place) for distance in distances)
    rows = []
    for name in names:
        own = [distance for distance in distances if tolerance_name(distance.place) == name]
        first = _largest(distance for distance in own if distance.place.step == 0)
        later = _largest(distance for distance in own if distance.place.step > 0)
        worst = _largest(found for found in (first, later) if found)
        rows.append((name, *_cells(first), *_cells(later), str(worst.place) if worst else "-"))
    return markdown_grid(COLUMNS, rows)


def _largest(distances: Iterable[Distance]) -> Distance | None:
    """Return the largest distance, one that is not a number before all others."""
    return max(distances, key=lambda found: (found.value != found.value, found.value), default=None)


def _cells(distance: Distance | None) -> tuple[str, str]:
    """Return the value and what is allowed."""
    return (f"{distance.value:.2g}", _allowed(distance)) if distance else ("-", "-")


def _allowed(distance: Distance) -> str:
    """Return the tolerance, or that any number will do."""
    return "any number" if distance.tolerance == FINITE else f"{distance.tolerance:.2g}"
