"""The command line: what is judged, compared, renewed, run, downloaded and diagnosed."""
# ruff: noqa: T201 - to print is what a command line is for

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.baselines import REBASELINE, compare, rebaseline, version_notes
from suite.errors import RecordError, SuiteError
from suite.parity import compare_releases, traces
from suite.records import Record, read_records, stored_cases, write_atomically
from suite.report.steps import parity_markdown, parity_text
from suite.report.table import markdown_table, summary, terminal_width, text_table
from suite.verdicts import Verdict

if TYPE_CHECKING:
    from suite.data.folders import Listing
    from suite.examination.examine import Diagnosis

REGRESSION_STATUS = 1
ILL_STATUS = 1  # of `diagnose`: something was found
ERROR_STATUS = 2
INTERRUPTED_STATUS = 130  # what shells give for Ctrl-C
QUICKSTART = "quickstart"
STUDIES = ("study", "full-study")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 for a finding, 2 for an error."""
    parser = _parser()
    options, more = parser.parse_known_args(arguments, argparse.Namespace())
    options.more = more  # of `matrix`: what each row's benchmarks are given
    if more and options.command != "matrix":
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    commands = {
        "compare": _compare,
        "rebaseline": _rebaseline,
        "download": _download,
        "matrix": _matrix,
        "parity": _parity,
        "diagnose": _diagnose,
        "fixes": _fixes,
    }
    try:
        return commands[options.command](options)
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return ERROR_STATUS


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    folders = argparse.ArgumentParser(add_help=False)
    folders.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    folders.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR")
    parser = argparse.ArgumentParser(prog="python -m suite")
    commands = parser.add_subparsers(dest="command", required=True)
    judge = commands.add_parser("compare", parents=[folders], help="judge the records")
    judge.add_argument("--release", help="judge this release alone")
    judge.add_argument("--tier", help="judge this tier alone")
    judge.add_argument("--against", metavar="RELEASE", help="baseline of another release")
    judge.add_argument("--markdown", type=Path, metavar="FILE", help="write the report here too")
    new = commands.add_parser("rebaseline", parents=[folders], help="make records the baseline")
    new.add_argument("--release", required=True)
    new.add_argument("--tier", required=True)
    new.add_argument("--removed", action="append", default=[], metavar="CASE", help="is gone")
    steps = commands.add_parser(
        "parity", parents=[folders], help="compare the first steps of the releases"
    )
    steps.add_argument("--reference", metavar="RELEASE", help="with this one; else the default row")
    steps.add_argument("--release", help="compare this release alone")
    steps.add_argument("--tier", default="small")
    steps.add_argument("--markdown", type=Path, metavar="FILE", help="write the report here too")
    commands.add_parser("download", help="download GTSRB's official archives")
    matrix = commands.add_parser(
        "matrix",
        allow_abbrev=False,
        help="run the small tier on all rows; further options are those of a benchmark run",
    )
    matrix.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    matrix.add_argument("--rows", metavar="A,B", help="these rows of the release table, in order")
    matrix.add_argument("--jobs", type=_positive, default=1, metavar="N", help="rows at once")
    matrix.add_argument("--table", action="store_true", help="print what is stored; run nothing")
    matrix.add_argument("--readme", type=Path, metavar="FILE", help="put the table there too")
    fixes = commands.add_parser("fixes", help="compare the fixes and judge the claims")
    fixes.add_argument("--records", type=Path, nargs="+", default=[Path("records")], metavar="DIR")
    fixes.add_argument("--readme", type=Path, metavar="FILE", help="put the report there too")
    fixes.add_argument("--figure", type=Path, metavar="FILE", help="draw the default row's curves")
    _add_diagnose(commands)
    return parser


def _add_diagnose(commands: Any) -> None:
    """Add the options of `diagnose`."""
    diagnose = commands.add_parser(
        "diagnose",
        help="tell what BatchNorm does in your own network",
        description="Tell what BatchNorm does in a Keras network and what mends it. Ends with 0 if "
        "it is healthy, with 1 if something was found, with 2 if it cannot be told.",
    )
    diagnose.add_argument(
        "model", metavar="MODEL", help="a .keras or .h5 file, or PACKAGE.MODULE:FUNCTION"
    )
    _add_images(diagnose)
    diagnose.add_argument(
        "--batch", type=_positive, default=32, metavar="N", help="that you train with (default: 32)"
    )
    diagnose.add_argument(
        "--out", type=Path, default=Path("diagnosis"), metavar="DIR",
        help="where diagnosis.json and the figure go (default: diagnosis)",
    )  # fmt: skip
    diagnose.add_argument(
        "--figure", type=Path, default=Path("diagnosis.png"), metavar="NAME",
        help="of the figure in it, a .png or .svg (default: diagnosis.png)",
    )  # fmt: skip


def _add_images(diagnose: argparse.ArgumentParser) -> None:
    """Add the options that tell which images a network is diagnosed with."""
    diagnose.add_argument(
        "--data", required=True, metavar="DIR",
        help="images in one folder a class, a folder of GTSRB, or gtsrb (GTSRB_ROOT, the download)",
    )  # fmt: skip
    diagnose.add_argument("--split", choices=("train", "test"), help="of GTSRB (default: test)")
    diagnose.add_argument(
        "--inputs", choices=("0..1", "0..255", "tf", "caffe", "torch"), default="0..1",
        help="how you feed pixels (default: 0..1); tf is -1 to 1, caffe BGR less ImageNet's mean, "
        "torch standardised by ImageNet's, as in keras.applications",
    )  # fmt: skip
    diagnose.add_argument(
        "--size", type=_positive, metavar="PX", help="side of the images, where MODEL takes any"
    )
    diagnose.add_argument(
        "--images", type=_several, default=256, metavar="N", help="examined (default: 256)"
    )
    diagnose.add_argument(
        "--seed", type=_seed, default=0, help="of the draw of images (default: 0)"
    )


def _positive(text: str) -> int:
    """Return the number that an option names."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a positive number. Received: {text}")
    return int(text)


