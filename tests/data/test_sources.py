"""Files are found and read whatever lies in their place: links, pipes, too many, too large."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.data import sources
from suite.data.archives import MEMBER_BYTES
from suite.data.download import TEST_ARCHIVE, TRAINING_ARCHIVE, TRUTH_ARCHIVE
from suite.data.gtsrb import Expected, load_verified
from suite.data.sources import TEST_FOLDER, TRAINING_FOLDER, content, opened
from suite.errors import DataError
from tests.bounds import within

Forged = dict[str, dict[str, bytes]]
Write = Callable[[Forged], Path]
IMAGE = f"{TRAINING_FOLDER}/00000/00000_00000.ppm"
TABLE = f"{TRAINING_FOLDER}/00000/GT-00000.csv"


@pytest.fixture
def tree(forged: Forged, write_tree: Write) -> Path:
    """Return the folder of an extracted tree."""
    return write_tree(forged)


def _refused(root: Path, expected: Expected, message: str) -> None:
    with within(30, megabytes=50), pytest.raises(DataError, match=message) as caught:
        load_verified(root, size_px=4, expected=expected)
    assert "\n" not in str(caught.value)
    assert "nox -s data" in str(caught.value)
    assert len(str(caught.value)) < 1500


# In an archive


@pytest.mark.parametrize(
    ("archive", "name"),
    [
        (TRAINING_ARCHIVE, IMAGE),
        (TRAINING_ARCHIVE, TABLE),
        (TEST_ARCHIVE, f"{TEST_FOLDER}/00001.ppm"),
        (TRUTH_ARCHIVE, "GT-final_test.csv"),
    ],
)
def test_a_member_of_zeros_without_end_is_named_and_not_unpacked(
    archive: str, name: str, forged: Forged, write_archives: Write, expected: Expected
) -> None:
    root = write_archives(forged)
    forged[archive][name] = bytes(60_000_000)
    with zipfile.ZipFile(root / archive, "w", zipfile.ZIP_DEFLATED) as rewritten:
        for member, held in forged[archive].items():
            rewritten.writestr(member, held)
    _refused(root, expected, rf"{name} is damaged.*60,000,000 bytes, expected at most 1,048,576")


@pytest.mark.parametrize(
    "name",
    [f"{TRAINING_FOLDER}/../../../../00000_00000.ppm", f"{TRAINING_FOLDER}/00000/../x.ppm", "/x"],
)
def test_a_member_whose_name_leaves_the_folder_is_refused_and_nothing_is_written(
    name: str, forged: Forged, write_archives: Write, expected: Expected, tmp_path: Path
) -> None:
    forged[TRAINING_ARCHIVE][name] = forged[TRAINING_ARCHIVE].pop(IMAGE)
    root = write_archives(forged)
    before = sorted(tmp_path.iterdir())
    _refused(root, expected, "is damaged or not the official file|not the official set")
    assert {*tmp_path.iterdir()} - {*before} <= {tmp_path / "cache"}


@pytest.mark.parametrize("name", [TRAINING_ARCHIVE, TEST_ARCHIVE, TRUTH_ARCHIVE])
def test_a_pipe_in_place_of_an_archive_is_refused_at_once(
    name: str, forged: Forged, write_archives: Write, expected: Expected
) -> None:
    root = write_archives(forged)
    (root / name).unlink()
    os.mkfifo(root / name)
    _refused(root, expected, rf"{name}: cannot be read \(it is a named pipe, expected a file")


def test_an_archive_that_is_a_link_in_a_circle_is_missing(
    forged: Forged, write_archives: Write, expected: Expected
) -> None:
    root = write_archives(forged)
    (root / TEST_ARCHIVE).unlink()
    (root / TEST_ARCHIVE).symlink_to(root / TEST_ARCHIVE)
    _refused(root, expected, f"{TEST_ARCHIVE} is missing")


# In a tree


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(target: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return make


PLANTED: list[tuple[Callable[[Path], object], str]] = [
    (_pipe, "it is a named pipe, expected a file"),
    (_link("/dev/zero"), "it is a device, expected a file"),
    (_link("nothing"), "No such file or directory"),
    (lambda path: _link(path.name)(path), "Too many levels of symbolic links"),
    (lambda path: os.truncate(path, 1 << 40), "it holds more than 1,048,576 bytes"),
    (lambda path: os.truncate(path, MEMBER_BYTES + 1), "it holds more than 1,048,576 bytes"),
]


@pytest.mark.parametrize("name", [IMAGE, TABLE, "GT-final_test.csv"])
@pytest.mark.parametrize(("plant", "message"), PLANTED, ids=[text for _, text in PLANTED])
def test_what_is_no_image_or_table_is_refused_at_once(
    tree: Path, expected: Expected, name: str, plant: Callable[[Path], object], message: str
) -> None:
    plant(tree / name)
    missing = r"GTSRB_Final_Test_GT.zip is missing"  # a link to nothing is not there
    _refused(tree, expected, f"{message}|{missing}" if name == "GT-final_test.csv" else message)


@pytest.mark.parametrize("name", [IMAGE, "GT-final_test.csv"])
@pytest.mark.parametrize(("plant", "message"), PLANTED[:2] + PLANTED[4:])
def test_what_was_exchanged_after_it_was_listed_is_refused_at_once(
    tree: Path, name: str, plant: Callable[[Path], object], message: str
) -> None:
    place = tree / TRAINING_FOLDER if name == IMAGE else tree / name
    with opened(place, TRAINING_FOLDER) as source:
        plant(tree / name)
        inside = os.path.relpath(tree / name, source.path)
        with within(30, megabytes=20), pytest.raises(DataError, match=message):
            content(source, inside)


@pytest.mark.parametrize("links", [1, 2, 5])
def test_links_in_a_circle_end_in_an_error(tree: Path, expected: Expected, links: int) -> None:
    for number in range(links):
        (tree / TRAINING_FOLDER / f"again{number}").symlink_to(tree / TRAINING_FOLDER)
    _refused(tree, expected, "no link to a folder that is there twice")


def test_folders_without_files_that_lead_to_one_another_end_in_an_error(
    tree: Path, expected: Expected
) -> None:
    folder = tree / TEST_FOLDER
    for number in range(30):  # 2 ** 30 paths
        (folder / f"level{number}").mkdir()
        for name in "ab":
            (folder / f"level{number}" / name).symlink_to(folder / f"level{number + 1}")
    (folder / "level30").mkdir()
    _refused(tree, expected, "no link to a folder that is there twice")


def test_a_tree_with_too_many_files_is_refused(
    tree: Path, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_verified(tree, size_px=4, expected=expected)
    monkeypatch.setattr(sources, "MEMBERS", 5)
    _refused(tree, expected, "Expected: at most 5 files and folders below it")


def test_linked_folders_and_files_that_are_as_they_should_be_are_followed(
    tree: Path, expected: Expected
) -> None:
    digest = load_verified(tree, size_px=4, expected=expected).digest
    folder = tree / TRAINING_FOLDER / "00000"
    folder.rename(tree / "elsewhere")
    folder.symlink_to(tree / "elsewhere")
    (tree / IMAGE).rename(tree / "image")
    (tree / IMAGE).symlink_to(tree / "image")
    assert load_verified(tree, size_px=4, expected=expected).digest == digest


def test_a_file_whose_name_is_no_text_is_no_traceback(tree: Path, expected: Expected) -> None:
    (tree / TRAINING_FOLDER / os.fsdecode(b"00000/\xff.ppm")).touch()
    _refused(tree, expected, "7 images. Expected: 6 images")


def test_other_files_in_the_tree_are_left_alone(tree: Path, expected: Expected) -> None:
    digest = load_verified(tree, size_px=4, expected=expected).digest
    (tree / TRAINING_FOLDER / "Readme.txt").write_text("about")
    os.mkfifo(tree / TRAINING_FOLDER / "pipe")
    (tree / TRAINING_FOLDER / "link").symlink_to("nothing")
    with within(30):
        assert load_verified(tree, size_px=4, expected=expected).digest == digest
