"""Whatever an archive, a tree, a table, an image or the cache holds, it is data or a DataError."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from suite.data import Dataset, digests
from suite.data.cache import cache_root
from suite.data.gtsrb import load_verified
from suite.diagnose.images import list_images, load_images
from suite.errors import DataError
from tests.data.conftest import EXPECTED, Forged, forge, pack, unpack
from tests.property.hostile import answered, damaged

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")  # of zipfile, when it writes one
FORGED = forge()
MEMBERS = [(archive, member) for archive, members in FORGED.items() for member in members]
ARCHIVES = sorted(FORGED)
NAMES = st.one_of(
    st.sampled_from([member for _, member in MEMBERS]),
    st.sampled_from(["../x.ppm", "/etc/x.ppm", "", "a\\b.ppm", "\x00", "\u202e.ppm", "x" * 300]),
    st.text(max_size=20),
)
NAME_MAX = 99  # bytes of a name that every file system takes
FORMATS = ("PNG", "JPEG", "BMP", "PPM")


@pytest.fixture(autouse=True, scope="module")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def _load(root: Path) -> Dataset | None:
    """Load a data set at 4 pixels; None where it is refused."""
    with answered(DataError):
        return load_verified(root, size_px=4, expected=EXPECTED)
    return None


def _digest(forged: Forged) -> str:
    with TemporaryDirectory() as place:
        found = _load(pack(forged, Path(place, "archives")))
        assert found is not None
        return found.digest


def _images(width: int = 5) -> dict[str, bytes]:
    """Make a small image in each format, by name."""
    pixels = np.arange(width * 4 * 3, dtype=np.uint8).reshape(4, width, 3)
    found = {}
    for kind in FORMATS:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        found[kind] = file.getvalue()
    return found


IMAGES = _images()


def _writable(name: str) -> str:
    """Make a name that zipfile can write; others come about when a whole archive is damaged."""
    return name.partition("\0")[0] or "x"


@st.composite
def with_one_member(draw: st.DrawFn) -> Forged:
    """Damage or rename one file, or add one."""
    archive, member = draw(st.sampled_from(MEMBERS))
    found = {name: dict(members) for name, members in FORGED.items()}
    content = draw(damaged(found[archive][member]))
    if draw(st.booleans()):
        del found[archive][member]
        member = _writable(draw(NAMES))
    found[archive][member] = content
    return found


@given(with_one_member())
def test_archives_with_a_hostile_file_are_data_or_refused(forged: Forged) -> None:
    with TemporaryDirectory() as place:
        _load(pack(forged, Path(place, "archives")))


@given(st.sampled_from(ARCHIVES), st.data())
def test_a_damaged_archive_gives_the_same_data_or_none(name: str, data: st.DataObject) -> None:
    with TemporaryDirectory() as place:
        root = pack(FORGED, Path(place, "archives"))
        (root / name).write_bytes(data.draw(damaged((root / name).read_bytes())))
        found = _load(root)
        assert found is None or found.digest == _digest(FORGED)


@given(st.sampled_from(ARCHIVES), st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=5))
def test_an_archive_of_anything_is_refused(name: str, members: list[tuple[str, bytes]]) -> None:
    with TemporaryDirectory() as place:
        root = pack(FORGED, Path(place, "archives"))
        with zipfile.ZipFile(root / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members:
                archive.writestr(_writable(member), content)
        assert _load(root) is None


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


PLANTED: list[Callable[[Path], object]] = [
    os.mkfifo, Path.mkdir, Path.touch, _link("."), _link(".."), _link("/dev/zero"), _link("/proc"),
    _link("nothing"), _link("/dev/stdin"), lambda path: path.symlink_to(path),
]  # fmt: skip


@given(st.sampled_from(PLANTED), NAMES.filter(lambda name: len(name) < NAME_MAX))
@example(os.mkfifo, MEMBERS[0][1])
@example(PLANTED[3], "GTSRB/Final_Training/Images/again")
def test_a_tree_with_anything_in_the_place_of_a_file_is_data_or_refused(
    plant: Callable[[Path], object], name: str
) -> None:
    with TemporaryDirectory() as place:
        root = unpack(FORGED, Path(place, "tree"))
        path = root / name.replace("/", os.sep).lstrip("/").replace("\x00", "0").replace("..", "_")
        if os.path.lexists(path) and path.is_file():
            path.unlink()
        if not os.path.lexists(path) and path.parent.is_dir():
            plant(path)
        _load(root)


@given(with_one_member())
def test_a_tree_with_a_hostile_file_is_data_or_refused(forged: Forged) -> None:
    safe = {
        archive: {name: content for name, content in members.items() if (archive, name) in MEMBERS}
        for archive, members in forged.items()
    }
    with TemporaryDirectory() as place:
        _load(unpack(safe, Path(place, "tree")))


def test_an_array_whose_header_is_no_python_is_damage() -> None:
    """Found by fuzzing: NumPy parses the header with Python's own tokenizer."""
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_CACHE", str(Path(place, "cache")))
        root = pack(FORGED, Path(place, "archives"))
        assert _load(root) is not None
        for path in cache_root().rglob("train-labels.npy"):
            header = path.read_bytes().replace(b"8', '", b"\x00'").replace(b", }", b"PK ")
            path.write_bytes(header)
        assert _load(root) is None


@given(st.data())
def test_a_damaged_cache_gives_the_same_data_or_none(data: st.DataObject) -> None:
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_CACHE", str(Path(place, "cache")))
        patch.setattr(digests.time, "time", lambda: 1.8e9)  # the same bytes in every run
        root = pack(FORGED, Path(place, "archives"))
        whole = _load(root)
        assert whole is not None
        files = sorted(path for path in cache_root().rglob("*") if path.suffix in (".npy", ".json"))
        path = data.draw(st.sampled_from(files))
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        found = _load(root)
        assert found is None or found.digest == whole.digest


@given(st.sampled_from(FORMATS), st.data())
def test_a_damaged_image_is_decoded_or_refused(kind: str, data: st.DataObject) -> None:
    with TemporaryDirectory() as place:
        for label in "ab":
            path = Path(place, label, f"image.{kind.lower()}")
            path.parent.mkdir()
            path.write_bytes(data.draw(damaged(IMAGES[kind])))
        with answered(DataError, about=place):
            listing = list_images(place)
            load_images(listing, height_px=4, width_px=4, channels=3, count=9, seed=0)


@given(st.data())
def test_a_damaged_table_of_labels_is_read_or_refused_by_a_diagnosis(data: st.DataObject) -> None:
    found = {name: dict(members) for name, members in FORGED.items()}
    [(name, table)] = found["GTSRB_Final_Test_GT.zip"].items()
    found["GTSRB_Final_Test_GT.zip"][name] = data.draw(damaged(table))
    with TemporaryDirectory() as place:
        root = pack(found, Path(place, "archives"))
        with answered(DataError, about=place):
            list_images(str(root))
