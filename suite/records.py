"""The record: what one run of a case measured, kept safe in one JSON file a case and seed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from suite.cases import QUESTIONS, TIERS
from suite.errors import RecordError

SCHEMA_VERSION = 1
DIGESTS = ("data_digest", "lock_digest", "code_digest")
SUPERSEDED = "superseded"
"""Folder, beside the records, of those whose key is no longer the current one."""

JUDGING = (
    "__main__.py",
    "bands.py",
    "baselines.py",
    "cases.py",
    "implied.py",
    "locks.py",
    "matrix.py",
    "parity.py",
    "releases.py",
    "report",
    "verdicts.py",
)
"""Modules that only read records, or serve no case: a change of these changes no number."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")
_KEY = re.compile(r"[0-9a-f]{64}")
_NOT_FINITE = ("nan", "inf", "-inf")  # strict JSON has no such numbers; kept as these strings
_MEND = "Restore it from version control, or move it away and run the case again."


@dataclass(frozen=True)
class Record:
    """One run of one case: what decided it and what was measured. All fields are JSON values.

    Attributes:
        schema: Version of this layout, `SCHEMA_VERSION`.
        release: The row of the release table, such as ``"tf-2.21"``.
        tier: One of `TIERS`.
        question: One of `QUESTIONS`.
        case: Name of the case.
        seed: Seed of the run.
        key: `record_key` of all that decides the result, the seed excepted.
        settings: The fields of the case.
        environment: ``versions``, ``lock_digest``, ``data_digest``, ``code_digest`` and
            ``machine``, which holds at least a ``fingerprint``.
        metrics: The numbers that are judged, by name; may be NaN or infinite.
        curves: Numbers a step or an epoch, by name; may be NaN or infinite.
        statistics: One mapping a BatchNorm layer.
        timing: Times in seconds, by name, and what tells about them.
        started_at: Start of the run, ISO 8601 in UTC.
        wall_s: Duration of the run in seconds.

    Raises:
        ValueError: If a field has another type or lies outside its range.
    """

    schema: int
    release: str
    tier: str
    question: str
    case: str
    seed: int
    key: str
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: Mapping[str, float]
    curves: Mapping[str, Sequence[float]]
    statistics: Sequence[Mapping[str, Any]]
    timing: Mapping[str, Any]
    started_at: str
    wall_s: float

    def __post_init__(self) -> None:
        """Take copies in plain JSON types and check them."""
        for field in fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name), field.name))
        _check_identity(self)
        _check_environment(self.environment)
        _check_measurements(self)

    @property
    def name(self) -> str:
        """The case and the seed: the stem of the record's file."""
        return f"{self.case}-seed{self.seed}"

    def __str__(self) -> str:
        """Return the name."""
        return self.name


