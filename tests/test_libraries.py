"""Tests of suite.libraries: an environment against its lock and against its packages' RECORDs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from suite import libraries
from suite.errors import RecordError, SuiteError
from suite.libraries import (
    STORE,
    check_files,
    check_versions,
    installed,
    library_digest,
    read_pins,
    recorded,
    site_packages,
)


def digest_of(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def put(folder: Path, package: str, files: dict[str, str], *more: str) -> None:
    """Install a package as uv does: its files, and a RECORD of them."""
    info = f"{package}.dist-info"
    lines = [f"{path},{digest_of(content)},{len(content)}" for path, content in files.items()]
    record = "\n".join([*lines, *more, f"{info}/RECORD,,", ""])
    for path, content in {**files, f"{info}/RECORD": record}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the libraries of an environment with two packages."""
    place = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    keras = {"keras/__init__.py": "VALUE = 1\n", "keras/sgd.py": "RATE = 1\n", "keras/k.so": "\x7f"}
    put(place, "keras-3.15.1", keras, "../../../bin/keras,sha256=none,3")
    put(place, "Ml_Dtypes-0.6.0", {"ml_dtypes.py": "", "ml_dtypes-stubs/py.typed": ""})
    return place


def faults(folder: Path) -> str:
    """Return what is said of an environment; nothing if it is as it was brought."""
    try:
        check_files(folder)
    except SuiteError as error:
        return str(error)
    return ""


# The files


def test_an_environment_as_its_packages_brought_it_is_accepted(folder: Path) -> None:
    for _ in range(2):
        check_files(folder)


@pytest.mark.parametrize("path", ["keras/sgd.py", "keras/k.so", "ml_dtypes-stubs/py.typed"])
def test_an_edited_file_is_named_with_what_makes_it_anew(folder: Path, path: str) -> None:
    check_files(folder)
    (folder / path).write_text("RATE = 2\n")
    package = "keras" if path.startswith("keras") else "Ml_Dtypes"
    told = re.escape(f"{path} was edited or damaged. Make it anew: `rm -r {folder.parents[2]}; ")
    for _ in range(2):
        with pytest.raises(SuiteError, match=f"{told}uv cache clean {package}`"):
            check_files(folder)


