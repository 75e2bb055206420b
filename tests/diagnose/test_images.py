"""Tests of a user's images: classes by folder, GTSRB without its check, subsets, what is fed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from suite.data import download
from suite.data.download import TRAINING_ARCHIVE, TRUTH_ARCHIVE
from suite.data.sources import TRAINING_FOLDER
from suite.diagnose.images import INPUTS, as_fed, list_images, load_images
from suite.errors import DataError
from tests.bounds import within

if TYPE_CHECKING:
    from typing import TypeAlias

Forged: TypeAlias = "dict[str, dict[str, bytes]]"
Write: TypeAlias = "Callable[[Forged], Path]"
SIZE = {"height_px": 4, "width_px": 6, "channels": 3, "count": 100, "seed": 0}


def paint(path: Path, colour: tuple[int, ...] = (10, 20, 30), *, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (6, 4), colour if len(colour) > 1 else colour[0]).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return three class folders: two images, none, and one below a folder of its own."""
    home = tmp_path / "images"
    paint(home / "b" / "2.png", (1, 0, 0))
    paint(home / "b" / "1.PPM", (2, 0, 0))
    paint(home / "a10" / "deeper" / "x.bmp", (3, 0, 0))
    (home / "a9").mkdir()
    return home


def test_classes_are_the_folders_in_the_order_of_their_names_as_text(root: Path) -> None:
    listing = list_images(str(root))
    assert listing.classes == ("a10", "a9", "b")
    assert listing.names == ("a10/deeper/x.bmp", "b/1.PPM", "b/2.png")
    assert listing.labels.tolist() == [0, 2, 2]


def test_classes_are_those_of_keras(root: Path) -> None:
    keras = pytest.importorskip("keras", reason="compares with Keras' own reading of folders")
    for name in ("b/1.PPM", "a10/deeper/x.bmp"):  # Keras reads no ppm, TensorFlow's bmp is slow
        (root / name).unlink()
    paint(root / "a10" / "x.png")
    theirs = keras.utils.image_dataset_from_directory(root, shuffle=False, verbose=False)
    assert tuple(theirs.class_names) == list_images(str(root)).classes
    labels = [int(label) for _, batch in theirs for label in batch]
    assert labels == list_images(str(root)).labels.tolist()


def test_hidden_files_and_other_files_are_passed_over(root: Path) -> None:
    paint(root / ".cache" / "1.png")
    paint(root / "b" / ".hidden" / "1.png")
    (root / "b" / "._2.png").write_bytes(b"a Mac's shadow of 2.png")
    (root / "b" / "labels.csv").write_text("1;2")
    paint(root / "loose.png")
    assert len(list_images(str(root)).names) == 3
    assert ".cache" not in list_images(str(root)).classes


def test_images_come_resized_with_their_own_labels(root: Path) -> None:
    images, labels = load_images(list_images(str(root)), **SIZE)
    assert images.shape == (3, 4, 6, 3)
    assert images.dtype == np.uint8
    assert dict(zip(images[:, 0, 0, 0].tolist(), labels.tolist())) == {3: 0, 2: 2, 1: 2}
    smaller, _ = load_images(list_images(str(root)), **{**SIZE, "height_px": 2, "width_px": 5})
    assert smaller.shape == (3, 2, 5, 3)