def record_key(settings: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """Return the hex digest of all that decides a result but the seed.

    Of the machine only the fingerprint counts; of the rest of the environment, everything.
    """
    machine = environment["machine"]["fingerprint"]
    decisive = {
        "settings": _plain(settings, "settings"),
        "environment": _plain({**environment, "machine": machine}, "environment"),
    }
    return _digest(_encoded(decisive))


def file_digest(path: Path) -> str:
    """Return ``"sha256:..."`` of a file's content.

    Raises:
        RecordError: If the file cannot be read.
    """
    return f"sha256:{hashlib.sha256(_read_bytes(path)).hexdigest()}"


def code_digest(root: Path) -> str:
    """Return ``"sha256:..."`` of the paths and contents of the sources below `root` that measure.

    Those that only read records (`JUDGING`) do not count, so that a better report does not
    make every case run again.
    """
    digest = hashlib.sha256()
    for name in sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py")):
        if name.split("/")[0] not in JUDGING:
            digest.update(f"{name} {file_digest(root / name)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def record_path(root: Path, *, release: str, tier: str, case: str, seed: int) -> Path:
    """Return where below `root` the record of a case and seed lies."""
    return root / release / tier / f"{case}-seed{seed}.json"


def write_record(record: Record, path: Path) -> None:
    """Write `record` to `path` as a whole or not at all; folders are made as needed.

    Raises:
        RecordError: If it cannot be written; the file that was there before is unchanged.
    """
    content = _encoded({field.name: getattr(record, field.name) for field in fields(record)})
    text = _layout({**content, "sha256": _digest(content)}) + "\n"
    write_atomically(path, text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` as a whole or not at all; folders are made as needed.

    Raises:
        RecordError: If it cannot be written; the file that was there before is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_through(temporary, content)
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            if temporary.exists():
                temporary.unlink()
    except OSError as error:
        _refuse_write(path, error)


def read_record(path: Path) -> Record:
    """Return the record in `path`.

    Raises:
        RecordError: If the file cannot be read, is damaged or edited, has another schema
            version, or is not named after its record.
    """
    content = _parsed(path)
    _check_fields(path, content)
    if content.pop("sha256") != _digest(content):
        _refuse(path, "its sha256 is not that of its content: it was edited or damaged")
    try:
        record = Record(**_decoded(content))
    except ValueError as error:
        raise RecordError(f"{path} is no record: {error}. {_MEND}") from error
    if path.stem != record.name:
        _refuse(path, f"it holds the record {record.name}, expected {path.stem}")
    return record


def read_records(folder: Path) -> list[Record]:
    """Return the records ``*.json`` of one release and tier, by name; none if there is no folder.

    Raises:
        RecordError: If a file is no valid record, or belongs to another release or tier.
    """
    _check_not_interrupted(folder)
    try:
        paths = sorted(folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise RecordError(
            f"{folder} cannot be read: {error.strerror}. Make it readable."
        ) from error
    return [_read_resident(path) for path in paths if path.suffix == ".json"]


def find(root: Path, *, release: str, tier: str, case: str, seed: int, key: str) -> Record | None:
    """Return the stored record of a case and seed, or None if it is absent or has another key.

    Raises:
        RecordError: If there is one that is not valid.
    """
    path = record_path(root, release=release, tier=tier, case=case, seed=seed)
    record = _read_resident(path) if os.path.lexists(path) else None
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
    old = _read_resident(path) if os.path.lexists(path) else None
    if old and old.key != record.key:
        write_record(old, path.parent / SUPERSEDED / f"{old.name}-{old.key[:8]}.json")
    write_record(record, path)
    return path


def stored_cases(folder: Path) -> set[str]:
    """Return the cases of which `folder` holds records, by their files' names alone.

    Raises:
        RecordError: If a replacement of the folder was interrupted.
    """
    _check_not_interrupted(folder)
    return {path.stem.rpartition("-seed")[0] for path in folder.glob("*.json")}


def replace_records(records: Iterable[Record], folder: Path) -> None:
    """Make `folder` hold exactly `records`, or leave it as it was.

    Raises:
        RecordError: If a record or the folder cannot be written.
    """
    fresh, retired = (folder.with_name(f".{folder.name}.{end}") for end in ("fresh", "retired"))
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        for record in records:
            write_record(record, fresh / f"{record.name}.json")
        _swap(fresh, folder, retired)
    except OSError as error:
        _refuse_write(folder, error)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, folder: Path, retired: Path) -> None:
    """Put `fresh` in the place of `folder`; a kill between the two renames leaves `retired`."""
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
    _sync_folder(folder.parent)
    shutil.rmtree(retired, ignore_errors=True)


def _check_not_interrupted(folder: Path) -> None:
    """Raise RecordError if a replacement of `folder` was killed between its two renames."""
    retired = folder.with_name(f".{folder.name}.retired")
    if retired.exists() and not folder.exists():
        raise RecordError(
            f"{folder} is missing: its replacement was interrupted, and the former one is "
            f"{retired}. Move it back: mv {retired} {folder}"
        )


def _read_resident(path: Path) -> Record:
    """Return the record in `path`, whose release and tier must be those of its folder."""
    record = read_record(path)
    home = (path.parent.parent.name, path.parent.name)
    if (record.release, record.tier) != home:
        _refuse(path, f"it belongs to {record.release}/{record.tier}, expected {'/'.join(home)}")
    return record


def _refuse(path: Path, found: str) -> NoReturn:
    """Raise RecordError: what is wrong with the file and how to mend it."""
    raise RecordError(f"{path} is not a record that can be trusted: {found}. {_MEND}")


def _refuse_write(path: Path, error: OSError) -> NoReturn:
    """Raise RecordError: the path, the cause and what to do."""
    raise RecordError(
        f"{path} cannot be written: {error.strerror}. What was there before is unchanged. Free "
        "some space or make the folder writable, then give the same command again: what is "
        "finished is not run again."
    ) from error


def _read_bytes(path: Path) -> bytes:
    """Return a file's content or raise RecordError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}. {_MEND}") from error


def _write_through(path: Path, content: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's entries."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parsed(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`, of this schema version, or raise RecordError."""
    try:
        content = json.loads(
            _read_bytes(path), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except ValueError as error:
        raise RecordError(f"{path} is not JSON (truncated?): {error}. {_MEND}") from error
    if not isinstance(content, dict):
        _refuse(path, f"it holds a JSON {type(content).__name__}, expected an object")
    schema = content.get("schema")
    if schema != SCHEMA_VERSION or isinstance(schema, bool):
        _refuse(path, f"its schema version is {schema!r}, this suite reads {SCHEMA_VERSION}")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of `pairs` or raise ValueError if a key comes twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"duplicate keys: {', '.join(twice)}")
    return found


def _no_constant(name: str) -> NoReturn:
    """Raise ValueError: ``NaN`` and ``Infinity`` are not JSON."""
    raise ValueError(f"{name} is not a JSON number")


def _check_fields(path: Path, content: Mapping[str, Any]) -> None:
    """Raise RecordError unless `content` has exactly the fields of a record's file."""
    expected = {field.name for field in fields(Record)} | {"sha256"}
    missing, unknown = sorted(expected - set(content)), sorted(set(content) - expected)
    if missing:
        _refuse(path, f"fields are missing: {', '.join(missing)}")
    if unknown:
        _refuse(path, f"fields are unknown: {', '.join(unknown)}")


def _digest(content: Any) -> str:
    """Return the sha256 of a JSON value in its canonical form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _layout(value: Any, margin: str = "") -> str:
    """Return JSON with sorted keys, one line a key and one line a list or layer."""
    inner = margin + " "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{json.dumps(k)}: {_layout(value[k], inner)}" for k in sorted(value)]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        lines = [inner + json.dumps(item, sort_keys=True) for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{margin}]"
    return json.dumps(value)


def _encoded(value: Any) -> Any:
    """Return a JSON value with numbers that are not finite as strings."""
    if isinstance(value, dict):
        return {name: _encoded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _decoded(value: Any) -> Any:
    """Return what `_encoded` was given."""
    if isinstance(value, dict):
        return {name: _decoded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return float(value) if isinstance(value, str) and value in _NOT_FINITE else value


def _plain(value: Any, name: str) -> Any:
    """Return `value` in dicts, lists, strings, numbers, booleans and None, or raise ValueError."""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, name) for item in value]
    if isinstance(value, float):
        return float(value)
    if value is None or (isinstance(value, (str, int)) and value not in _NOT_FINITE):
        return value
    raise ValueError(f"{name} must be a JSON value other than {_NOT_FINITE}. Received: {value!r}")


def _check(valid: bool, argument: str, rule: str, received: object) -> None:
    """Raise ValueError unless `valid`."""
    if not valid:
        raise ValueError(f"{argument} must {rule}. Received: {received!r}")


def _check_identity(record: Record) -> None:
    """Raise ValueError unless the fields that name a record are valid."""
    schema, seed, key = record.schema, record.seed, record.key
    valid = type(schema) is int and schema == SCHEMA_VERSION
    _check(valid, "schema", f"be {SCHEMA_VERSION}", schema)
    _check(record.tier in TIERS, "tier", f"be one of {', '.join(TIERS)}", record.tier)
    _check(record.question in QUESTIONS, "question", f"be one of {QUESTIONS}", record.question)
    for name in ("release", "case"):
        text = getattr(record, name)
        valid = isinstance(text, str) and bool(_NAME.fullmatch(text))
        _check(valid, name, f"match {_NAME.pattern}", text)
    _check(type(seed) is int and seed >= 0, "seed", "be an integer of at least 0", seed)
    _check(isinstance(key, str) and bool(_KEY.fullmatch(key)), "key", "be 64 hex digits", key)


def _check_environment(environment: Any) -> None:
    """Raise ValueError unless versions, digests and the machine's fingerprint are there."""
    _check(isinstance(environment, dict), "environment", "be a mapping", environment)
    for name in DIGESTS:
        text = environment.get(name)
        _check(isinstance(text, str) and text != "", f"environment[{name!r}]", "be text", text)
    for name in ("versions", "machine"):
        part = environment.get(name)
        _check(isinstance(part, dict), f"environment[{name!r}]", "be a mapping", part)
    mark = environment["machine"].get("fingerprint")
    valid = isinstance(mark, str) and mark != ""
    _check(valid, "environment['machine']['fingerprint']", "be text", mark)


def _check_measurements(record: Record) -> None:
    """Raise ValueError unless the fields of what was measured have their types."""
    for name in ("settings", "metrics", "curves", "timing"):
        part = getattr(record, name)
        _check(isinstance(part, dict), name, "be a mapping", part)
    for name, value in record.metrics.items():
        _check(_is_number(value), f"metrics[{name!r}]", "be a number", value)
    for name, curve in record.curves.items():
        valid = isinstance(curve, list) and all(map(_is_number, curve))
        _check(valid, f"curves[{name!r}]", "be a list of numbers", curve)
    layers = record.statistics
    valid = isinstance(layers, list) and all(isinstance(layer, dict) for layer in layers)
    _check(valid, "statistics", "be a list of mappings", layers)
    wall_s = record.wall_s
    valid = _is_number(wall_s) and 0 <= wall_s < math.inf
    _check(valid, "wall_s", "be a finite number of at least 0", wall_s)
    _check(_is_utc(record.started_at), "started_at", "be ISO 8601 in UTC", record.started_at)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_utc(text: object) -> bool:
    """Return whether `text` is a date and time in UTC."""
    try:
        return datetime.fromisoformat(str(text)).utcoffset() == timedelta(0)
    except ValueError:
        return False
