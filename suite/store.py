"""The store: one JSON file for each case and seed, whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from suite.errors import RecordError
from suite.files import (
    MEND,
    parse_json,
    read_bytes,
    refuse_write,
    sync_folder,
    write_atomically,
)
from suite.records import NOT_FINITE, SCHEMA_VERSION, Record, encoded, json_digest

SUPERSEDED = "superseded"
"""Folder beside the records for those that a record with another key has replaced."""

NAME = re.compile(r"(.+)-seed(\d+)")  # of a record's file: its case and seed
NUMBERS = (float, int)  # most of what a record holds
NUMERIC = 30  # characters a quotation mark or escape, from which on a file is mostly numbers
SPELLED = (b'nan"', b'inf"', b"\\u")  # parts of numbers that are not finite, or that may be
STRING = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")')  # in JSON; runs at once, not by character
NOTHING: Mapping[str, bytes] = MappingProxyType({})
BARE: Mapping[str, Any] = {"curves": {}, "statistics": [], "timing": {}}
NO_FOLDER = "it is no folder, expected one of records"


class Place(NamedTuple):
    """Where records lie, or should.

    Attributes:
        path: The folder.
        release: Name of its release; empty where all records are at fault.
        tier: Name of its tier; empty where the whole release is at fault.
        fault: Why nothing can be read there; empty if something can.
    """

    path: Path
    release: str = ""
    tier: str = ""
    fault: str = ""


def record_path(root: Path, *, release: str, tier: str, case: str, seed: int) -> Path:
    """Give the path below `root` at which the record of a case and seed is stored."""
    return root / release / tier / f"{case}-seed{seed}.json"


def write_record(record: Record, path: Path) -> None:
    """Write `record` to `path` as a whole or not at all; folders are made as needed.

    Raises:
        RecordError: If it cannot be written; the file that was there before is unchanged.
    """
    content = encoded({field.name: getattr(record, field.name) for field in fields(record)})
    text = _layout({**content, "sha256": json_digest(content)}) + "\n"
    write_atomically(path, text.encode())


def read_record(path: Path, *, bare: bool = False) -> Record:
    """Read the record in `path`.

    Args:
        path: Its file.
        bare: Leave out curves, statistics and timing, which most judging does not need and which
            are nine tenths of a record; the file is checked as a whole all the same.

    Raises:
        RecordError: If the file cannot be read, is damaged or edited, has another schema
            version, or is not named after its record.
    """
    text = read_bytes(path)
    content = _parsed(path, text)
    _check_fields(path, content)
    signed = content.pop("sha256")
    wordy = (text.count(b'"') + text.count(b"\\")) * NUMERIC > len(text)
    as_written = not wordy and _digest_as_written(text, signed) == signed
    if not as_written and json_digest(content) != signed:
        _refuse(path, "its sha256 is not that of its content: it was edited or damaged")
    if bare:
        content.update(BARE)
    try:
        spelled = any(part in text for part in SPELLED)
        record = Record.of_json(_decoded(content) if spelled else content)
    except ValueError as error:
        raise RecordError(f"{path} is no record: {error}. {MEND}") from error
    if path.stem != record.name:
        _refuse(path, f"it holds the record {record.name}, expected {path.stem}")
    return record


def read_records(folder: Path) -> list[Record]:
    """Read the records ``*.json`` of one release and tier, by name; none if there is no folder.

    Raises:
        RecordError: If a file is no valid record, or belongs to another release or tier.
    """
    return [read_resident(path) for path in _listed(folder)]


def seed_of(path: Path) -> int:
    """Read the seed off the name of a record's file, which `files_by_case` has found."""
    return int(path.stem.rpartition("-seed")[2])


def files_by_case(folder: Path) -> dict[str, list[Path]]:
    """Sort the files of one release and tier by case and seed, by their names; open none.

    Raises:
        RecordError: If the folder cannot be read, or a file is not named after a record.
    """
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in _listed(folder):
        name = NAME.fullmatch(path.stem)
        if name is None:
            _refuse(path, "it is not named after a record, expected CASE-seedNUMBER.json")
        found.setdefault(name[1], []).append((int(name[2]), path))
    return {case: [path for _, path in sorted(found[case])] for case in sorted(found)}


