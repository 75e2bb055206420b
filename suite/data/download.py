"""The download of the official GTSRB archives into the cache; interrupted transfers are resumed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

from suite.data.archives import ARCHIVE_BYTES, fault_of
from suite.data.cache import cache_root, writable
from suite.errors import DataError

BASE_URL = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
TRAINING_ARCHIVE = "GTSRB_Final_Training_Images.zip"
TEST_ARCHIVE = "GTSRB_Final_Test_Images.zip"
TRUTH_ARCHIVE = "GTSRB_Final_Test_GT.zip"
CHECKSUMS: dict[str, str | None] = {
    TRAINING_ARCHIVE: None,  # no checksum is published: it is known by its pixels, see `gtsrb`
    TEST_ARCHIVE: "md5:c7e4e6327067d32654124b0fe9e82185",
    TRUTH_ARCHIVE: "md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5",
}

MEND = (
    "`nox -s data` downloads the official archives again (then leave GTSRB_ROOT unset); or set "
    "GTSRB_ROOT / --gtsrb-root to a folder that holds the three archives or their extracted tree."
)
"""The end of every message about missing or wrong data."""

NOTICE = """\
Downloading the German Traffic Sign Recognition Benchmark (GTSRB)
  from    {url}
  to      {folder}
  source  Institut fuer Neuroinformatik, Ruhr-Universitaet Bochum, https://benchmark.ini.rub.de
  terms   free to use for research; cite Stallkamp, Schlipsing, Salmen and Igel, "Man vs. computer:
          Benchmarking machine learning algorithms for traffic sign recognition", Neural Networks
          32 (2012). The archives are not part of this package and not under its licence.
"""

TIMEOUT_S = (15, 60)  # to connect, and between two pieces
CHUNK_BYTES = 1 << 18  # received at once
POOCH_TEMPORARY = re.compile(r"tmp[a-z0-9_]{8}")


def archive_folder() -> Path:
    """Locate the cache's folder for downloaded archives, whether it exists or not."""
    return cache_root() / "gtsrb"


def gtsrb_root() -> Path:
    """Locate GTSRB: at GTSRB_ROOT, or else downloaded, now if it is not there yet.

    Raises:
        DataError: If an archive has to be fetched and cannot.
    """
    named = os.environ.get("GTSRB_ROOT")
    return Path(named) if named else downloaded()


def downloaded() -> Path:
    """Locate the downloaded archives; fetch those that are missing.

    Raises:
        DataError: If one cannot be fetched.
    """
    folder = archive_folder()
    present = all((folder / name).exists() for name in CHECKSUMS)
    return folder if present else download_gtsrb()


def download_gtsrb(
    *, base_url: str = BASE_URL, checksums: dict[str, str | None] | None = None
) -> Path:
    """Fetch the archives that are missing or damaged; return the folder that holds all three.

    Args:
        base_url: Address of the folder of the archives.
        checksums: "md5:..." of each archive, or None where there is none; `CHECKSUMS` by default.

    Raises:
        DataError: If an archive cannot be fetched, is not the official one, or does not fit.
    """
    folder, known = archive_folder(), CHECKSUMS if checksums is None else checksums
    with writable(folder, needed="a writable folder"):
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / "download.lock").acquire()
    with held:
        _sweep(folder)
        url = base_url.rstrip("/") + "/"
        store = pooch.create(path=folder, base_url=url, registry=known)
        damaged = [path for path in map(folder.joinpath, known) if path.exists() and fault_of(path)]
        for path in damaged:
            path.unlink()
        if not all((folder / name).exists() for name in known):
            sys.stderr.write(NOTICE.format(url=url, folder=folder))
        for name in known:
            _fetch(store, name)
    return folder


def _sweep(folder: Path) -> None:
    """Remove what a killed download left of pooch's own; the caller holds the folder's lock."""
    for path in folder.iterdir():
        if POOCH_TEMPORARY.fullmatch(path.name):
            path.unlink()


def _fetch(store: pooch.Pooch, name: str) -> None:
    """Fetch one archive into the store and check it.

    Raises:
        DataError: If it cannot be fetched or stored, or is not the official one.
    """
    path, url = Path(store.path, name), store.get_url(name)
    try:
        store.fetch(name, downloader=resume)
    except requests.RequestException as error:
        raise _failed(url, str(error)) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error}) while downloading {url}. Expected: room for the "
            "archives (0.4 GB). Free some space, or set SUITE_CACHE to a folder on another disk."
        ) from error
    except ValueError as error:  # pooch raises it for a wrong checksum
        raise _failed(url, str(error)) from error
    fault = fault_of(path)
    if fault:
        path.unlink()
        raise _failed(url, f"the file received is not a whole zip archive ({fault})")


def _failed(url: str, cause: str) -> DataError:
    return DataError(f"{url}: download failed. Found: {cause}. Expected: the archive. {MEND}")


def resume(url: str, output_file: str | Path, store: pooch.Pooch) -> None:
    """Download `url` to `output_file`, resuming an interrupted transfer; a downloader for pooch.

    The unfinished part lies in the store's folder as ``<archive>.part``. A server that ignores the
    HTTP range sends the whole file again.

    Args:
        url: Address of the archive.
        output_file: The path at which pooch wants the whole file.
        store: The pooch whose folder keeps the unfinished part.

    Raises:
        requests.RequestException: If the transfer fails; the part stays for the next call.
    """
    part = Path(store.path, f"{url.rsplit('/', 1)[-1]}.part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            _check_size(part, response.headers.get("Content-Range", ""))
        else:
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            _receive(response, part, have=have if resumed else 0)
    part.replace(output_file)


def _check_size(part: Path, content_range: str) -> None:
    """Accept a part that is as long as the server's whole file; delete any other.

    Raises:
        requests.ConnectionError: If the part was deleted.
    """
    size = part.stat().st_size if part.exists() else 0
    if size == 0 or content_range != f"bytes */{size}":
        if part.exists():
            part.unlink()
        raise requests.ConnectionError(
            f"{part.name} of {size:,} bytes does not belong to the server's file "
            f"({content_range or 'of unknown size'}); it was deleted"
        )


def _receive(response: requests.Response, part: Path, *, have: int) -> None:
    """Append the body of `response` to the first `have` bytes of `part`.

    Raises:
        requests.ConnectionError: If the connection closes too early, or more comes than any
            archive has.
    """
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdecimal() else None
    progress = tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True)
    with progress, part.open("ab" if have else "wb") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            progress.update(file.write(chunk))
            if file.tell() > ARCHIVE_BYTES:
                part.unlink()  # nothing to go on with
                raise requests.ConnectionError(f"more than {ARCHIVE_BYTES:,} bytes came")
    if total is not None and part.stat().st_size != total:
        raise requests.ConnectionError(
            f"{part.stat().st_size:,} of {total:,} bytes came before the connection closed"
        )