def _several(text: str) -> int:
    """Return the number of images that an option names."""
    if not text.isdecimal() or int(text) < 2:  # noqa: PLR2004 - one has no statistics
        raise argparse.ArgumentTypeError(f"must be a number of 2 or more. Received: {text}")
    return int(text)


def _seed(text: str) -> int:
    """Return the seed that an option names."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number. Received: {text}")
    return int(text)


def _compare(options: argparse.Namespace) -> int:
    """Judge every release and tier that has records, print the reports, return the status."""
    folders = _measured(options.records, release=options.release, tier=options.tier)
    verdicts: list[Verdict] = []
    pages: list[str] = []
    unjudged: list[Path] = []
    for folder in folders:
        measured = read_records(folder)
        against = options.against or folder.parent.name
        place = options.baselines / against / folder.name
        baseline = read_records(place)
        if not baseline:
            unjudged.append(place)
            continue
        heading = _heading(measured, baseline, against)
        found = compare(baseline, measured)
        table = text_table(found, width=terminal_width(), colour=sys.stdout.isatty())
        print("\n".join([*heading, "", table, "", summary(found), ""]))
        pages.append(_page(heading, found))
        verdicts += found
    if options.markdown:
        _write_text(options.markdown, "\n".join(pages))
    if any(verdict.failed for verdict in verdicts):
        return REGRESSION_STATUS
    if unjudged:
        raise SuiteError(
            f"{', '.join(map(str, unjudged))} holds no baseline, so nothing can be judged. Restore "
            "it from version control, judge by another release's with --against RELEASE, name the "
            f"release to judge with --release, or make a baseline with `{REBASELINE}`."
        )
    return 0


def _measured(records: Path, *, release: str | None, tier: str | None) -> list[Path]:
    """Return the folders of records, by release and tier, or raise SuiteError if there is none.

    Those of the quickstart count only where `tier` names it: synthetic signs tell nothing of a
    release. Those of an unpinned release count only where `release` names it: it is no gate.
    """
    unpinned = _unpinned(_table())
    found = sorted(
        path
        for path in records.glob(f"{release or '*'}/{tier or '*'}")
        if path.is_dir()
        and (tier or path.name != QUICKSTART)
        and (release or path.parent.name not in unpinned)
    )
    folders = [folder for folder in found if stored_cases(folder)]
    if not folders:
        name = release or "tf-2.21"
        raise SuiteError(
            f"{records / (release or '*') / (tier or '*')} holds no records, expected one a case "
            f'and seed. Make them with `nox -s "benchmarks({name})"`.'
        )
    return folders


def _table() -> dict[str, Any]:
    """Return the release table of the project."""
    from suite.releases import read_project  # noqa: PLC0415 - needs a newer Python than the oldest

    table: dict[str, Any] = read_project()["tool"]["suite"]
    return table


def _unpinned(table: Mapping[str, Any]) -> set[str]:
    """Return the names of the releases that are no gate."""
    return {row["name"] for row in table.get("releases", []) if row.get("unpinned")}


def _heading(measured: Sequence[Record], baseline: Sequence[Record], against: str) -> list[str]:
    """Return what is held against what, and which versions differ within one release."""
    release, tier = measured[0].release, measured[0].tier
    counts = f"{len(measured)} records against {len(baseline)} of the baseline of {against}"
    notes = version_notes(baseline, measured) if release == against else []
    return [f"{release} {tier}: {counts}", *(f"note: {note}" for note in notes)]


def _page(heading: Sequence[str], verdicts: Sequence[Verdict]) -> str:
    """Return the report of one release and tier in Markdown."""
    words = "\n".join(f"- {line.strip()}" for line in summary(verdicts).splitlines())
    notes = "".join(f"{note}\n\n" for note in heading[1:])
    return f"## {heading[0]}\n\n{notes}{markdown_table(verdicts)}\n\n{words}\n"


def _write_text(path: Path, text: str) -> None:
    """Write a report or raise SuiteError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SuiteError(
            f"{path} cannot be written: {error.strerror}. Name another file with --markdown."
        ) from error