def places(root: Path, *, releases: Collection[str], tiers: Collection[str]) -> list[Place]:
    """List the folders of records below `root`, sorted by release and tier.

    A file that is named like a release or a tier, a folder that is no tier's, and one that cannot
    be read or is empty are in the list with their fault: what lay there may be what fails.

    Args:
        root: Folder of all records.
        releases: Names of all releases.
        tiers: Names of all tiers.
    """
    if not os.path.lexists(root):
        return []
    try:
        return [found for path in _visible(root) for found in _release(path, releases, tiers)]
    except OSError as error:
        return [Place(root, fault=f"it cannot be read: {error.strerror}. Make it readable.")]


def _visible(folder: Path) -> list[Path]:
    """List what lies in `folder` and is not hidden, by name."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _release(path: Path, releases: Collection[str], tiers: Collection[str]) -> list[Place]:
    """List the tiers of one release; nothing for a file with a name of its own."""
    try:
        if path.is_dir():
            return [found for tier in _visible(path) for found in _tier(tier, tiers)]
    except OSError as error:
        fault = f"it cannot be read: {error.strerror}. Make it readable."
        return [Place(path, path.name, fault=fault)]
    return [Place(path, path.name, fault=NO_FOLDER)] if path.name in releases else []


def _tier(path: Path, tiers: Collection[str]) -> list[Place]:
    """Tell whether `path` is a tier's folder with records; nothing for a report of `matrix`."""
    place = Place(path, path.parent.name, path.name)
    if not path.is_dir():
        return [place._replace(fault=NO_FOLDER)] if path.name in tiers else []
    if path.name not in tiers:
        fault = f"no tier is called so, expected one of {', '.join(tiers)}. Move it away."
        return [place._replace(fault=fault)]
    try:
        return [place if _listed(path) else place._replace(fault="it holds no record")]
    except RecordError as error:
        return [place._replace(fault=str(error))]


def _listed(folder: Path) -> list[Path]:
    """List the files ``*.json`` of one release and tier, by name; none if there is no folder.

    Raises:
        RecordError: If the folder cannot be read, or its replacement was interrupted.
    """
    _check_not_interrupted(folder)
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not os.path.lexists(folder):
            return []
        raise RecordError(
            f"{folder} cannot be read: {error.strerror}. Make it readable."
        ) from error


def find(root: Path, *, release: str, tier: str, case: str, seed: int, key: str) -> Record | None:
    """Look up the record of a case and seed; None if it is absent or has another key.

    Raises:
        RecordError: If there is one that is not valid.
    """
    path = record_path(root, release=release, tier=tier, case=case, seed=seed)
    record = read_resident(path) if os.path.lexists(path) else None
    return record if record and record.key == key else None


def store(record: Record, root: Path) -> Path:
    """Write `record` to its place below `root` and return its path.

    A record with another key that lies there is kept in the folder `SUPERSEDED` beside it.

    Raises:
        RecordError: If the record cannot be written, or the one that lies there is not valid.
    """
    path = record_path(
        root, release=record.release, tier=record.tier, case=record.case, seed=record.seed
    )
    old = read_resident(path) if os.path.lexists(path) else None
    if old and old.key != record.key:
        write_record(old, path.parent / SUPERSEDED / f"{old.name}-{old.key[:8]}.json")
    write_record(record, path)
    return path


def stored_cases(folder: Path) -> set[str]:
    """List the cases that `folder` holds records of, by the names of the files alone.

    Raises:
        RecordError: If the folder cannot be read, or a file is not named after a record.
    """
    return set(files_by_case(folder))


