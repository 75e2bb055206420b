"""Scaling, told: how long a plan takes on so many nodes, where more gain nothing, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from suite.judge.scaling import (
    CASES,
    PARTS,
    Costs,
    Measured,
    Simulated,
    TimedJob,
    enough,
    longest_first,
    simulated,
    split,
)
from suite.report.grid import markdown_grid

NODES = (1, 2, 8, 100, 1000)
READY = "environments and data on the nodes beforehand"
WHOLE, APART = "a job has all seeds of a case", "a job for each seed"
COLUMNS = ("nodes", "time", "measures", "node-hours", "the rest of the nodes' time")
SHOWN = 0.02  # share of the nodes' time from which on a part is named
MINUTES_S, HOURS_S = 90, 5400  # times are written in minutes, and in hours, from there on
NAMED: Mapping[str, str] = {
    "node": "start of a node", "data": "data, once a node",
    "environment": "environment, once a node and row", "start": "start of a job",
    "task": "handing a job out", "filed": "storing a job's records",
}  # fmt: skip
"""What each field of `Costs` is, in words."""
PACE = 2.0  # times as long: a job on a straggler


def scaling_markdown(jobs: Sequence[TimedJob], measured: Measured) -> str:
    """Write the answer, a table for each way to run the plan, and what they are made from.

    Args:
        jobs: In the order in which they are handed out.
        measured: What a real cluster took beside the cases.
    """
    costs = measured.costs
    ready = costs._replace(environment=0.0, data=0.0)
    ways = (
        (f"{WHOLE}, as it is", jobs, costs),
        (f"{WHOLE}; {READY}", jobs, ready),
        (APART, split(jobs), costs),
        (f"{APART}; {READY}", split(jobs), ready),
    )
    parts = [answer(jobs, costs)]
    for name, planned, own in ways:
        found = [simulated(planned, count, own) for count in NODES]
        parts += [f"**{name[0].upper()}{name[1:]}** ({len(planned):,} jobs):"]
        parts += [markdown_grid(COLUMNS, [cells(run) for run in found])]
    return "\n\n".join([*parts, " ".join(asides(jobs, costs)), inputs(measured)])


def inputs(measured: Measured) -> str:
    """Tell the measured numbers that went in, and how far the simulation is from a measurement."""
    spent = ", ".join(
        f"{NAMED[name]} {value:.2g} s" for name, value in measured.costs._asdict().items()
    )
    held = "; ".join(
        f"on {check.nodes} node{'s' * (check.nodes > 1)} {check.measured:.0%} measured, "
        f"{check.simulated:.0%} simulated"
        for check in measured.checks
    )
    versions = ", ".join(f"{name} {version}" for name, version in measured.versions.items())
    return (
        f"Measured beside the cases ({measured.machine}; {versions}; medians): {spent}. The "
        "simulation held against a measurement, as the share of the nodes' time that cases take: "
        f"{held or 'not yet, as that share was not measured'}."
    )


def answer(jobs: Sequence[TimedJob], costs: Costs) -> str:
    """Say first where the plan stops scaling and why, then what would go further."""
    found = enough(jobs, costs)
    rows, runs = {job.row for job in jobs}, sum(len(job.runs) for job in jobs)
    longest = max(jobs, key=lambda job: sum(run.seconds for run in job.runs))
    apart = enough(split(jobs), costs)
    return (
        f"**It stops scaling at about {found.nodes:,} nodes, because "
        f"{because(found, longest)}** The plan: {runs:,} runs, "
        f"{len(rows)} rows and {len(longest.runs)} seeds, {hours(measured_s(jobs))} of cases. "
        f"{found.nodes:,} nodes take {hours(found.seconds)}, one takes "
        f"{hours(simulated(jobs, 1, costs).seconds)}. With a job for each seed it would stop at "
        f"about {apart.nodes:,} nodes and {hours(apart.seconds)}, where {part_of(apart)}."
    )


def because(found: Simulated, longest: TimedJob) -> str:
    """Say what bounds a plan that more nodes do not shorten."""
    share = found.longest_s / found.seconds
    if share > found.queued_s / found.seconds:
        return (
            f"one job cannot be shared: {longest.case} with its {len(longest.runs)} seeds takes "
            f"{hours(found.longest_s)} on one node, {share:.0%} of the whole."
        )
    return f"the driver stores one result at a time: the last waits {hours(found.queued_s)}."


def part_of(run: Simulated) -> str:
    """Say what the nodes' time goes to, the largest share first."""
    return f"the nodes measure for {run.efficiency:.0%} of their time ({rest(run)})"


def rest(run: Simulated) -> str:
    """Name what else the nodes' time goes to, as shares of it."""
    whole = run.nodes * run.seconds
    shares = {name: run.spent[name] / whole for name in PARTS if name != CASES}
    named = sorted((name for name in shares if shares[name] >= SHOWN), key=lambda n: -shares[n])
    return ", ".join(f"{name} {shares[name]:.0%}" for name in named) or "-"


def cells(run: Simulated) -> tuple[str, ...]:
    """Write a row of the table."""
    nodes, hour = f"{run.nodes:,}", f"{run.node_hours:.1f}"
    return nodes, hours(run.seconds), f"{run.efficiency:.0%}", hour, rest(run)


def asides(jobs: Sequence[TimedJob], costs: Costs) -> Iterator[str]:
    """Say what another order, and a slow node, would change."""
    for count in NODES[-2:]:
        same = simulated(jobs, count, costs)
        ordered = simulated(longest_first(jobs), count, costs)
        slow = simulated(longest_first(jobs), count, costs, slow=[0], pace=PACE)
        yield (
            f"On {count:,} nodes the longest jobs first would take {hours(ordered.seconds)} "
            f"instead of {hours(same.seconds)}; were the node of the longest job {PACE:g} times as "
            f"slow (assumed, not measured), {hours(slow.seconds)}."
        )


def measured_s(jobs: Sequence[TimedJob]) -> float:
    """Add up the time of all cases."""
    return sum(run.seconds for job in jobs for run in job.runs)


def hours(seconds: float) -> str:
    """Write a time in the unit that fits."""
    if seconds < MINUTES_S:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < HOURS_S else f"{seconds / 3600:.1f} h"