@pytest.mark.parametrize(
    ("mode", "colour", "suffix"),
    [
        ("L", (7,), "png"),
        ("RGBA", (7, 7, 7, 0), "png"),
        ("P", (0,), "png"),
        ("RGB", (7, 7, 7), "jpg"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_colours_become_those_the_network_takes(
    root: Path, mode: str, colour: tuple[int, ...], suffix: str, channels: int
) -> None:
    paint(root / "a9" / f"x.{suffix}", colour, mode=mode)
    images, labels = load_images(list_images(str(root)), **{**SIZE, "channels": channels})
    assert images.shape == (4, 4, 6, channels)
    grey = np.abs(images[labels == 1].astype(int) - (0 if mode == "P" else 7))
    assert grey.max() <= 1


def test_a_palette_with_a_transparent_colour_is_read_without_a_warning(root: Path) -> None:
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.putpixel((0, 0), 0)
    image.save(root / "a9" / "x.png", transparency=b"\x80\x40")
    assert len(load_images(list_images(str(root)), **SIZE)[0]) == 4


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_broken_image_is_named(root: Path, content: bytes) -> None:
    (root / "a9" / "broken.png").write_bytes(content)
    with pytest.raises(DataError, match=r"images/a9/broken\.png: cannot be read as an image"):
        load_images(list_images(str(root)), **SIZE)


def test_a_cut_off_image_is_named(root: Path) -> None:
    path = root / "b" / "1.PPM"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"b/1\.PPM: cannot be read as an image"):
        load_images(list_images(str(root)), **SIZE)


def test_an_image_of_16_bits_is_refused_instead_of_clipped(root: Path) -> None:
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(root / "a9" / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png.*more than 8 bits a channel"):
        load_images(list_images(str(root)), **SIZE)


def test_a_subset_keeps_every_class_and_its_share(tmp_path: Path) -> None:
    for index in range(40):
        paint(tmp_path / "many" / f"{index}.png", (index, 0, 0))
    for index in range(2):
        paint(tmp_path / "few" / f"{index}.png", (100 + index, 0, 0))
    listing = list_images(str(tmp_path))
    images, labels = load_images(listing, **{**SIZE, "count": 10})
    assert np.bincount(labels).tolist() == [1, 9]
    again, _ = load_images(listing, **{**SIZE, "count": 10})
    other, _ = load_images(listing, **{**SIZE, "count": 10, "seed": 1})
    assert (images == again).all()
    assert not (images == other).all()
    everything, labels = load_images(listing, **SIZE)
    assert len(np.unique(everything[:, 0, 0, 0])) == 42
    assert not (np.diff(labels) >= 0).all()  # mixed: a batch is its own statistics


@pytest.mark.parametrize("changes", [{"count": 1}, {"channels": 4}])
def test_what_cannot_be_loaded_is_a_value_error(root: Path, changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        load_images(list_images(str(root)), **{**SIZE, **changes})


def test_folders_without_two_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no images there\. Found: nothing"):
        list_images(str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"no class folders\. Found: no folder"):
        list_images(str(tmp_path))
    paint(tmp_path / "1.png")
    with pytest.raises(DataError, match="1 images beside one another, so without a label"):
        list_images(str(tmp_path))
    with pytest.raises(DataError, match=r"1\.png: no images there\. Found: a file"):
        list_images(str(tmp_path / "1.png"))
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"no images\. Found: empty class folders"):
        list_images(str(tmp_path))
    paint(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match=r"one image alone \(a/1\.png\)"):
        list_images(str(tmp_path))
    paint(tmp_path / "a" / "2.png")
    assert list_images(str(tmp_path)).labels.tolist() == [0, 0]  # of one class, hardly anything


def test_a_split_of_class_folders_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="only GTSRB has a split to choose"):
        list_images(str(root), split="test")
    with pytest.raises(ValueError, match="split must be train or test"):
        list_images(str(root), split="validation")


@pytest.mark.parametrize("layout", ["write_archives", "write_tree"])
def test_gtsrb_is_read_from_its_archives_or_their_tree(
    forged: Forged, layout: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(layout)(forged)
    test = list_images(str(root))
    assert len(test.classes) == 43
    assert test.names == ("00000.ppm", "00001.ppm", "00002.ppm")
    assert test.labels.tolist() == [1, 0, 1]
    train = list_images(str(root), split="train")
    assert train.labels.tolist() == [0, 0, 0, 0, 1, 2]
    images, labels = load_images(train, **SIZE)
    assert images[:, 0, 0, 0].tolist() == (200 + labels).tolist()


def test_gtsrb_lies_where_the_benchmarks_look_for_it(
    forged: Forged, write_archives: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = write_archives(forged)
    monkeypatch.setenv("GTSRB_ROOT", str(root))
    assert len(list_images("gtsrb").names) == 3
    monkeypatch.delenv("GTSRB_ROOT")
    monkeypatch.setattr(download, "download_gtsrb", lambda: root)
    assert len(list_images("gtsrb").names) == 3
    monkeypatch.setenv("GTSRB_ROOT", str(tmp_path))
    with pytest.raises(DataError, match=f"{TRAINING_ARCHIVE} is missing"):
        list_images("gtsrb")


def test_a_gtsrb_with_images_that_have_no_label_is_refused(
    forged: Forged, write_archives: Write
) -> None:
    images = forged[TRAINING_ARCHIVE]
    images[f"{TRAINING_FOLDER}/extra/1.ppm"] = b""
    with pytest.raises(DataError, match="one folder a class, 00000 to 00042"):
        list_images(str(write_archives(forged)), split="train")


def test_what_is_fed_is_what_keras_preprocessing_makes_of_it() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    utilities = pytest.importorskip("keras.applications.imagenet_utils")
    for mode in ("tf", "caffe", "torch"):
        expected = utilities.preprocess_input(images.astype("float32"), mode=mode)
        np.testing.assert_allclose(as_fed(images, mode), expected, rtol=1e-5, atol=1e-5)
    assert as_fed(images, "0..255").max() == images.max()
    np.testing.assert_allclose(as_fed(images, "0..1") * 255, images, rtol=1e-6)
    assert {as_fed(images, inputs).dtype for inputs in INPUTS} == {np.dtype("float32")}


def test_colour_inputs_of_a_grey_network_are_refused() -> None:
    grey = np.zeros((2, 4, 4, 1), np.uint8)
    assert as_fed(grey, "tf").min() == -1
    with pytest.raises(DataError, match="--inputs caffe is defined for RGB alone"):
        as_fed(grey, "caffe")
    with pytest.raises(ValueError, match="inputs must be one of"):
        as_fed(grey, "-1..1")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "it is a named pipe, expected a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, expected a file"),
        (lambda path: path.symlink_to("nothing"), "No such file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: sparse(path, 1 << 40), "it holds more than 268,435,456 bytes"),
    ],
    ids=["pipe", "device", "nothing", "circle", "endless"],
)
def test_what_is_no_image_file_is_refused_at_once(
    root: Path, make: Callable[[Path], object], message: str
) -> None:
    make(root / "b" / "3.png")
    listing = list_images(str(root))
    with within(30), pytest.raises(DataError, match=rf"b/3.png: cannot be read \({message}"):
        load_images(listing, **SIZE)


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def test_folders_that_link_to_one_another_are_listed_once(root: Path) -> None:
    before = list_images(str(root)).names
    (root / "b" / "again").symlink_to(root)
    with within(30):
        assert list_images(str(root)).names == before


def test_a_table_of_gtsrb_that_is_none_is_named(forged: Forged, write_archives: Write) -> None:
    forged[TRUTH_ARCHIVE]["GT-final_test.csv"] = b'"' + b"x" * 200_000
    with pytest.raises(DataError, match=r"GT-final_test.csv as a table \(field larger than"):
        list_images(str(write_archives(forged)))


def test_a_class_of_ten_thousand_digits_is_none(forged: Forged, write_archives: Write) -> None:
    table = forged[TRUTH_ARCHIVE]["GT-final_test.csv"]
    forged[TRUTH_ARCHIVE]["GT-final_test.csv"] = table.replace(
        b";1\n", b";" + b"1" * 10_000 + b"\n"
    )
    with pytest.raises(DataError, match=r"a label for 00000.ppm"):
        list_images(str(write_archives(forged)))
