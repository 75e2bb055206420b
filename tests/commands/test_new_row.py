"""Tests of suite.commands.new_row: a row and its lock, or an error and nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from suite.__main__ import main as command_line
from suite.commands import new_row
from suite.commands.lock import main as lock
from suite.commands.new_row import main
from suite.releases import WATCHED, read_table
from tests.commands.conftest import Output

PROJECT = """# A comment on top.
[project]
dependencies = ["scipy"] # of the suite

[tool.uv]
[tool.suite]
default = "tf-2.21" # what runs

# The rows.
[[tool.suite.releases]]
name = "tf-2.21"
python = "3.11"
pins = ["tensorflow-cpu==2.21.0", "keras==3.15.1", "cleverhans==4.0.0", "numpy==2.4.6"]
reason = "new" # odd

[[tool.suite.releases]]
name = "tf-2.3"
python = "3.8"
pins = ["tensorflow-cpu==2.3.4", "cleverhans==4.0.0", "numpy==1.18.5", "protobuf==3.20.3"]
env = { GLIBC = "x" } # why
reason = "old"

[[tool.suite.releases]]
name = "keras3-jax"
python = "3.11"
pins = ["jax==0.9.2", "keras==3.15.1", "numpy==2.4.6"]
env = { KERAS_BACKEND = "jax" }
reason = "jax"

[[tool.suite.releases]]
name = "keras3-torch"
python = "3.11"
pins = ["torch==2.13.0+cpu", "keras==3.15.1", "numpy==2.4.6"]
env = { KERAS_BACKEND = "torch" }
reason = "torch"

[[tool.suite.releases]]
name = "tf-nightly"
python = "3.13"
pins = ["tf-nightly-cpu"]
unpinned = true
reason = "next"

# Rows with CUDA.
[[tool.suite.gpu-releases]]
name = "tf-2.21"
python = "3.11"
pins = ["tensorflow[and-cuda]==2.21.0"]
reason = "gpu"
"""
UV = """#!{python}
import pathlib, sys
arguments = sys.argv[1:]
pins = pathlib.Path(arguments[3]).read_text().split()
python = arguments[arguments.index("--python-version") + 1]
wheels = {{"tensorflow-cpu==2.22.0": ["3.13", "3.11"], "tensorflow-cpu==2.4.4": ["3.8"],
          "tensorflow-cpu==2.30.0": ["3.8", "3.13"], "tensorflow==2.0.4": ["3.8"]}}
for pin in pins:
    name, _, version = pin.partition("==")
    if version.startswith("9") or pin == "tensorflow-cpu==2.0.4":
        sys.exit(f"Because there is no version of {{pin}}")
    if python not in wheels.get(pin, [python]):
        sys.exit(f"{{pin}} has no wheels for {{python}}")
    if pin == "keras==3.0.0":
        sys.exit("keras==3.0.0 does not fit")
found = [pin if "==" in pin else f"{{pin}}==7.7" for pin in pins]
output = pathlib.Path(arguments[arguments.index("--output-file") + 1])
output.write_text("\\n".join([*found, "scipy==1.0"]) + "\\n")
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project with a stored baseline, whose uv knows some versions."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(PROJECT)
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(UV.format(python=sys.executable))
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    WATCHED.parent.mkdir(parents=True)
    WATCHED.write_text("# watched\nkeras==3.15.1\ntensorflow==2.21.0\n")
    Path("baselines", "tf-2.21", "small").mkdir(parents=True)
    return tmp_path


def rows() -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = read_table()["releases"]
    return table


def row(name: str) -> dict[str, Any]:
    return next(row for row in rows() if row["name"] == name)


def names() -> list[str]:
    return [row["name"] for row in rows()]


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


OLD = ["tf-2.21", "tf-2.3", "keras3-jax", "keras3-torch", "tf-nightly"]


def test_a_new_tensorflow_is_the_first_row_with_what_uv_chose_and_its_lock(capsys: Output) -> None:
    assert main(["tensorflow==2.22.0", "--no-run"]) == 0
    assert names() == ["tf-2.22", *OLD]
    pins = ["tensorflow-cpu==2.22.0", "keras==7.7", "cleverhans==4.0.0", "numpy==7.7"]
    assert row("tf-2.22") == {
        "name": "tf-2.22",
        "python": "3.11",
        "pins": pins,
        "reason": "as tf-2.21, with tensorflow 2.22.0; uv chose keras==7.7 and numpy==7.7",
    }
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"added tf-2.22 (Python 3.11): {', '.join(pins)}"
    assert printed[-1] == "gate: nox -s gate -- --baseline stored:tf-2.21 --candidate tf-2.22"
    assert lock(["tf-2.22", "--check"]) == 0


@pytest.mark.parametrize(
    ("pin", "name", "base"),
    [
        ("tensorflow==2.22.0", "tf-2.22", "tf-2.21"),
        ("tensorflow==2.4.4", "tf-2.4", "tf-2.3"),
        ("tensorflow==2.0.4", "tf-2.0", "tf-2.3"),
        ("jax==0.10.0", "keras3-jax-0.10", "keras3-jax"),
        ("keras==3.14.0", "tf-2.21-keras-3.14", "tf-2.21"),
    ],
)
def test_nothing_else_of_the_file_changes(pin: str, name: str, base: str) -> None:
    before = Path("pyproject.toml").read_text().splitlines()
    assert main([pin, "--no-run"]) == 0
    after = Path("pyproject.toml").read_text().splitlines()
    start = after.index(f'name = "{name}"') - 1
    end = after.index("[[tool.suite.releases]]", start + 1)
    assert after[:start] + after[end:] == before
    assert row(name).get("env") == row(base).get("env")
    assert row(name)["reason"].startswith(f"as {base}, with ")