def replace_records(
    records: Iterable[Record], folder: Path, *, beside: Mapping[str, bytes] = NOTHING
) -> None:
    """Make `folder` hold exactly `records`, and files `beside` them, or leave it as it was.

    Raises:
        RecordError: If a record or the folder cannot be written.
    """
    fresh, retired = (folder.with_name(f".{folder.name}.{end}") for end in ("fresh", "retired"))
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        for record in records:
            write_record(record, fresh / f"{record.name}.json")
        for name, content in beside.items():
            write_atomically(fresh / name, content)
        _swap(fresh, folder, retired)
    except OSError as error:
        refuse_write(folder, error)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, folder: Path, retired: Path) -> None:
    """Put `fresh` in the place of `folder`; a kill between the two renames leaves `retired`.

    Raises:
        OSError: If a folder cannot be renamed; `folder` is then what it was.
    """
    present = folder.exists()
    if present:
        shutil.rmtree(retired, ignore_errors=True)
        folder.replace(retired)
    try:
        fresh.replace(folder)
    except OSError:
        if present:
            retired.replace(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(retired, ignore_errors=True)


def _check_not_interrupted(folder: Path) -> None:
    """Refuse a `folder` whose replacement was killed between its two renames.

    Raises:
        RecordError: If it is missing and the former one is still there.
    """
    retired = folder.with_name(f".{folder.name}.retired")
    if os.path.lexists(retired) and not os.path.lexists(folder):
        raise RecordError(
            f"{folder} is missing: its replacement was interrupted, and the former one is "
            f"{retired}. Move it back: mv {retired} {folder}"
        )


def read_resident(path: Path, *, bare: bool = False) -> Record:
    """Read the record in `path`, whose release and tier must be those of its folder.

    With `bare`, leave out curves, statistics and timing, as `read_record` does.

    Raises:
        RecordError: If they are not, or the file holds no valid record.
    """
    record = read_record(path, bare=bare)
    home = (path.parent.parent.name, path.parent.name)
    if (record.release, record.tier) != home:
        _refuse(path, f"it belongs to {record.release}/{record.tier}, expected {'/'.join(home)}")
    return record


def _refuse(path: Path, found: str) -> NoReturn:
    """Say what is wrong with a record's file and how to mend it.

    Raises:
        RecordError: Always.
    """
    raise RecordError(f"{path} is not a record that can be trusted: {found}. {MEND}")


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    """Parse the JSON object in the `text` of `path`.

    Raises:
        RecordError: If it is no JSON object of this schema version.
    """
    try:
        content = parse_json(text)
    except ValueError as error:
        raise RecordError(f"{path} is not JSON (truncated?): {error}. {MEND}") from error
    if not isinstance(content, dict):
        _refuse(path, f"it holds a JSON {type(content).__name__}, expected an object")
    schema = content.get("schema")
    if schema != SCHEMA_VERSION or isinstance(schema, bool):
        _refuse(path, f"its schema version is {schema!r}, this suite reads {SCHEMA_VERSION}")
    return content


def _check_fields(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse `content` that does not have exactly the fields of a record's file.

    Raises:
        RecordError: If fields are missing or unknown.
    """
    expected = {field.name for field in fields(Record)} | {"sha256"}
    missing, unknown = sorted(expected - set(content)), sorted(set(content) - expected)
    if missing:
        _refuse(path, f"fields are missing: {', '.join(missing)}")
    if unknown:
        _refuse(path, f"fields are unknown: {', '.join(unknown)}")


def _digest_as_written(text: bytes, signed: object) -> str:
    """Compute the `json_digest` of a file that `_layout` wrote, off its own characters.

    To write thousands of numbers again takes several times as long as to read them. For a file of
    another layout this is some other digest.
    """
    parts = STRING.split(text)
    parts[::2] = [part.translate(None, b" \r\n") for part in parts[::2]]
    return hashlib.sha256(
        b"".join(parts).replace(f',"sha256":"{signed}"'.encode(), b"")
    ).hexdigest()


def _layout(value: Any, margin: str = "") -> str:
    """Write JSON with sorted keys: one line for each key, list or row of statistics."""
    inner = margin + " "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{json.dumps(k)}: {_layout(value[k], inner)}" for k in sorted(value)]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        lines = [inner + json.dumps(item, sort_keys=True) for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{margin}]"
    return json.dumps(value)


def _decoded(value: Any) -> Any:
    """Undo `suite.records.encoded`: make numbers of the strings `NOT_FINITE`."""
    if isinstance(value, dict):
        return {n: v if type(v) in NUMBERS else _decoded(v) for n, v in value.items()}
    if isinstance(value, list):
        return [item if type(item) in NUMBERS else _decoded(item) for item in value]
    return float(value) if isinstance(value, str) and value in NOT_FINITE else value
