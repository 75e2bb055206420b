"""`report`: one page of everything that records, baselines and verdicts tell, answer first."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from suite.cases import has_baseline
from suite.commands import costs
from suite.commands.gating import Gate, judged, told_of
from suite.commands.options import named
from suite.errors import RecordError, SuiteError
from suite.files import read_within, write_atomically
from suite.judge.compatibility import TIER
from suite.judge.gate.cost import Start
from suite.judge.gate.decide import PLAN
from suite.judge.gate.evidence import ASKED, STEPS, Side
from suite.judge.gate.evidence import Evidence as Gathered
from suite.judge.parity.compare import compare_states
from suite.judge.staleness import present
from suite.locks import lock_of, pins_of
from suite.records import Record
from suite.releases import read_releases
from suite.report.html.commands import Given
from suite.report.html.judged import Judged, of_json, of_told
from suite.report.html.report import Evidence, Unread, report
from suite.report.html.runs import Run, run_of
from suite.report.html.steps import Steps, step_map, words
from suite.report.text import printable
from suite.store import NAME, Place, places, read_resident
from suite.tables import TIERS, asked

VERDICT_BYTES = 50_000_000  # of a verdict, which has about 200 kB
MIB = 2.0**20
BASELINES = Path("baselines")  # unless another folder is named
NOT_NAMED = "it is not named after a record, expected CASE-seedNUMBER.json. Move it away."
NO_ROW = "it is no row of the release table, so the gate cannot judge it; its numbers are shown."
ASIDE = (
    "a further folder of records of {}: they are shown and not judged, as the gate judges one "
    "folder a row, here that in {}. Put them into one folder, or give the other first."
)
NOT_THERE = (
    "--{0} {1}: found neither records of the small tier of {1} nor a verdict about it, expected "
    'one of {2}. Correct the name, measure the row (nox -s "benchmarks(ROW)"), or name where its '
    "records lie with --records, --baselines or --verdict."
)
NOT_JUDGED = (
    "--candidate {}: it cannot be held against {}: {}. Name with --baseline another row that has "
    "records or a stored baseline, or measure that one."
)
NOTHING = (
    "{} hold no record, and no verdict was given: there is nothing to report. Measure a row "
    '(`nox -s "benchmarks(ROW)"`), or name folders and files that are there with --records, '
    "--baselines and --verdict."
)


class Home(NamedTuple):
    """Where the records of the small tier of a row lie.

    Attributes:
        root: The folder of all records, or of all baselines.
        stored: True for a baseline.
    """

    root: Path
    stored: bool


class Found(NamedTuple):
    """What was read, as it is read.

    Attributes:
        runs: What the records tell.
        homes: The rows that have records of the small tier, with all places of them.
        unread: What could not be read or judged.
        folders: The first folder of records, by row and tier.
    """

    runs: list[Run]
    homes: dict[str, list[Home]]
    unread: list[Unread]
    folders: dict[tuple[str, str], str]


def main(arguments: Sequence[str]) -> int:
    """Write the report, say what it answers and where it lies; 0 whatever the answer is.

    Raises:
        SuiteError: If there is nothing to report, or the file cannot be written.
    """
    options = _parser().parse_args(arguments)
    evidence = gathered(options)
    content = report(evidence).encode("utf-8", "replace")
    write_atomically(options.output, content)
    for answer in [*evidence.judged.values()][:1]:
        print(printable(answer.answer))
    unread = f"; {len(evidence.unread)} things could not be read or judged" * bool(evidence.unread)
    print(
        printable(
            f"{options.output}: {len(evidence.runs)} records of {len(evidence.releases)} rows, "
            f"{len(content) / MIB:.1f} MiB{unread}"
        )
    )
    return 0


def gathered(options: argparse.Namespace) -> Evidence:
    """Read records, baselines and verdicts, and have the gate judge what no verdict does.

    Raises:
        SuiteError: If a folder or a row that was named is not there, or nothing could be read.
    """
    found = Found([], {}, [], {})
    rows = [row.name for row in read_releases()]
    for root, stored in _roots(options):
        _read(root, stored, rows, found)
    found.unread.extend(_aside(found.homes))
    verdicts = [*_verdicts(options.verdict, found.unread)]
    if not found.runs and not verdicts and not found.unread:
        raise RecordError(NOTHING.format(", ".join(str(root) for root, _ in _roots(options))))
    told = {own.candidate: own for own in reversed(verdicts)}
    releases = _ordered(rows, found, told.values())
    known = {row: homes for row, homes in found.homes.items() if row in rows}
    _check_named(options, known, verdicts)
    candidate, reference = _compared(options, releases, known, verdicts, _whole(found.runs))
    made = _beside(candidate, reference, found, told, options.baselines or BASELINES)
    if options.candidate and candidate not in made.judged:
        raise RecordError(_not_judged(candidate, reference, found.unread))
    order = [candidate, *releases]
    return Evidence(
        releases=releases,
        reference=reference,
        runs=found.runs,
        judged={row: made.judged[row] for row in order if row in made.judged},
        others=[own for own in verdicts if own is not told[own.candidate]],
        expected={name: case.question for name, case in asked(TIER).items()},
        traces=made.traces,
        starts=made.starts,
        pins=_pins(found.unread),
        unread=found.unread,
        places=[*(str(root) for root, _ in _roots(options)), *map(str, options.verdict)],
        given=Given(found.folders if options.records else {}, str(options.baselines or "")),
    )


def _roots(options: argparse.Namespace) -> Iterator[tuple[Path, bool]]:
    """Yield the folders of records, then that of baselines; those that were named must be there.

    Raises:
        RecordError: If one is not.
    """
    for root in options.records or [Path("records")]:
        if options.records and not root.is_dir():
            raise RecordError(f"{root} is no folder. Name one of records with --records.")
        yield root, False
    if options.baselines and not options.baselines.is_dir():
        raise RecordError(f"{options.baselines} is no folder. Name that of the baselines.")
    yield options.baselines or BASELINES, True


def _read(root: Path, stored: bool, rows: Sequence[str], found: Found) -> None:
    """Read all records below a folder, and note what cannot be read."""
    for place in places(root, releases=rows, tiers=TIERS):
        if place.fault:
            found.unread.append(Unread(str(place.path), place.fault))
            continue
        for path in _files(place, found):
            try:
                steps = path.name.startswith(f"{STEPS}-")
                record = read_resident(path, bare=steps)
            except RecordError as error:
                found.unread.append(Unread(str(path), str(error)))
                continue
            _keep(record, path, Home(root, stored), found)


def _files(place: Place, found: Found) -> Iterator[Path]:
    """Yield the files of one release and tier that are named after a record."""
    for path in sorted(place.path.glob("*.json")):
        if NAME.fullmatch(path.stem):
            yield path
        else:
            found.unread.append(Unread(str(path), NOT_NAMED))


def _keep(record: Record, path: Path, home: Home, found: Found) -> None:
    """Keep what the page shows of a record, and where its steps lie."""
    run = run_of(record, stored=home.stored)
    found.runs.append(run)
    found.unread.extend(Unread(str(path), f"{fault}. The rest is shown.") for fault in run.faults)
    if not home.stored:
        found.folders.setdefault((record.release, record.tier), str(home.root))
    if record.tier == TIER:
        homes = found.homes.setdefault(record.release, [])
        homes += [home] if home not in homes else []


def _aside(homes: dict[str, list[Home]]) -> Iterator[Unread]:
    """Yield the folders of records beside the one of each row that the gate judges."""
    for release, own in homes.items():
        for further in own[1:]:
            if not further.stored:
                where = str(further.root / release)
                yield Unread(where, ASIDE.format(release, own[0].root))


def _verdicts(files: Iterable[Path], unread: list[Unread]) -> Iterator[Judged]:
    """Yield the answers of the gate that files hold, and note what is none."""
    for path in files:
        try:
            yield of_json(read_within(path, VERDICT_BYTES), str(path))
        except (OSError, ValueError, SuiteError) as error:
            unread.append(Unread(str(path), str(error)))


def _ordered(rows: Sequence[str], found: Found, verdicts: Iterable[Judged]) -> list[str]:
    """List the rows that anything is known of, the newest first, strangers last."""
    there = {run.record.release for run in found.runs}
    there |= {name for own in verdicts for name in (own.candidate, own.baseline)}
    return [*(row for row in rows if row in there), *sorted(there - {*rows})]


def _check_named(
    options: argparse.Namespace, homes: dict[str, list[Home]], verdicts: Sequence[Judged]
) -> None:
    """Refuse a row that was named and of which there is nothing to judge.

    Raises:
        RecordError: If one is.
    """
    for option in ("candidate", "baseline"):
        name = getattr(options, option)
        there = dict.fromkeys([*homes, *(getattr(own, option) for own in verdicts)])
        if name and name not in there:
            raise RecordError(NOT_THERE.format(option, name, ", ".join(there) or "none at all"))


def _not_judged(candidate: str, reference: str, unread: Sequence[Unread]) -> str:
    """Say why the row that was named could not be judged."""
    why = (one.why for one in unread if one.what == f"{candidate} beside {reference}")
    return NOT_JUDGED.format(
        candidate, reference or "an older row", next(why, "there is no record")
    )


def _compared(
    options: argparse.Namespace,
    releases: Sequence[str],
    homes: dict[str, list[Home]],
    verdicts: Sequence[Judged],
    whole: Collection[str],
) -> tuple[str, str]:
    """Choose the row that the page answers for, and the one that all are compared with.

    As named; or those of the first verdict; or the newest row with records of its own (or with a
    baseline), and the next older one, if possible one of the `whole` ones.
    """
    if verdicts:
        first = verdicts[0]
        return options.candidate or first.candidate, options.baseline or first.baseline
    there = [row for row in releases if row in homes]
    measured = [row for row in there if any(not home.stored for home in homes[row])]
    for candidate in [options.candidate] if options.candidate else [*measured, *there]:
        reference = options.baseline or _older(candidate, there, homes, whole)
        if reference:
            return candidate, reference
    return options.candidate or "", options.baseline or ""


def _whole(runs: Iterable[Run]) -> set[str]:
    """List the rows that have more than steps and draws, which never end with a yes."""
    own = (run.record for run in runs)
    return {record.release for record in own if record.tier == TIER and has_baseline(record.case)}


def _older(
    candidate: str, there: Sequence[str], homes: dict[str, list[Home]], whole: Collection[str]
) -> str:
    """Name the next older row that has records, or the row itself if it has a baseline too."""
    behind = there[there.index(candidate) + 1 :] if candidate in there else []
    behind = [row for row in behind if row in whole] or behind
    both = {home.stored for home in homes.get(candidate, ())} == {True, False}
    return behind[0] if behind else candidate if both else ""


class Beside(NamedTuple):
    """What came of holding the rows against the reference.

    Attributes:
        judged: What the gate says of each, by row.
        traces: The comparisons of their steps as a figure and in words, by row and case.
        starts: What workers of both measured in turn, by row and case.
    """

    judged: dict[str, Judged]
    traces: dict[tuple[str, str], Steps]
    starts: dict[str, dict[str, list[Start]]]


def _beside(
    candidate: str, reference: str, found: Found, verdicts: dict[str, Judged], baselines: Path
) -> Beside:
    """Hold each row against the reference: what a verdict tells is not judged anew."""
    made, known = Beside(dict(verdicts), {}, {}), dict[Home, Gathered]()
    rows = {row.name for row in read_releases()}
    for release in found.homes:
        if release not in rows:
            found.unread.append(Unread(release, NO_ROW))
            continue
        homes = _homes(release, reference, found.homes)
        if homes is None or reference not in rows or (release == reference != candidate):
            continue
        try:
            earlier = known.get(homes[0])
            before = earlier.side if earlier else _side(reference, homes[0])
            gate = _gate((before, _side(release, homes[1])), baselines)
            answer, evidence = judged(gate, earlier)
            known[homes[0]] = evidence[0]
            if release not in verdicts:
                made.judged[release] = of_told(told_of(gate, [], answer, evidence))
            made.traces.update(_steps(release, evidence, found.unread))
            if not gate.stored:
                place = costs.place(gate.options.records, gate.sides)
                made.starts[release] = costs.read(place).starts
        except SuiteError as error:
            found.unread.append(Unread(f"{release} beside {reference}", str(error)))
    return made


def _steps(
    release: str, evidence: Sequence[Gathered], unread: list[Unread]
) -> Iterator[tuple[tuple[str, str], Steps]]:
    """Yield the comparisons of the steps of a row with those of the reference."""
    before, after = (
        {record.name: record for record in own.records if record.question == STEPS}
        for own in evidence
    )
    for name in sorted({*before} & {*after}):
        try:
            compared = compare_states(after[name], before[name])
        except RecordError as error:
            unread.append(Unread(f"{name} of {release}", str(error)))
            continue
        yield (release, after[name].case), Steps(step_map(compared), words(compared))


def _homes(release: str, reference: str, homes: dict[str, list[Home]]) -> tuple[Home, Home] | None:
    """Say what is compared: records where there are some, else the stored baseline."""
    if reference not in homes or release not in homes:
        return None
    before, after = homes[reference][0], homes[release][0]
    if release == reference:
        before = homes[reference][-1]
        if before == after or not before.stored:
            return None
    return before, after


def _side(release: str, home: Home) -> Side:
    """Describe one side of a comparison."""
    name = f"the stored baseline of {release}" if home.stored else release
    return Side(name, release, home.root, TIER, {}, present(release, TIER), home.stored)


def _gate(sides: tuple[Side, Side], baselines: Path) -> Gate:
    """Have the gate judge what lies there, stale records too: it is then undecided at best."""
    options = argparse.Namespace(
        records=sides[1].root, baselines=baselines, cases=[], margin={}, seeds=None, no_run=True,
        stale=True,
    )  # fmt: skip
    cases = {name: case for name, case in asked(TIER).items() if case.question in ASKED}
    return Gate(options, sides, cases, PLAN)


def _pins(unread: list[Unread]) -> dict[str, dict[str, str]]:
    """Read the versions that the locks of all rows hold."""
    found = {}
    for row in read_releases():
        try:
            found[row.name] = dict(pins_of(lock_of(row).path))
        except (OSError, SuiteError) as error:
            unread.append(Unread(f"lock of {row}", str(error)))
    return {name: own for name, own in found.items() if own}


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s report --",
        description="Write one page of everything that records, baselines and verdicts tell. With "
        "no option: of what the repository has.",
        allow_abbrev=False,
    )
    for name, what in (
        ("records", "a folder of records (records); may be given several times"),
        ("verdict", "what the gate wrote with --json; likewise"),
    ):
        metavar = "FILE" if name == "verdict" else "DIR"
        parser.add_argument(
            f"--{name}", type=Path, action="append", default=[], metavar=metavar, help=what
        )
    parser.add_argument("--baselines", type=Path, metavar="DIR", help="the stored ones (baselines)")
    parser.add_argument("--candidate", type=named, metavar="ROW", help="what you take (newest)")
    parser.add_argument("--baseline", type=named, metavar="ROW", help="what you have (next older)")
    parser.add_argument(
        "--output", type=Path, default=Path("report.html"), metavar="FILE", help="report.html"
    )
    return parser
