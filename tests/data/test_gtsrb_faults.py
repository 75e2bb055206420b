"""Whatever is damaged, missing or wrong in an archive of GTSRB is refused, and named."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from suite.data import Dataset
from suite.data.download import TEST_ARCHIVE, TRAINING_ARCHIVE, TRUTH_ARCHIVE
from suite.data.gtsrb import Expected, load_verified
from suite.data.sources import TEST_FOLDER, TRAINING_FOLDER
from suite.errors import DataError
from tests.bounds import within
from tests.data.conftest import edit

Forged = dict[str, dict[str, bytes]]
Write = Callable[[Forged], Path]
Load = Callable[[Forged], Dataset]

CLASS_0 = f"{TRAINING_FOLDER}/00000"
TRUTH = "GT-final_test.csv"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "bytes, the beginning of a zip archive"),
        (b"<!DOCTYPE html><html>404</html>", "31 bytes of HTML: a web page"),
        (b"", "0 bytes that begin with b''"),
    ],
)
@pytest.mark.parametrize("name", [TRAINING_ARCHIVE, TEST_ARCHIVE, TRUTH_ARCHIVE])
def test_a_file_that_is_no_whole_zip_is_named_with_what_it_is(  # noqa: PLR0917 - fixtures
    name: str,
    content: bytes | None,
    found: str,
    forged: Forged,
    write_archives: Write,
    expected: Expected,
) -> None:
    path = write_archives(forged) / name
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    with pytest.raises(DataError, match=rf"{name}: .*{found}.*truncated.*rm '.*{name}'.*nox"):
        load_verified(path.parent, size_px=4, expected=expected)


def test_a_flipped_bit_in_an_image_fails_its_crc(
    forged: Forged, write_archives: Write, expected: Expected
) -> None:
    path = write_archives(forged) / TEST_ARCHIVE
    content = bytearray(path.read_bytes())
    content[content.index(b"255\n") + 10] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{TEST_ARCHIVE}: .*00000.ppm is damaged.*Bad CRC-32"):
        load_verified(path.parent, size_px=4, expected=expected)


def test_a_damaged_header_that_looks_like_encryption_is_damage(
    forged: Forged, write_archives: Write, expected: Expected
) -> None:
    path = write_archives(forged) / TEST_ARCHIVE
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{TEST_ARCHIVE}: .*00000.ppm is damaged.*encrypted"):
        load_verified(path.parent, size_px=4, expected=expected)


def test_no_damaged_byte_gives_wrong_data_or_a_foreign_error(
    forged: Forged, load: Load, expected: Expected, tmp_path: Path
) -> None:
    digest, rng = load(forged).digest, np.random.default_rng(0)
    path = tmp_path / "archives" / TRAINING_ARCHIVE
    whole = path.read_bytes()
    outcomes = set()
    for position in rng.choice(len(whole), 150, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = load_verified(path.parent, size_px=4, expected=expected).digest
        except DataError:
            outcomes.add("refused")
        else:
            assert found == digest
            outcomes.add("harmless")
    assert outcomes == {"refused", "harmless"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"P6\n6 4\n255\n" + bytes(71), "truncated|not enough"),
        (b"P6\n6 x\n255\n" + bytes(72), "invalid literal"),
        (b"\x89PNG\r\n", "cannot identify"),
        (b"", "cannot identify"),
        (b"P6\n4 6\n255\n" + bytes(72), r"\(4, 6, 'RGB'\). Expected: \(6, 4, 'RGB'\)"),
        (b"P5\n6 4\n255\n" + bytes(24), r"\(6, 4, 'L'\)"),
        (b"P6\n60000 60000\n255\n", "exceeds limit"),
        (b"P6\n10000 10000\n255\n", r"exceeds limit|\(10000, 10000, 'RGB'\). Expected"),
    ],
    ids=["short", "no number", "png", "empty", "turned", "grey", "huge", "large"],
)
def test_a_corrupt_image_is_named(content: bytes, found: str, forged: Forged, load: Load) -> None:
    forged[TRAINING_ARCHIVE][f"{CLASS_0}/00001_00000.ppm"] = content
    with pytest.raises(DataError, match=rf"00000/00001_00000.ppm is damaged.*({found})"):
        load(forged)


def test_no_memory_is_taken_for_pixels_that_are_not_there(forged: Forged, load: Load) -> None:
    members = forged[TRAINING_ARCHIVE]
    members[f"{CLASS_0}/00000_00000.ppm"] = b"P6\n9000 9000\n255\n" + bytes(72)
    edit(members, f"{CLASS_0}/GT-00000.csv", b"0.ppm;6;4", b"0.ppm;9000;9000")
    found = r"00000_00000.ppm is damaged.*Found: 89 bytes. Expected: all of its \(9000, 9000"
    with within(30, megabytes=20), pytest.raises(DataError, match=found):
        load(forged)


@pytest.mark.parametrize(
    ("table", "found"),
    [(b'"' + b"x" * 200_000, "field larger than field limit"), (b"x" * 100_000, "header ")],
    ids=["quoted", "long"],
)
def test_a_table_that_is_none_is_named_in_few_words(
    table: bytes, found: str, forged: Forged, load: Load
) -> None:
    forged[TRAINING_ARCHIVE][f"{CLASS_0}/GT-00000.csv"] = table
    with pytest.raises(DataError, match=rf"GT-00000.csv is damaged.*Found: {found}") as caught:
        load(forged)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (b"00000_00001.ppm;6;4;0;0;5;3;0\r\n", b"", "00000_00001.ppm .* without a csv row"),
        (b"00000_00001.ppm", b"00000_00009.ppm", "00000_0000.*(without|image)"),
        (b"0_00001.ppm;6;4;0;0;5;3;0", b"0_00001.ppm;6;4;0;0;5;3;1", "line 3.*the last one 0"),
        (b"0_00001.ppm;6;4;0;0;5;3;0", b"0_00001.ppm;6;4;0;0;5;3;x", "line 3.*seven whole"),
        (b"0_00001.ppm;6;4;0;0;5;3;0", b"0_00001.ppm;6;4;0;0.5;5;3;0", "line 3.*seven whole"),
        (b"0_00001.ppm;6;4;0;0;5;3;0", b"0_00001.ppm;6;4;0;0;5;3;-1", "line 3.*seven whole"),
        (b"0_00001.ppm;6;4;0;0;5;3;0", b"0_00001.ppm;6;4;0", "line 3.*seven whole"),
        (b"00000_00001.ppm", b"00000_00000.ppm", "line 3.*a new file name"),
        (b"00001.ppm;6;4", b"00001.ppm;6;5", r"\(6, 4, 'RGB'\). Expected: \(6, 5, 'RGB'\)"),
        (b"Width;Height", b"Height;Width", "header"),
        (b"ClassId\r\n", b"ClassId\r\n\xff\r\n", "line 2"),
    ],
)
def test_a_wrong_line_of_a_csv_file_is_named(
    old: bytes, new: bytes, found: str, forged: Forged, load: Load
) -> None:
    edit(forged[TRAINING_ARCHIVE], f"{CLASS_0}/GT-00000.csv", old, new)
    with pytest.raises(DataError, match=rf"{TRAINING_ARCHIVE}: .*{found}"):
        load(forged)


def test_a_missing_csv_file_is_named(forged: Forged, load: Load) -> None:
    del forged[TRAINING_ARCHIVE][f"{CLASS_0}/GT-00000.csv"]
    with pytest.raises(DataError, match=r"00000/GT-00000.csv is damaged.*no such file"):
        load(forged)


def test_an_image_too_many_or_too_few_is_refused(
    forged: Forged, load: Load, expected: Expected, write_tree: Write
) -> None:
    del forged[TEST_ARCHIVE][f"{TEST_FOLDER}/00001.ppm"]
    with pytest.raises(DataError, match=rf"{TEST_ARCHIVE}.*Found: 2 images. Expected: 3 images"):
        load(forged)
    forged[TEST_ARCHIVE] |= {f"{TEST_FOLDER}/0000{n}.ppm": b"" for n in (1, 3)}
    with pytest.raises(DataError, match=r"Found: 4 images. Expected: 3 images"):
        load_verified(write_tree(forged), size_px=4, expected=expected)


def test_an_image_under_another_name_is_refused(forged: Forged, load: Load) -> None:
    images = forged[TRAINING_ARCHIVE]
    images[f"{CLASS_0}/copy.ppm"] = images.pop(f"{CLASS_0}/00000_00001.ppm")
    with pytest.raises(DataError, match=r"00000/copy.ppm is damaged or not the official file"):
        load(forged)


def test_a_wrong_count_of_a_class_is_refused(forged: Forged, load: Load) -> None:
    images = forged[TRAINING_ARCHIVE]
    moved = images.pop(f"{CLASS_0}/00000_00001.ppm")
    images[f"{TRAINING_FOLDER}/00001/00000_00001.ppm"] = moved
    with pytest.raises(DataError, match=r"Found: 3 images of class 0. Expected: 4 of this class"):
        load(forged)


def test_a_wrong_count_of_tracks_is_refused(forged: Forged, load: Load) -> None:
    images = forged[TRAINING_ARCHIVE]
    for frame in ("00000", "00001"):
        images[f"{CLASS_0}/00000_1{frame[1:]}.ppm"] = images.pop(f"{CLASS_0}/00001_{frame}.ppm")
        edit(
            images,
            f"{CLASS_0}/GT-00000.csv",
            f"00001_{frame}".encode(),
            b"00000_1" + frame[1:].encode(),
        )
    with pytest.raises(DataError, match=r"Found: 3 tracks. Expected: 4 tracks"):
        load(forged)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (b"00001.ppm;6;4;0;0;5;3;0\n", b"", "0 images of class 0"),
        (b"00001.ppm;6;4;0;0;5;3;0", b"00001.ppm;6;4;0;0;5;3;1", "0 images of class 0"),
        (b"00001.ppm;6;4;0;0;5;3;0", b"00001.ppm;6;4;0;0;5;3;q", "line 3"),
        (b"00001.ppm", b"00007.ppm", "00001.ppm is .* without a csv row"),
    ],
)
def test_a_wrong_line_of_the_ground_truth_is_named(
    old: bytes, new: bytes, found: str, forged: Forged, load: Load
) -> None:
    edit(forged[TRUTH_ARCHIVE], TRUTH, old, new)
    with pytest.raises(DataError, match=found):
        load(forged)


def test_test_labels_in_another_order_are_refused(
    forged: Forged, write_archives: Write, expected: Expected
) -> None:
    root = write_archives(forged)
    with pytest.raises(DataError, match=rf"{TRUTH} is damaged.*another order"):
        load_verified(root, size_px=4, expected=expected._replace(test_labels_sha256="0" * 64))


def test_an_unreadable_archive_kind_is_refused(
    forged: Forged, load: Load, expected: Expected, tmp_path: Path
) -> None:
    load(forged)
    path = tmp_path / "archives" / TRAINING_ARCHIVE
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    with pytest.raises(DataError, match=r"Found: 0 images. Expected: files below GTSRB/Final_Tr"):
        load_verified(path.parent, size_px=4, expected=expected)
