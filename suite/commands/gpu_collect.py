"""`gpu-collect`: check the files that a bundle left beside a GPU, and file their records."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.commands.gpu_environment import INSTALLED
from suite.commands.gpu_run import CONTENT, FILE_BYTES, FILES, SHOWN, differences, names_of
from suite.commands.options import REGRESSION_STATUS
from suite.data.archives import FAULTS, METHODS, opened_archive
from suite.errors import RecordError
from suite.files import RECORD_BYTES, measuring_digest, parse_json, probing_digest, write_atomically
from suite.libraries import PIN
from suite.records import Record
from suite.releases import NAME
from suite.report.text import printable
from suite.store import read_resident, store
from suite.tables import TIERS, asked

ARCHIVES = "records-*.zip"
FOLDER = "records/"  # in an archive
OTHER_CODE = "Collect with the suite that made the bundle (git checkout), or make a bundle anew."


def main(arguments: Sequence[str]) -> int:
    """File the records of a bundle; 0 where all of them are there, 1 where some are left to make.

    Raises:
        RecordError: If a file is not as a bundle leaves it, or a record was made with something
            else than the bundle says. Nothing is filed then.
    """
    options = _parser().parse_args(arguments)
    members = read_files(options.folder)
    content = _content(members, options.folder)
    records = list(checked(members, content))
    for record in records:
        store(record, options.records)
    place = options.records / content["release"] / content["tier"]
    write_atomically(place / INSTALLED, members[INSTALLED])
    for line in told(records):
        print(printable(line))
    names = {*names_of(content)}
    left = sorted(names - {record.name for record in records})
    print(f"{len(records)} of {len(names)} records are in {place}")
    if left:
        print(printable(f"left to make, by the bundle's command: {', '.join(left)}", limit=400))
    return REGRESSION_STATUS if left else 0


def read_files(folder: Path) -> dict[str, bytes]:
    """Read what the archives of a folder hold, within the bounds of what a bundle leaves.

    Raises:
        RecordError: If there are too many files, or one is too large, damaged or missing.
    """
    files = sorted(path for path in folder.glob("*") if path.is_file())
    large = [path.name for path in files if path.stat().st_size > FILE_BYTES]
    if len(files) > FILES or large:
        raise RecordError(
            f"{folder} holds {len(files)} files, too large: {', '.join(large) or 'none'}. "
            f"Expected at most {FILES} of at most {FILE_BYTES:,} bytes, as a bundle leaves them."
        )
    archives = [path for path in files if path.match(ARCHIVES)]
    if not archives:
        raise RecordError(f"{folder} holds no {ARCHIVES}, expected those that a bundle left.")
    return dict(member for path in archives for member in _members(path))


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what an archive holds.

    Raises:
        RecordError: If it is damaged, or holds more than a bundle puts into it.
    """
    try:
        with opened_archive(path) as archive:
            for member in archive.infolist():
                if member.file_size > RECORD_BYTES or member.compress_type not in METHODS:
                    raise zipfile.BadZipFile(f"{member.filename}: {member.file_size:,} bytes")
                with archive.open(member) as file:  # it may hold more than it states
                    yield member.filename, file.read(RECORD_BYTES)
    except FAULTS as error:
        raise RecordError(
            f"{path} is damaged: {error}. Copy it once more from where the bundle left it."
        ) from error


def _content(members: Mapping[str, bytes], folder: Path) -> dict[str, Any]:
    """Read what the bundle asked for, which must be of this suite.

    Raises:
        RecordError: If it is missing, damaged or of another state of the suite.
    """
    if not {CONTENT, INSTALLED} <= {*members}:
        raise RecordError(f"{folder} lacks {CONTENT} or {INSTALLED}, expected both in an archive.")
    try:
        content: dict[str, Any] = parse_json(members[CONTENT])
        members[INSTALLED].decode()
        code = _stated(content)
    except (LookupError, TypeError, ValueError) as error:
        raise RecordError(
            f"{CONTENT} or {INSTALLED} in {folder} is not as a bundle leaves it: {error}. Copy the "
            "folder once more from where the bundle left it."
        ) from error
    if code != (measuring_digest(), probing_digest()):
        raise RecordError(f"{folder} is of another state of what measures. {OTHER_CODE}")
    return content


def _stated(content: Mapping[str, Any]) -> tuple[str, str]:
    """Read every field once, and give the digests of the code that measures and that probes.

    Raises:
        LookupError: If a field is missing.
        TypeError: If one is of another type.
        ValueError: If one has a value that no bundle has, such as a release that is a path.
    """
    release, tier = content["release"], content["tier"]
    code = str(content["code_digest"]), str(content["probe_digest"])
    names, digests = {*names_of(content)}, {*content["data_digests"]}
    if not NAME.fullmatch(release) or tier not in TIERS:
        raise ValueError(
            f"it asks for {len(names)} records of {len(digests)} data sets, of the release "
            f"{release!r:.60} and the tier {tier!r:.60}"
        )
    return code


def checked(members: Mapping[str, bytes], content: Mapping[str, Any]) -> Iterator[Record]:
    """Yield the records, each whole, of the bundle, and made with what the bundle says.

    Raises:
        RecordError: If one is not.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, content["release"], content["tier"])
        place.mkdir(parents=True)
        for name in sorted(name for name in members if name.startswith(FOLDER)):
            path = place / Path(name).name
            path.write_bytes(members[name])
            try:
                record = read_resident(path)
            except RecordError as error:  # of a folder that is gone when it is told
                raise RecordError(str(error).replace(str(path), f"{name} in an archive")) from error
            faults = [*_faults(record, content, members[INSTALLED])]
            if faults:
                raise RecordError(f"{record.name} is no record of this bundle: {faults[0]}.")
            yield record


def _faults(record: Record, content: Mapping[str, Any], lock: bytes) -> Iterator[str]:
    """Say in what a record is not of the bundle."""
    case, environment = asked(record.tier).get(record.case), record.environment
    pins = dict(PIN.findall(lock.decode()))
    versions = environment["versions"]
    if case is None or record.settings != case.settings():
        yield "its settings are not those of its case"
    yield from differences(record.name, environment, content, lock)
    if any(pins.get(name) != found for name, found in versions.items() if name != "python"):
        yield f"its versions {versions} are not those that {INSTALLED} lists"
    if not (environment["machine"].get("gpus") or TIERS[record.tier].rehearsal):
        yield "no GPU made it"


def told(records: Iterable[Record]) -> Iterator[str]:
    """Yield a line for each case: its seeds, and the mean and range of what matters."""
    cases = defaultdict(list)
    for record in records:
        cases[record.case].append(record)
    for case, runs in sorted(cases.items()):
        names = [name for name in SHOWN if name in runs[0].metrics]
        words = [f"{name} {_spread([run.metrics[name] for run in runs])}" for name in names]
        yield f"{case:<36}{len(runs)} seeds  {', '.join(words)}"


def _spread(values: Sequence[float]) -> str:
    """Write the mean of some values, and their range."""
    return f"{statistics.fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s gpu-collect --", description="Check what a bundle left, and file its records."
    )
    parser.add_argument("folder", type=Path, help="what the bundle's --out was")
    parser.add_argument("--records", type=Path, default=Path("records"), metavar="DIR")
    return parser
