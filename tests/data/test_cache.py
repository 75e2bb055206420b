"""The cache decodes once, is shared, notices damage, and survives kills and full disks."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from suite.data.cache import cache_root, cached_dataset
from suite.data.split import Split
from suite.errors import DataError
from tests.bounds import within

PROCESS = """
import os, signal, sys, time
import numpy as np
from suite.data import cache
from suite.data.split import Split

def tell(word):
    with open(sys.argv[1], "a") as log:
        log.write(word + "\\n")

def make():
    tell("made")
    while open(sys.argv[1]).read().count("started") < int(sys.argv[3]):
        time.sleep(0.01)
    time.sleep(0.2)
    arrays = np.zeros((2, 4, 4, 3), np.uint8), np.arange(2), np.arange(2), np.array(["a", "b"])
    return Split(*arrays), Split(*arrays)

tell("started")
if sys.argv[2] == "kill":
    cache.Path.replace = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)
print(cache.cached_dataset("forged", {"version": 1}, make).digest)
"""


def _split(value: int) -> Split:
    images = np.full((3, 4, 4, 3), value, np.uint8)
    return Split(images, np.arange(3), np.arange(3), np.array(["a", "b", "c"]))


def _make() -> tuple[Split, Split]:
    return _split(1), _split(2)


def _never() -> tuple[Split, Split]:
    raise AssertionError("decoded again")


def _folder() -> Path:
    return next(path for path in (cache_root() / "data").iterdir() if path.is_dir())


def test_the_second_load_maps_the_arrays_of_the_first() -> None:
    first = cached_dataset("forged", {"version": 1}, _make)
    second = cached_dataset("forged", {"version": 1}, _never)
    assert first.digest == second.digest
    assert first.digest.startswith("sha256:")
    for made, kept in zip(_make(), (second.train, second.test), strict=True):
        for field in Split._fields:
            expected, array = getattr(made, field), getattr(kept, field)
            assert array.dtype == expected.dtype
            assert (array == expected).all()
    assert isinstance(second.train.images.base, np.memmap)
    assert not second.train.images.flags.writeable


def test_another_key_is_another_entry() -> None:
    first = cached_dataset("forged", {"version": 1}, _make)
    second = cached_dataset("forged", {"version": 2}, lambda: (_split(1), _split(3)))
    assert first.digest != second.digest


def test_the_digest_follows_images_and_labels_but_not_names() -> None:
    def digest(version: int, split: Split) -> str:
        return cached_dataset("forged", {"version": version}, lambda: (_split(1), split)).digest

    base = _split(2)
    assert digest(1, base) == digest(2, base._replace(names=np.array(["x", "y", "z"])))
    assert digest(1, base) != digest(3, base._replace(labels=np.array([0, 2, 1])))
    assert digest(1, base) != digest(4, base._replace(images=base.images.reshape(3, 2, 8, 3)))


@pytest.mark.parametrize("name", ["train-images", "train-labels", "test-tracks", "test-names"])
def test_a_flipped_bit_is_noticed_and_the_error_says_how_to_mend_it(name: str) -> None:
    cached_dataset("forged", {}, _make)
    path = _folder() / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}.npy: damaged cache.*rm -r '{_folder()}'"):
        cached_dataset("forged", {}, _never)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"junk" * 60, b"[" * 3_000])
@pytest.mark.parametrize("name", ["manifest.json", "train-images.npy"])
def test_a_truncated_or_foreign_file_is_damage(name: str, damage: bytes) -> None:
    cached_dataset("forged", {}, _make)
    (_folder() / name).write_bytes(damage)
    with pytest.raises(DataError, match=rf"{name}: damaged cache"):
        cached_dataset("forged", {}, _never)


@pytest.mark.parametrize("name", ["manifest.json", "train-images.npy"])
def test_a_pipe_in_the_place_of_a_file_is_damage_and_not_waited_for(name: str) -> None:
    cached_dataset("forged", {}, _make)
    (_folder() / name).unlink()
    os.mkfifo(_folder() / name)
    with within(30), pytest.raises(DataError, match=rf"{name}: damaged cache.*named pipe"):
        cached_dataset("forged", {}, _never)


def test_a_missing_file_is_damage_and_deleting_the_folder_mends_it() -> None:
    cached_dataset("forged", {}, _make)
    (_folder() / "test-labels.npy").unlink()
    with pytest.raises(DataError, match=r"test-labels.npy: damaged cache") as caught:
        cached_dataset("forged", {}, _never)
    command = shlex.split(str(caught.value).split("`")[1])
    subprocess.run(command, check=True)  # noqa: S603 - the command that the error message gives
    cached_dataset("forged", {}, _make)


def _start(log: Path, mode: str, *, processes: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS, str(log), mode, str(processes)]
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    return subprocess.Popen(  # noqa: S603 - the program above
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    )


def test_two_processes_decode_once(tmp_path: Path) -> None:
    processes = [_start(tmp_path / "log", "build", processes=2) for _ in range(2)]
    digests = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(digests) == 1
    assert (tmp_path / "log").read_text().count("made") == 1


def test_a_build_killed_before_its_end_is_made_again_and_swept(tmp_path: Path) -> None:
    killed = _start(tmp_path / "log", "kill", processes=1)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert [path.suffix for path in (cache_root() / "data").iterdir() if path.is_dir()] == [
        ".partial"
    ]
    cached_dataset("forged", {"version": 1}, _make)
    assert not list((cache_root() / "data").glob("*.partial"))


@contextmanager
def files_of_at_most_400_bytes() -> Iterator[None]:
    """Let the system refuse to write more, as a full disk does; pytest's own log included."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_names_the_path_the_bytes_and_the_way_out() -> None:
    large = _split(1)._replace(images=np.zeros((3, 32, 32, 3), np.uint8))
    needed = 2 * (3 * 32 * 32 * 3 + 2 * 3 * 8 + 3 * 4)
    refused = pytest.raises(
        DataError, match=rf"cannot be written.*room for {needed:,} bytes.*SUITE_"
    )
    with refused, files_of_at_most_400_bytes():
        cached_dataset("forged", {}, lambda: (large, large))
    assert not list((cache_root() / "data").glob("*.partial"))


def test_a_cache_that_is_a_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written.*SUITE_CACHE"):
        cached_dataset("forged", {}, _make)
