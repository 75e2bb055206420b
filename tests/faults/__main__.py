"""Plant every fault, or those that are named, and print the score first."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from suite.stacks.loading import load
from tests.faults import costs, pictured, unbroken
from tests.faults import small as quick
from tests.faults.bench import Bench, Probe, small_tier
from tests.faults.bookkeeping import BOOKKEEPING, tampered
from tests.faults.fault import Fault, Tampering
from tests.faults.probes import SMALL_TIER
from tests.faults.score import Honest, Outcome, as_json, of_json, outcome, page
from tests.faults.table import FAULTS


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write the score; 1 where a fault was missed without a known reason."""
    parser = argparse.ArgumentParser(prog="nox -s faults --")
    parser.add_argument("names", nargs="*", help="names or groups of faults; all")
    parser.add_argument("--small", action="store_true", help="on a network of a few layers")
    parser.add_argument("--unbroken", type=Path, metavar="DIR", help="count false alarms instead")
    parser.add_argument(
        "--first-seed", type=int, default=unbroken.FIRST_SEED, help="of the five unbroken ones"
    )
    parser.add_argument("--pictures", action="store_true", help="renew the docs' pictures instead")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--resume", action="store_true", help="keep what the JSON file holds")
    options = parser.parse_args(arguments)
    if options.pictures:
        return pictured.main(options.names)
    if options.unbroken:
        return unbroken.count_alarms(options.unbroken, options.first_seed)
    rows = (*FAULTS.values(), *BOOKKEEPING)
    known = {row.name for row in rows} | {row.group for row in rows}
    for name in options.names:
        if name not in known:
            parser.error(f"{name} is no fault and no group: one of {', '.join(sorted(known))}")
    former = of_json(options.json.read_text()) if options.resume else {}
    made = [*former.values()]
    with opened(small=options.small) as (bench, probes):
        measure(options, made, Honest(bench), probes)
    if options.markdown:
        options.markdown.write_text(page(made))
    print(page(made))  # noqa: T201 - a command prints
    return int(any(not each.layer and not each.missed for each in made))


@contextlib.contextmanager
def opened(*, small: bool) -> Iterator[tuple[Bench, Sequence[Probe]]]:
    """Open the bench of the small tier, or the one that takes seconds a fault and no data."""
    if not small:
        yield small_tier(), SMALL_TIER
        return
    with quick.bench(load()) as bench:
        yield bench, quick.PROBES


def measure(
    options: argparse.Namespace, made: list[Outcome], honest: Honest, probes: Sequence[Probe]
) -> None:
    """Plant and measure what is asked for and not made yet; keep each as soon as it is known."""
    former = {each.name for each in made}
    for fault in (*FAULTS.values(), *BOOKKEEPING):
        wanted = not options.names or {fault.name, fault.group} & {*options.names}
        if wanted and fault.name not in former:
            made.append(found(fault, honest, probes))
            told(made[-1])
            if options.json:
                options.json.write_text(as_json(made))


def found(fault: Fault | Tampering, honest: Honest, probes: Sequence[Probe]) -> Outcome:
    """Plant a fault where it belongs: in the records, in a worker, or in this process."""
    if isinstance(fault, Tampering):
        return tampered(fault)
    if fault.name in costs.CHANGES:
        return costs.outcome(fault)
    return outcome(fault, probes, honest)


def told(made: Outcome) -> None:
    """Say at once what became of a fault, beside the answer."""
    found = f"{made.layer}, {made.case}: {made.words[:300]}" if made.layer else "MISSED"
    text = f"{made.name} ({made.seconds:.0f} s): {found}"
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - likewise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
