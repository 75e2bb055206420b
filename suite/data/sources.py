"""The places of the GTSRB files, archives or extracted tree, and how one of them is read."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from suite.data.archives import FAULTS, MEMBER_BYTES, MEMBERS, opened_archive, read_member
from suite.data.download import MEND, TEST_ARCHIVE, TRAINING_ARCHIVE, TRUTH_ARCHIVE
from suite.errors import DataError
from suite.files import open_regular, read_within

TRAINING_FOLDER = "GTSRB/Final_Training/Images"
TEST_FOLDER = "GTSRB/Final_Test/Images"
TRUTH_NAME = "GT-final_test.csv"
COMPETITION_IMAGES = 26_640
COMPETITION_FOLDER = "GTSRB/Training/"
COMPETITION = (
    "the training set of the 2011 competition (GTSRB-Training_fixed.zip, 26,640 images), a known "
    "mix-up: https://github.com/openai/CLIP/issues/156"
)


class Source(NamedTuple):
    """One archive, or one folder of the extracted tree.

    Attributes:
        path: The zip archive, the folder, or the folder of the csv file.
        folder: The folder inside the archive, ending in a slash; "" for a folder.
        names: The files below it, relative to it, sorted.
        read: Reads the content of one of `names`.
    """

    path: Path
    folder: str
    names: list[str]
    read: Callable[[str], bytes]


def locate(root: Path) -> tuple[Path, Path, Path]:
    """Find (training, test, truth): the archive, or else what was extracted from it.

    Raises:
        DataError: If `root` is no folder that can be read, or one of the three is missing.
    """
    with readable(root):
        if not root.is_dir():
            found = "a file" if root.exists() else "nothing"
            raise DataError(f"{root}: no GTSRB there. Found: {found}. Expected: a folder. {MEND}")
        images = (_extracted(root, folder) for folder in (TRAINING_FOLDER, TEST_FOLDER))
        truths = [root, root / "GTSRB", *_extracted(root, TEST_FOLDER)]
        candidates = zip(
            (TRAINING_ARCHIVE, TEST_ARCHIVE, TRUTH_ARCHIVE),
            (*images, [folder / TRUTH_NAME for folder in truths]),
        )
        training, test, truth = (
            _first_present(root, archive, extracted) for archive, extracted in candidates
        )
    return training, test, truth


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to read what lies at `path` into a `DataError`.

    Raises:
        DataError: If the body raises `OSError`.
    """
    try:
        yield
    except OSError as error:
        where = f": {error.filename!s:.200}" if error.filename else ""
        raise DataError(
            f"{path}: cannot be read ({error.strerror}{where}). Expected: GTSRB's archives, or "
            f"files extracted from them. {MEND}"
        ) from error


def _extracted(root: Path, folder: str) -> list[Path]:
    """List the places of `folder` if `root` contains the tree, or is its top folder."""
    return [root / folder, root / folder[len("GTSRB/") :]]


def _first_present(root: Path, archive: str, extracted: Iterable[Path]) -> Path:
    candidates = [root / archive, *extracted]
    for path in candidates:
        if path.exists():
            return path.resolve()
    present = sorted(path.name for path in root.iterdir())
    competition = (root / COMPETITION_FOLDER).exists() or "GTSRB-Training_fixed.zip" in present
    found = COMPETITION if competition else ", ".join(present[:8]) or "an empty folder"
    raise DataError(
        f"{root}: {archive} is missing. Found: {found}. Expected one of: "
        f"{', '.join(str(path) for path in candidates)}. {MEND}"
    )


