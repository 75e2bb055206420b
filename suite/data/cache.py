"""The cache of decoded data sets: memory-mapped arrays, decoded once, shared by every process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np
import pooch
from filelock import FileLock

from suite.data.split import Dataset, Split
from suite.errors import DataError
from suite.files import code_digest, open_regular, parse_json, read_within

if TYPE_CHECKING:
    from numpy.typing import NDArray

MANIFEST = "manifest.json"  # the digest of each array beside it
MANIFEST_BYTES = 4096  # there are eight
BAD_ARRAY = (EOFError, LookupError, OverflowError, SyntaxError, TokenError, TypeError, ValueError)
"""What NumPy raises for a damaged file: its header is parsed as Python."""

DIGESTED = ("train-images", "train-labels", "test-images", "test-labels")
"""The arrays that the digest of a data set covers, in order."""


def cache_root() -> Path:
    """Locate the folder of everything that the suite keeps: SUITE_CACHE, else the user's cache."""
    return Path(
        os.environ.get("SUITE_CACHE") or pooch.os_cache("adversarial-training-regression")
    ).absolute()


def cached_dataset(
    name: str, key: Mapping[str, object], make: Callable[[], tuple[Split, Split]]
) -> Dataset:
    """Load the data set of `key` from the cache, its arrays mapped read-only.

    Args:
        name: Name of the data set.
        key: Everything that decides the arrays; JSON values.
        make: Decodes the data set into (train, test); called if the cache does not hold it.

    Raises:
        DataError: If the cache cannot be written, or what it holds is damaged.
    """
    made_by = {"code": code_digest(Path(__file__).parent)}
    text = json.dumps({"name": name, **made_by, **key}, sort_keys=True)
    folder = cache_root() / "data" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        _build(folder, make)
    return _load(name, folder)


@contextmanager
def writable(folder: Path, *, needed: str) -> Iterator[None]:
    """Turn an operating system's refusal to write into `folder` into a `DataError`.

    Args:
        folder: The folder that the body of the ``with`` statement writes into.
        needed: What is expected of the folder, for the message.

    Raises:
        DataError: If the body raises `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error}). Expected: {needed}. "
            "Free some space, or set SUITE_CACHE to a folder on another disk."
        ) from error


def _build(folder: Path, make: Callable[[], tuple[Split, Split]]) -> None:
    """Decode into `folder`, unless another process has done so while this one waited."""
    with writable(folder.parent, needed="a writable folder"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder.parent / "build.lock").acquire()
    with held:
        if not folder.is_dir():
            _store(folder, *make())


def _store(folder: Path, train: Split, test: Split) -> None:
    """Write both splits beside `folder`, then rename the result to `folder` in one step."""
    arrays = {f"train-{field}": array for field, array in train._asdict().items()}
    arrays.update({f"test-{field}": array for field, array in test._asdict().items()})
    for stale in folder.parent.glob("*.partial"):  # of killed builds: no other holds the lock
        shutil.rmtree(stale)
    partial = folder.with_name(f"{folder.name}.partial")
    needed = f"room for {sum(array.nbytes for array in arrays.values()):,} bytes"
    try:
        with writable(partial, needed=needed):
            _write(partial, arrays)
            partial.replace(folder)
    except DataError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    digests = {name: array_digest(array) for name, array in arrays.items()}
    (folder / MANIFEST).write_text(json.dumps(digests, indent=2), encoding="utf-8")


def _load(name: str, folder: Path) -> Dataset:
    """Load the data set in `folder` and compare the digests of its arrays.

    Raises:
        DataError: If an array is damaged.
    """
    arrays, digests = {}, {}
    for array_name, expected in _manifest(folder).items():
        path = folder / f"{array_name}.npy"
        arrays[array_name] = _mapped(path)
        digests[array_name] = array_digest(arrays[array_name])
        if digests[array_name] != expected:
            raise _damaged(path, f"sha256 {digests[array_name]}", f"sha256 {expected}")
    train, test = (
        Split(*(arrays[f"{part}-{field}"] for field in Split._fields)) for part in ("train", "test")
    )
    return Dataset(name, train, test, _combined(digests))


def _manifest(folder: Path) -> dict[str, str]:
    """Read the digests that were stored with the arrays of `folder`.

    Raises:
        DataError: If they are missing or damaged.
    """
    path = folder / MANIFEST
    try:
        digests = parse_json(read_within(path, MANIFEST_BYTES))
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error), "the digests of the arrays beside it") from error
    names = {f"{part}-{field}" for part in ("train", "test") for field in Split._fields}
    if not isinstance(digests, dict) or digests.keys() != names:
        raise _damaged(path, f"{digests!r:.200}", f"a digest for each of {sorted(names)}")
    return digests


def _mapped(path: Path) -> NDArray[Any]:
    try:
        open_regular(path).close()  # a pipe would be waited for
        return np.asarray(np.lib.format.open_memmap(str(path), mode="r"))
    except (*BAD_ARRAY, OSError) as error:
        raise _damaged(path, str(error), "a whole .npy file") from error


def _damaged(path: Path, found: str, expected: str) -> DataError:
    return DataError(
        f"{path}: damaged cache. Found: {found}. Expected: {expected}. "
        f"Delete it with `rm -r '{path.parent}'`; the next run decodes it again."
    )


def array_digest(array: NDArray[Any]) -> str:
    """Compute the SHA-256 of an array: type, shape and bytes."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _combined(digests: Mapping[str, str]) -> str:
    text = " ".join(digests[name] for name in DIGESTED)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
