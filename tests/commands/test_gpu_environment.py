"""Tests of suite.commands.gpu_environment: what it makes passes the checks of every measurement."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from suite.commands import gpu_environment
from suite.commands.gpu_environment import INSTALLED, link, make_environment, needed
from suite.errors import SuiteError
from suite.libraries import check_files, check_versions, site_packages

ASKED: dict[str, Any] = {"python": "{}.{}".format(*sys.version_info), "beside": ["frame-work"]}
Install = Callable[..., Distribution]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Give a function that installs a package of some files into a folder."""

    def installed(
        name: str, files: dict[str, str], *, folder: str = "there", wants: str = ""
    ) -> Any:
        info = f"{name.replace('-', '_')}-1.0.dist-info"
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{wants}\n"
        lines = []
        for path, content in {**files, f"{info}/METADATA": text}.items():
            place = tmp_path / folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest())
            quoted = f'"{path}"' if "," in path else path
            lines.append(f"{quoted},sha256={digest.decode().rstrip('=')},{len(content)}")
        lines += [f"{info}/RECORD,,", "../../bin/tool,,", f"{name}/gone.py,sha256=x,1", "x.pyc,,"]
        (tmp_path / folder / info / "RECORD").write_text("\n".join(lines) + "\n")
        return Distribution.at(tmp_path / folder / info)

    return installed


@pytest.fixture
def present(install: Install, monkeypatch: pytest.MonkeyPatch) -> dict[str, Distribution]:
    """Install a framework, what it asks for, and what nobody asks for."""
    nested = {"frame/vendor/other-1.dist-info/RECORD": "", "frame/a,b.txt": "comma"}
    wants = "\n".join(
        f"Requires-Dist: {name}" for name in ("maths>=1", "own", "absent", "unasked; extra == 'x'")
    )
    shared = {"nvidia/__init__.py": ""}
    found = {
        "frame-work": install("Frame_Work", {"frame/__init__.py": "", **nested}, wants=wants),
        "maths": install("maths", {"maths.py": "one = 1\n", **shared}),
        "nvidia-x": install("nvidia-x", {"nvidia/x/lib.so": "binary", **shared}),
        "unasked": install("unasked", {"unasked.py": ""}),
        "own": install("own", {"own.py": "older"}),
    }
    monkeypatch.setattr(gpu_environment, "_present", lambda: found)
    return found


@pytest.fixture
def made(present: dict[str, Distribution], install: Install, tmp_path: Path) -> Path:
    """Make an environment of these and of a package of the bundle."""
    assert "own" in present
    install("own", {"own.py": "two = 2\n"}, folder="bundle")
    record = tmp_path / "bundle" / "own-1.0.dist-info" / "RECORD"
    record.write_text("\n".join(record.read_text().splitlines()[:-3]) + "\n")
    make_environment(tmp_path / "env", tmp_path / "bundle", ASKED)
    return tmp_path / "env"


def test_it_imports_the_framework_and_what_that_asks_for_and_the_bundles_own(made: Path) -> None:
    code = "import frame, maths, own; print(maths.one, own.two)"
    done = subprocess.run(
        [made / "bin" / "python", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 2\n"
    names = (made / INSTALLED).read_text().split()
    assert names == ["frame-work==1.0", "maths==1.0", "nvidia-x==1.0", "own==1.0"]


def test_it_is_what_its_lock_and_its_packages_say(made: Path) -> None:
    site = site_packages(made)
    check_versions(site, made / INSTALLED)
    check_files(site)
    assert (site / "frame" / "a,b.txt").read_text() == "comma"


def test_a_file_of_the_framework_that_was_edited_is_found_out(made: Path, tmp_path: Path) -> None:
    (tmp_path / "there" / "maths.py").write_text("one = 3\n")
    with pytest.raises(SuiteError, match=r"maths.py was edited or damaged"):
        check_files(site_packages(made))


def test_byte_code_of_the_framework_is_taken_along(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = install("maths", {"maths.py": "one = 1\n"})
    monkeypatch.setattr(sys, "pycache_prefix", None)
    subprocess.run([sys.executable, "-m", "compileall", "-q", tmp_path / "there"], check=True)
    (tmp_path / "site").mkdir()
    link(package, tmp_path / "site")
    [compiled] = (tmp_path / "site" / "__pycache__").iterdir()
    assert compiled.is_symlink()
    assert compiled.name.startswith("maths.")


def test_it_is_made_once(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_environment, "_present", dict)
    assert make_environment(made, tmp_path / "bundle", ASKED) == made / "bin" / "python"


@pytest.mark.usefixtures("present")
def test_a_missing_package_another_python_and_a_package_without_record_are_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "bundle").mkdir()
    for asked, message in (
        (
            {**ASKED, "beside": ["maths", "frame-2"]},
            r"lacks frame-2, expected beside .*--installed",
        ),
        ({**ASKED, "python": "3.1"}, r"this is Python 3\.\d+, expected 3\.1, for which the bundle"),
    ):
        with pytest.raises(SuiteError, match=message):
            make_environment(tmp_path / "env", tmp_path / "bundle", asked)
        assert not (tmp_path / "env" / INSTALLED).exists()
    (tmp_path / "there" / "maths-1.0.dist-info" / "RECORD").unlink()
    with pytest.raises(SuiteError, match="maths has no RECORD of its files"):
        make_environment(tmp_path / "env", tmp_path / "bundle", ASKED)


def test_what_is_needed_leaves_out_extras_and_what_is_absent(
    present: dict[str, Distribution],
) -> None:
    assert {*needed(["frame-work"], present)} == {"frame-work", "maths", "nvidia-x", "own"}


def test_of_two_packages_of_a_name_the_one_is_taken_that_python_imports(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [install("Maths", {}, folder=folder) for folder in ("first", "second")]
    monkeypatch.setattr(gpu_environment, "distributions", lambda: iter(both))
    assert gpu_environment._present() == {"maths": both[0]}