def test_rows_stay_in_the_order_of_their_versions() -> None:
    for pin in ("tensorflow==2.4.4", "tensorflow==2.0.4", "tensorflow==2.22.0"):
        assert main([pin, "--no-run"]) == 0
    assert names() == ["tf-2.22", "tf-2.21", "tf-2.4", "tf-2.3", "tf-2.0", *OLD[2:]]


def test_the_python_is_the_bases_else_the_newest_that_has_wheels() -> None:
    assert main(["tensorflow==2.30.0", "--no-run"]) == 0
    assert row("tf-2.30")["python"] == "3.13"
    assert main(["tensorflow==2.4.4", "--no-run"]) == 0
    assert row("tf-2.4")["python"] == "3.8"


def test_what_only_the_full_package_has_is_taken_from_it_and_odd_pins_stay() -> None:
    assert main(["tensorflow==2.0.4", "--no-run"]) == 0
    pins = row("tf-2.0")["pins"]
    assert pins == ["tensorflow==2.0.4", "cleverhans==4.0.0", "numpy==7.7", "protobuf==3.20.3"]


def test_a_keras_or_cleverhans_changes_that_one_pin_of_the_default_row() -> None:
    assert main(["keras==3.16.0", "--no-run"]) == 0
    assert main(["cleverhans==4.1.0", "--no-run", "--from", "tf-2.3", "--reason", "why not"]) == 0
    assert row("tf-2.21-keras-3.16")["pins"][1:] == [
        "keras==3.16.0",
        "cleverhans==4.0.0",
        "numpy==2.4.6",
    ]
    assert row("tf-2.3-cleverhans-4.1")["reason"] == "why not"


def test_a_second_patch_release_is_named_in_full() -> None:
    assert main(["tensorflow==2.21.1", "--no-run"]) == 0
    assert main(["tensorflow==2.21.2", "--no-run"]) == 0
    assert names()[:3] == ["tf-2.21.2", "tf-2.21.1", "tf-2.21"]


def test_the_watched_version_is_raised_but_never_lowered() -> None:
    assert main(["tensorflow==2.22.0", "--no-run"]) == 0
    assert main(["keras==3.14.0", "--no-run"]) == 0
    assert WATCHED.read_text() == "# watched\nkeras==3.15.1\ntensorflow==2.22.0\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tensorflow==9.9"], "tensorflow==9.9 cannot be added, nothing was written"),
        (["keras==3.0.0"], "keras==3.0.0 does not fit"),
        (["tensorflow==2.21.0"], "tf-2.21 has tensorflow==2.21.0 already: gate that row"),
        (["tensorflow-cpu==2.21"], "tf-2.21 has tensorflow==2.21 already"),
        (["keras==3.15.1"], "tf-2.21 has keras==3.15.1 already"),
        (["torch==2.13"], "keras3-torch has torch==2.13 already"),
        (["torch==2.13.0+cpu"], "keras3-torch has torch==2.13.0+cpu already"),
        (["tensorflow==2.22.0", "--form", "tf-2.3"], "no options of the gate. Leave out: --form"),
        (["numpi==1"], "no row pins numpi, expected one of cleverhans, jax, keras"),
        (["tensorflow"], "'tensorflow' is no pin, expected such as tensorflow==2.22.0"),
        (["tensorflow==latest"], "is no pin"),
        (["tensorflow==2.22.0", "--from", "keras3-jax"], "keras3-jax pins no tensorflow"),
        (["tf-nightly-cpu==3"], "no row pins tf-nightly-cpu"),
    ],
)
def test_what_cannot_be_added_is_told_and_nothing_written(
    capsys: Output, arguments: list[str], message: str
) -> None:
    before = contents()
    assert command_line(["new-row", *arguments, "--no-run"]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""
    assert contents() == before


@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_gate_runs_with_the_further_options_and_its_status_is_the_answer(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    ran = list[tuple[str, ...]]()

    def run(command: list[str], **_: Any) -> Any:
        ran.append(tuple(command))
        return subprocess.CompletedProcess(command, status)

    # uv is started by another module, which has its own name for subprocess
    monkeypatch.setattr(new_row, "subprocess", type("Fake", (), {"run": staticmethod(run)}))
    assert main(["tensorflow==2.22.0", "--budget", "5m", "--cases", "lenet5"]) == status
    (command,) = ran
    assert command[-10:] == (
        "gate", "--", "--baseline", "stored:tf-2.21", "--candidate", "tf-2.22", "--budget", "5m",
        "--cases", "lenet5",
    )  # fmt: skip


def test_without_a_stored_baseline_the_default_row_is_measured(capsys: Output) -> None:
    Path("baselines", "tf-2.21", "small").rmdir()
    assert main(["tensorflow==2.22.0", "--no-run"]) == 0
    assert "--baseline tf-2.21 --candidate tf-2.22" in capsys.readouterr().out