def _parity(options: argparse.Namespace) -> int:
    """Compare the first steps of every release that has traces with the reference's.

    Those of an unpinned release count only where it is named, as in `compare`.
    """
    table = _table()
    name = options.reference or table["default"]
    if options.release == name:
        raise SuiteError(
            f"{name} is the reference itself, so there is nothing to compare. Name another release "
            "with --release, or another reference with --reference."
        )
    reference = traces(read_records(options.records / name / options.tier))
    if not reference:
        raise _no_traces(options.records / name / options.tier, name)
    folders = sorted(options.records.glob(f"{options.release or '*'}/{options.tier}"))
    reports = [
        (folder.parent.name, *report)
        for folder in folders
        if folder.parent.name != name
        for report in _parity_reports(folder, reference)
    ]
    if not reports:
        release = options.release or "RELEASE"
        raise _no_traces(options.records / release / options.tier, release)
    if options.markdown:
        _write_text(options.markdown, "\n".join(page for _, page, _ in reports))
    unpinned = set() if options.release else _unpinned(table)
    statuses = {status for row, _, status in reports if row not in unpinned}
    return next((s for s in (REGRESSION_STATUS, ERROR_STATUS) if s in statuses), 0)


def _parity_reports(folder: Path, reference: Sequence[Record]) -> Iterator[tuple[str, int]]:
    """Print what one release's traces show; yield that as Markdown and the status, if it has any.

    Traces that cannot be compared are an error of this release alone.
    """
    try:
        records = traces(read_records(folder))
        found = compare_releases(records, reference) if records else []
    except RecordError as error:
        print(f"error: {error}", file=sys.stderr)
        yield f"## {folder.parent.name}, not compared\n\n{error}\n", ERROR_STATUS
        return
    if found:
        print(f"{parity_text(found)}\n")
        agree = all(comparison.agrees for comparison in found)
        yield parity_markdown(found), 0 if agree else REGRESSION_STATUS


def _no_traces(folder: Path, release: str) -> SuiteError:
    """Return the error of a folder without traces of first steps."""
    return SuiteError(
        f'{folder} holds no traces of first steps. Make them with `nox -s "benchmarks({release})"`.'
    )


def _rebaseline(options: argparse.Namespace) -> int:
    """Make the records of one release and tier its baseline and say which cases it holds."""
    target = options.baselines / options.release / options.tier
    former = stored_cases(target)
    records = rebaseline(
        options.records,
        options.baselines,
        release=options.release,
        tier=options.tier,
        removed=options.removed,
    )
    cases = {record.case for record in records}
    print(f"{target}: {len(records)} records of {len(cases)} cases")
    for word, names in (("new", cases - former), ("removed", former - cases)):
        if names:
            print(f"{word}: {', '.join(sorted(names))}")
    print("Commit the baseline alone, with a line in CHANGELOG.md that gives the reason.")
    return 0


def _matrix(options: argparse.Namespace) -> int:
    """Run the rows, print what they can do, and return whether one that is a gate failed."""
    from suite import matrix  # noqa: PLC0415 - needs a newer Python than the oldest release's
    from suite.releases import chosen, read_releases  # noqa: PLC0415
    from suite.report.compatibility import (  # noqa: PLC0415
        compatibility,
        markdown_report,
        text_report,
    )
    from suite.report.traps import traps_markdown  # noqa: PLC0415

    rows = chosen(read_releases(), options.rows)
    outcomes = {}
    try:
        if not options.table:
            outcomes = matrix.run_matrix(
                rows, records=options.records, jobs=options.jobs, arguments=options.more
            )
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    if outcomes:
        print(matrix.disk_use(rows), end="\n\n")
    found = [matrix.evidence(row, options.records) for row in rows]
    lines = [compatibility(evidence) for evidence in found]
    print(text_report(lines, width=terminal_width()))
    if options.readme:
        records = [record for evidence in found for record in evidence.current]
        page = markdown_report(lines, records=len(records))
        matrix.write_section(options.readme, f"{page}\n\n{traps_markdown(records)}")
    failed = [row for row in rows if row.name in outcomes and not outcomes[row.name].passed]
    for row in failed:
        print(f"{row} failed{', and is no gate' if row.unpinned else ''}")
    return REGRESSION_STATUS if any(not row.unpinned for row in failed) else 0