@pytest.mark.parametrize("path", ["keras/sgd.py", "keras/k.so"])
def test_an_edit_is_seen_though_size_and_date_are_kept(folder: Path, path: str) -> None:
    check_files(folder)
    file = folder / path
    before, content = file.stat(), file.read_text()
    file.write_text(content.replace("1", "2").replace("\x7f", "\x7e"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert f"{path} was edited" in faults(folder)


def test_a_python_file_is_read_each_time_and_a_binary_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, real = [], libraries._digest
    monkeypatch.setattr(libraries, "_digest", lambda path: read.append(path.name) or real(path))
    check_files(folder)
    assert "k.so" in read
    read.clear()
    check_files(folder)
    assert "k.so" not in read
    assert {"__init__.py", "sgd.py"} <= set(read)


def test_what_is_kept_of_binaries_is_not_trusted_where_it_is_damaged(folder: Path) -> None:
    state = libraries._state(folder / "keras" / "k.so")
    kept = json.dumps({"keras/k.so": f"{state} sha256=another"})
    for content in (kept, "", "no JSON", "[]", '{"keras/k.so": 7}'):
        (folder.parents[2] / STORE).write_text(content)
        check_files(folder)
        (folder / "keras" / "k.so").write_text("edited")
        assert "k.so was edited" in faults(folder)
        (folder / "keras" / "k.so").write_text("\x7f")


@pytest.mark.parametrize(
    "path", ["evil.pth", "sitecustomize.py", "keras/more.py", "numpy/__init__.py", "shadow.pyc"]
)
def test_a_file_of_no_package_is_named(folder: Path, path: str) -> None:
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text("")
    assert f"{path} belongs to no package" in faults(folder)


def test_a_link_to_a_folder_is_of_no_package(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "torch").symlink_to(tmp_path / "elsewhere")
    assert "torch belongs to no package" in faults(folder)


def test_a_missing_file_is_named_even_if_a_dead_link_is_in_its_place(folder: Path) -> None:
    (folder / "keras" / "sgd.py").unlink()
    assert "keras/sgd.py is missing" in faults(folder)
    (folder / "keras" / "sgd.py").symlink_to("nowhere")
    assert "keras/sgd.py is missing" in faults(folder)


def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(folder: Path) -> None:
    (folder / "keras" / "sgd.py").unlink()
    os.mkfifo(folder / "keras" / "sgd.py")
    assert "keras/sgd.py was edited or damaged" in faults(folder)


def test_many_faults_are_counted(folder: Path) -> None:
    for index in range(5):
        (folder / f"evil{index}.pth").write_text("")
    assert "evil2.pth belongs to no package; and 2 more. Make" in faults(folder)


def test_a_file_of_two_packages_may_be_as_either_brought_it(folder: Path) -> None:
    put(folder, "keras2-1.0", {"keras/sgd.py": "RATE = 7\n"})
    check_files(folder)
    (folder / "keras" / "sgd.py").write_text("RATE = 1\n")
    check_files(folder)
    (folder / "keras" / "sgd.py").write_text("RATE = 2\n")
    assert "sgd.py was edited" in faults(folder)


@pytest.mark.parametrize("broken", ["missing", "folder"])
def test_a_record_that_cannot_be_read_is_an_error(folder: Path, broken: str) -> None:
    record = folder / "keras-3.15.1.dist-info" / "RECORD"
    record.unlink()
    if broken == "folder":
        record.mkdir()
    for function in (check_files, library_digest):
        with pytest.raises(SuiteError, match=r"RECORD cannot be read: .*`rm -r \S+/env`"):
            function(folder)


# Byte code


def compiled(folder: Path, content: str) -> Path:
    path = folder / "keras" / "__pycache__" / "sgd.cpython-311.pyc"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return path


def test_byte_code_of_a_known_source_is_accepted_and_removed_once_it_changed(folder: Path) -> None:
    path = compiled(folder, "code")
    for _ in range(2):
        check_files(folder)
        assert path.exists()
    before = path.stat()
    path.write_text("evil")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    check_files(folder)
    assert not path.exists()
    compiled(folder, "made anew")
    for _ in range(2):
        check_files(folder)
        assert path.exists()


def test_byte_code_that_changed_and_cannot_be_removed_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    path = compiled(folder, "code")
    check_files(folder)
    path.write_text("evil")
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(SuiteError, match=rf"^{path} changed .*Permission denied. .*by hand"):
        check_files(folder)


def test_an_environment_that_cannot_be_written_is_checked_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, _: bytes) -> None:
        raise RecordError(f"{path} cannot be written")

    monkeypatch.setattr(libraries, "write_atomically", refuse)
    check_files(folder)
    (folder / "evil.pth").write_text("")
    assert "evil.pth belongs to no package" in faults(folder)


def test_byte_code_that_was_cut_off_is_no_stranger_but_without_a_source_it_is(folder: Path) -> None:
    path = compiled(folder, "code")
    path.with_name("sgd.cpython-311.pyc.140001").write_text("half")
    check_files(folder)
    path.with_name("gone.cpython-311.pyc").write_text("code")
    assert "gone.cpython-311.pyc belongs to no package" in faults(folder)


# The lock


def test_versions_of_the_lock_are_accepted_however_names_are_written(
    folder: Path, tmp_path: Path
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("# a lock\nkeras==3.15.1 \\\n    --hash=sha256:1\nml-dtypes==0.6.0 \\\n")
    assert read_pins(lock) == {"keras": "3.15.1", "ml-dtypes": "0.6.0"} == installed(folder)
    check_versions(folder, lock)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("keras==3.14.0\nml-dtypes==0.6.0\n", "keras 3.15.1, expected 3.14.0"),
        ("keras==3.15.1\nnumpy==2.4.6\n", "numpy is missing, expected 2.4.6"),
        ("# nothing\n", "no package at all"),
    ],
)
def test_other_versions_than_the_locks_are_named(
    folder: Path, tmp_path: Path, text: str, told: str
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(text)
    with pytest.raises(SuiteError, match=re.escape(f"what {lock} lists: {told}. ")):
        check_versions(folder, lock)


def test_a_missing_lock_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none.txt cannot be read"):
        check_versions(folder, tmp_path / "none.txt")


# The digest


def test_the_digest_is_that_of_the_files_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other" / "site-packages"
    for path in folder.rglob("*"):
        (elsewhere / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            (elsewhere / path.relative_to(folder)).write_bytes(path.read_bytes())
    put(elsewhere, "pip-26.0", {"pip/__init__.py": ""})
    compiled(elsewhere, "code")
    (elsewhere / "keras-3.15.1.dist-info" / "INSTALLER").write_text("pip")
    record = elsewhere / "keras-3.15.1.dist-info" / "RECORD"
    more = "../../../bin/keras,sha256=other,4\nkeras-3.15.1.dist-info/INSTALLER,sha256=pip,3\n"
    record.write_text(more + record.read_text())
    assert library_digest(elsewhere) == library_digest(folder)


@pytest.mark.parametrize("change", ["content", "version", "package", "path"])
def test_the_digest_changes_with_what_is_installed(folder: Path, change: str) -> None:
    before, info = library_digest(folder), folder / "keras-3.15.1.dist-info"
    record = (info / "RECORD").read_text()
    if change == "content":
        (info / "RECORD").write_text(record.replace(digest_of("RATE = 1\n"), digest_of("x")))
    if change == "path":
        (info / "RECORD").write_text(record.replace("keras/sgd.py", "keras/adam.py"))
    if change == "version":
        info.rename(folder / "keras-3.15.2.dist-info")
    if change == "package":
        put(folder, "numpy-2.0", {"numpy.py": ""})
    assert library_digest(folder) != before


def test_what_lies_outside_of_the_libraries_is_not_recorded(folder: Path) -> None:
    assert {path for path in recorded(folder) if ".dist-info" not in path} == {
        "keras/__init__.py", "keras/sgd.py", "keras/k.so", "ml_dtypes.py",
        "ml_dtypes-stubs/py.typed",
    }  # fmt: skip


def test_the_libraries_of_an_environment_are_found(folder: Path, tmp_path: Path) -> None:
    assert site_packages(tmp_path / "env") == folder
    with pytest.raises(SuiteError, match=r"none has no site-packages"):
        site_packages(tmp_path / "none")