def files_below(folder: Path) -> list[os.DirEntry[str]]:
    """List every file below `folder`, in the order of their paths; links are followed.

    Raises:
        DataError: If there is more than an official archive holds, if links lead to a folder
            twice (in a circle, too), or if a folder cannot be read.
    """
    found: list[os.DirEntry[str]] = []
    waiting, seen, count = [str(folder)], set(), 0
    with readable(folder):
        while waiting:
            place = waiting.pop()
            status = os.stat(place)  # noqa: PTH116 - as `os.scandir`
            if (status.st_dev, status.st_ino) in seen:
                raise unexpected(folder, [], f"no link to a folder that is there twice ({place})")
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                listed = list(islice(entries, MEMBERS + 1 - count))
            count += len(listed)
            if count > MEMBERS:
                raise unexpected(folder, [], f"at most {MEMBERS:,} files and folders below it")
            waiting += [entry.path for entry in listed if entry.is_dir()]
            found += [entry for entry in listed if not entry.is_dir()]
    return sorted(found, key=lambda entry: entry.path)


@contextmanager
def opened(path: Path, folder: str) -> Iterator[Source]:
    """Open the archive, folder or csv file at `path`.

    Args:
        path: As returned by `locate`.
        folder: In an archive, only the files below it are opened; "" for all.

    Raises:
        DataError: If `path` is not a whole archive, or contains nothing below `folder`.
    """
    if path.is_dir():
        names = [os.path.relpath(entry.path, path) for entry in files_below(path)]
        yield Source(path, "", names, lambda name: read_within(path / name, MEMBER_BYTES))
    elif path.suffix == ".csv":
        place = path.parent
        yield Source(place, "", [path.name], lambda name: read_within(place / name, MEMBER_BYTES))
    else:
        with contextlib.ExitStack() as stack:
            archive = _zip(path, stack)
            everything = archive.namelist()
            prefix = f"{folder}/" if folder else ""
            names = [name[len(prefix) :] for name in everything if name.startswith(prefix)]
            if not any(name.endswith((".ppm", ".csv")) for name in names):
                raise unexpected(path, everything, f"files below {folder or 'its top'}")

            def read(name: str) -> bytes:
                return read_member(archive, archive.getinfo(prefix + name))

            yield Source(path, prefix, sorted(names), read)


def _zip(path: Path, stack: contextlib.ExitStack) -> zipfile.ZipFile:
    """Open a zip archive until `stack` is closed.

    Raises:
        DataError: If it cannot be read, is none, or is larger than an official one can be.
    """
    try:
        return stack.enter_context(opened_archive(path))
    except FAULTS as error:
        raise DataError(
            f"{path}: {error}. Found: {_first_look(path)}. Expected: a whole zip archive; the file "
            f"is truncated or something else. Delete it (`rm '{path}'`); {MEND}"
        ) from error


def _first_look(path: Path) -> str:
    """Describe size and kind of a file that should have been an archive."""
    with readable(path), open_regular(path) as file:
        head = file.read(64)
    size = f"{path.stat().st_size:,} bytes"
    if head.startswith(b"PK"):
        return f"{size}, the beginning of a zip archive"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"{size} of HTML: a web page was saved in its place"
    return f"{size} that begin with {head[:16]!r}"


def unexpected(path: Path, names: list[str], expected: str) -> DataError:
    """Make the error that says that `names` are not the official files."""
    images = sum(name.endswith(".ppm") for name in names)
    is_competition = images == COMPETITION_IMAGES or any(
        name.startswith(COMPETITION_FOLDER) for name in names
    )
    found = f"{images:,} images" + (f": {COMPETITION}" if is_competition else "")
    return DataError(f"{path}: not the official set. Found: {found}. Expected: {expected}. {MEND}")


def wrong(source: Source, name: str, found: str, expected: str) -> DataError:
    """Make the error that says what is wrong with one file of `source`."""
    return DataError(
        f"{source.path}: {source.folder}{name} is damaged or not the official file. "
        f"Found: {found}. Expected: {expected}. {MEND}"
    )


def content(source: Source, name: str) -> bytes:
    """Read the file `name` of `source`.

    Raises:
        DataError: If it cannot be read or its checksum is wrong.
    """
    try:
        return source.read(name)
    except OSError as error:
        raise wrong(source, name, error.strerror or str(error), "a whole file") from error
    except FAULTS as error:
        raise wrong(source, name, str(error), "a whole file") from error