def _diagnose(options: argparse.Namespace) -> int:
    """Print and store the diagnosis of a network; the status tells whether it is healthy."""
    from suite.data import folders  # noqa: PLC0415
    from suite.examination import diagnose, loading  # noqa: PLC0415 - others need no network

    _check_figure(options.figure)
    listing = folders.list_images(options.data, split=options.split)
    keras = loading.framework()
    model = loading.load_network(options.model, keras)
    shape = loading.image_shape(model, size_px=options.size)
    _check_classes(listing, loading.output_classes(model, shape))
    pixels, labels = folders.load_images(
        listing, **shape._asdict(), count=options.images, seed=options.seed
    )
    images = folders.as_fed(pixels, options.inputs)
    settings = {"batch_size": options.batch, "max_images": options.images, "seed": options.seed}
    try:
        found = diagnose(model, images, labels, keras=keras, **settings)
    except ValueError as error:  # what is wrong with the images or the network, in its own words
        raise SuiteError(f"{options.model} cannot be diagnosed: {error}") from error
    return _report_diagnosis(found, options, classes=listing.classes)


def _check_figure(name: Path) -> None:
    """Raise SuiteError unless the figure is to be a format that can be written."""
    if name.suffix.lower() not in (".png", ".svg"):
        raise SuiteError(f"{name}: no such format of figures. Name a .png or a .svg with --figure.")


def _check_classes(listing: Listing, outputs: int) -> None:
    """Raise SuiteError unless the network has one output a class."""
    classes = len(listing.classes)
    if classes != outputs:
        first = ", ".join(listing.classes[:4])
        raise SuiteError(
            f"The network has {outputs} outputs, but {listing.place} has {classes} classes ({first}"
            f"{', ...' if classes > len(first.split(', ')) else ''}), so the labels would not be "
            "those it was trained with. Give a folder with one folder an output, in the order of "
            "their names; one without images counts."
        )


def _report_diagnosis(
    found: Diagnosis, options: argparse.Namespace, *, classes: Sequence[str]
) -> int:
    """Print a diagnosis, write its JSON and its figure, and return the status."""
    from suite.report.diagnosis import (  # noqa: PLC0415 - as in `_diagnose`
        HEALTHY,
        diagnosis_figure,
        diagnosis_json,
        diagnosis_text,
    )

    page, figure = options.out / "diagnosis.json", options.out / options.figure
    names = ("model", "data", "split", "inputs", "size", "images", "batch", "seed")
    about = {**{name: getattr(options, name) for name in names}, "class_names": classes}
    print(diagnosis_text(found, width=terminal_width(), full=str(page)))
    write_atomically(page, diagnosis_json(found, about).encode())
    try:
        write_atomically(figure, diagnosis_figure(found, figure))
        written = f"{page}, {figure}"
    except ModuleNotFoundError:
        written = f"{page}\nno figure: pip install matplotlib"
    print(f"\nwritten: {written}")
    return 0 if found.verdict == HEALTHY else ILL_STATUS


def _fixes(options: argparse.Namespace) -> int:
    """Print what every fix is worth and which claims of the published answer hold."""
    from suite.report import claims, curves, fixes  # noqa: PLC0415 - the other commands need none

    folders = [
        path
        for root in options.records
        for tier in STUDIES
        for path in sorted(root.glob(f"*/{tier}"))
    ]
    records = [record for folder in folders for record in read_records(folder)]
    if not fixes.studies(records):
        raise SuiteError(
            f"{', '.join(map(str, options.records))} holds no study of the fixes. Make one with "
            '`nox -s "study(tf-2.21)"`.'
        )
    if options.figure:
        _check_figure(options.figure)
    width = terminal_width()
    print(f"{fixes.fixes_text(records, width=width)}\n\n{claims.claims_text(records, width=width)}")
    if options.figure:
        release = _table()["default"]
        own = [r for r in records if (r.release, r.tier) == (release, STUDIES[0])]
        if not own:
            raise SuiteError(f"No records of {release}, {STUDIES[0]} tier: no curves to draw.")
        curves.curves_figure(own, options.figure)
    if options.readme:
        from suite.matrix import write_section  # noqa: PLC0415 - needs a newer Python

        parts = [claims.claims_markdown(records), fixes.fixes_markdown(records)]
        if options.figure:
            place = os.path.relpath(options.figure, options.readme.parent)
            parts.insert(1, f"![Information gain of the adversarial branch]({place})")
        write_section(options.readme, "\n\n".join(parts), section="fixes")
    return 0


def _download(options: argparse.Namespace) -> int:
    """Download GTSRB if it is not there yet and say where it lies."""
    from suite.data import download_gtsrb  # noqa: PLC0415 - the other commands need no data

    del options
    print(download_gtsrb())
    return 0


if __name__ == "__main__":
    sys.exit(main())
