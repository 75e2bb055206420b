"""Tests of ``python -m suite diagnose``: what it prints and writes, and the status it ends with."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from suite.__main__ import main
from suite.commands import diagnose as command
from suite.diagnose import diagnose
from suite.diagnose.callback import callback
from suite.diagnose.found import (
    CONSTANT,
    DIVERGED,
    HEALTHY,
    OTHER,
    STALE,
    UNDECIDED,
    Diagnosis,
    LayerExamination,
)
from suite.diagnose.images import INPUTS, TEST, TRAIN
from suite.diagnose.loading import framework
from suite.diagnose.trials import Evaluation
from suite.report.diagnosis import diagnosis_content

if TYPE_CHECKING:
    from typing import TypeAlias

keras = framework()
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras' own, on NumPy 2.4
Output: TypeAlias = "pytest.CaptureFixture[str]"
CLASSES = 3

FOUND = Diagnosis(
    verdict="stale statistics", cause="stale mean", layer="bn", fix="precise-bn",
    steps_needed=458.2, steps_run=0, predicted_kl=0.0, measured_kl=0.0,
    words=("The statistics of bn do not fit.",),
    evaluations={
        "inference": Evaluation(0.3, 0.0, 1.1, 1),
        "training": Evaluation(0.8, 0.6, 0.5, 3),
    },
    layers=(LayerExamination("bn", 0.9, 1e-3, True, "training", 7, 6.6, 9.0, -0.3, 9.1, 458.2),),
    images=30, classes=CLASSES, label_entropy=1.0986,
)  # fmt: skip


class Doctor:
    """Finds what it was told to find, and remembers what it was shown."""

    limit_s: float

    def __init__(self) -> None:
        self.found: Any = FOUND

    def __call__(self, model: Any, images: Any, labels: Any, **options: Any) -> Diagnosis:
        self.model, self.images, self.labels, self.options = model, images, labels, options
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Put a doctor who is quick in the place of the diagnosis, and in this process."""

    def ask(target: str, given: Any, *, limit_s: float, show: Any) -> Any:
        show("nothing")
        assert target == "suite.commands.diagnose:examined"
        quick.limit_s = limit_s
        return json.loads(json.dumps(command.examined(json.loads(json.dumps(given)))))

    quick = Doctor()
    monkeypatch.setattr(command, "diagnose", quick)
    monkeypatch.setattr(command, "ask", ask)
    return quick


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with ten images of each of three classes and a module of builders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        for index in range(10):
            pixels = np.uint8(rng.integers(0, 80, (8, 8, 3)) + 80 * label)
            path = Path("images", "abc"[label], f"{index}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    Path("nets_of_mine.py").write_text(
        "from suite.diagnose.loading import framework\n"
        "keras = framework()\n"
        "layers = keras.layers\n"
        "def net(outputs=3, size=6):\n"
        "    return keras.Sequential([\n"
        "        keras.Input((size, size, 3)), layers.Conv2D(4, 3),\n"
        "        layers.BatchNormalization(name='bn'), layers.Activation('relu'),\n"
        "        layers.GlobalAveragePooling2D(), layers.Dense(outputs)])\n"
        "def four():\n"
        "    return net(4)\n"
        "def any_size():\n"
        "    return net(size=None)\n"
    )
    yield
    sys.modules.pop("nets_of_mine", None)  # it lies in a folder of this test


def run(*more: str, model: str = "nets_of_mine:net") -> int:
    return main(["diagnose", model, "--data", "images", *more])


def test_something_found_is_printed_written_and_ends_with_1(doctor: Doctor, capsys: Output) -> None:
    pytest.importorskip("matplotlib", reason="figures need it, a diagnosis does not")
    assert run() == 1
    printed = capsys.readouterr().out
    assert printed.startswith("The statistics of bn do not fit.\n")
    assert "try first     precise-bn" in printed
    assert printed.endswith(
        f"written: {Path('diagnosis', 'diagnosis.json')}, diagnosis/diagnosis.png\n"
    )
    content = json.loads(Path("diagnosis", "diagnosis.json").read_text())
    assert content["verdict"] == "stale statistics"
    assert content["about"]["class_names"] == ["a", "b", "c"]
    assert content["about"]["model"] == "nets_of_mine:net"
    assert content["about"]["inputs"] is None
    assert Path("diagnosis", "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    assert doctor.options["keras"].Model is keras.Model


@pytest.mark.usefixtures("doctor")
def test_the_results_go_where_they_are_wanted() -> None:
    pytest.importorskip("matplotlib", reason="figures need it, a diagnosis does not")
    assert run("--out", "deep/er", "--figure", "net.svg") == 1
    assert sorted(path.name for path in Path("deep/er").iterdir()) == ["diagnosis.json", "net.svg"]
    assert "<svg" in Path("deep/er/net.svg").read_text()


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(HEALTHY, 0), (UNDECIDED, 2), *((each, 1) for each in (STALE, CONSTANT, DIVERGED, OTHER))],
)
def test_the_status_is_that_of_the_verdict(doctor: Doctor, verdict: str, status: int) -> None:
    doctor.found = FOUND._replace(verdict=verdict, cause="", layer="", fix="")
    assert run() == status


@pytest.mark.usefixtures("doctor")
def test_without_matplotlib_the_diagnosis_is_made_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run() == 1
    assert capsys.readouterr().out.endswith("no figure: pip install matplotlib\n")
    assert [path.name for path in Path("diagnosis").iterdir()] == ["diagnosis.json"]


def test_the_network_is_shown_the_images_as_it_is_fed_them(doctor: Doctor) -> None:
    run("--images", "12", "--batch", "4", "--seed", "5", "--inputs", "0..255")
    assert doctor.images.shape == (12, 6, 6, 3)
    assert np.bincount(doctor.labels).tolist() == [4, 4, 4]
    brightness = [doctor.images[doctor.labels == label].mean() for label in range(3)]
    assert brightness == pytest.approx([40, 120, 200], abs=10)
    assert (doctor.options["batch_size"], doctor.options["max_images"]) == (4, 12)
    assert doctor.options["seed"] == 5
    assert doctor.model.count_params() > 0
    assert doctor.limit_s == 3600
    run("--size", "7", "--limit", "2", model="nets_of_mine:any_size")
    assert doctor.limit_s == 120
    assert doctor.images.shape == (30, 7, 7, 3)
    assert doctor.images.max() <= 1


def test_a_file_is_diagnosed(doctor: Doctor) -> None:
    inputs = keras.Input((6, 6, 3))
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
    suffix = ".keras" if hasattr(keras, "ops") else ".h5"
    keras.Model(inputs, outputs).save(f"net{suffix}")
    assert run(model=f"net{suffix}") == 1
    assert doctor.model.output_shape == (None, 3)


@pytest.mark.usefixtures("doctor")
@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], "The network has 4 outputs, but images has 3 classes (a, b, c)"),
        (["--figure", "net.gif"], "net.gif: no such format of figures"),
        (["--split", "test"], "only GTSRB has a split"),
        (["--size", "9"], "6 pixels a side, not 9"),
    ],
)
def test_what_does_not_fit_is_an_error_that_tells_what_to_do(
    arguments: list[str], found: str, capsys: Output
) -> None:
    model = "nets_of_mine:net" if arguments else "nets_of_mine:four"
    assert run(*arguments, model=model) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert found in printed.err
    assert not printed.out
    assert not Path("diagnosis").exists()


def test_images_that_are_not_there_are_an_error_before_a_framework_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "absent")
    assert main(["diagnose", "net.keras", "--data", "absent"]) == 2
    assert "absent: no images there" in capsys.readouterr().err


def test_what_the_diagnosis_refuses_is_an_error_in_its_words(
    doctor: Doctor, capsys: Output
) -> None:
    doctor.found = ValueError("images must be 16 at least. Received: 3")
    assert run() == 2
    error = capsys.readouterr().err
    assert error == (
        "error: nets_of_mine:net cannot be diagnosed: images must be 16 at least. Received: 3\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--images", "1"],
        ["--batch", "0"],
        ["--seed", "-1"],
        ["--inputs", "0-1"],
        ["--x"],
        ["--limit", "0"],
        ["--seed", "9" * 401],
        ["--images", "9" * 5000],
        ["--batch", str(2**31)],
    ],
)
def test_options_that_cannot_be_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


@pytest.mark.usefixtures("doctor")
def test_a_folder_that_cannot_be_written_is_an_error_after_the_words(capsys: Output) -> None:
    Path("taken").write_text("")
    assert run("--out", "taken") == 2
    printed = capsys.readouterr()
    assert "The statistics of bn do not fit." in printed.out
    assert "cannot be written" in printed.err


@pytest.mark.usefixtures("doctor")
def test_a_page_is_written_where_it_is_wanted(capsys: Output) -> None:
    assert run("--html", "deep/er/net.html") == 1
    assert "\nwritten: deep/er/net.html, diagnosis/diagnosis.json" in capsys.readouterr().out
    page = Path("deep/er/net.html").read_text(encoding="utf-8")
    assert "<h1>stale statistics: stale mean, from bn on</h1>" in page
    assert "&#39;nets_of_mine:net&#39;, &#39;images&#39;, split=None" in page
    assert "nox -s diagnose -- nets_of_mine:net --data images" in page


def test_a_page_that_cannot_be_written_is_an_error_before_the_diagnosis(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert run("--html", "page.txt") == 2
    assert (
        "page.txt is no name of a page. Name a file that ends in .html" in capsys.readouterr().err
    )
    monkeypatch.setitem(sys.modules, "suite.report.html.diagnosis", None)
    assert run("--html", "page.html") == 2
    assert "a page needs suite.report.html.diagnosis, which is not" in capsys.readouterr().err
    assert not hasattr(doctor, "limit_s")


def test_the_options_are_those_of_the_functions_behind_them() -> None:
    options = command._parser().parse_args(["net", "--data", "gtsrb"])
    defaults = inspect.signature(diagnose).parameters
    assert options.images == defaults["max_images"].default
    assert options.batch == defaults["batch_size"].default
    watched = inspect.signature(callback).parameters
    assert watched["max_images"].default == defaults["max_images"].default
    assert watched["batch_size"].default == defaults["batch_size"].default
    for name, rows in (("--inputs", tuple(INPUTS)), ("--split", (TRAIN, TEST))):
        for row in rows:
            command._parser().parse_args(["net", "--data", "gtsrb", name, row])


def test_the_help_needs_no_framework() -> None:
    script = (
        "import sys\n"
        "from suite.__main__ import main\n"
        "try:\n"
        "    main(['diagnose', '--help'])\n"
        "finally:\n"
        "    assert not {'tensorflow', 'keras', 'torch', 'jax', 'matplotlib'} & set(sys.modules)\n"
    )
    home = Path(inspect.getsourcefile(main) or "").parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "PACKAGE.MODULE:FUNCTION" in done.stdout
    assert done.stderr == ""


ENDS = {
    "sys.exit(0)": "it failed. Found: SystemExit: 0 (",
    "raise KeyboardInterrupt": "it failed. Found: KeyboardInterrupt",
    "raise type('MyOwn', (BaseException,), {})('a\\x1b[2J\\nb')": "Found: MyOwn: a\\x1b[2J b (",
    "os._exit(0)": "it ended itself with status 0. Its last words: healthy. Expected: a network",
    "threading.Thread(target=os._exit, args=(0,)).start(); time.sleep(99)": "with status 0. Its",
    "os.kill(os.getpid(), 11)": "it was ended by signal 11 (Segmentation fault). Its last words",
    "signal.alarm(1); time.sleep(99)": "it was ended by signal 14",
    "input()": "it failed. Found: EOFError",
    "return 5": "no network. Found: a builtins.int",
    "return Net()": "The network must take one batch of images",
    "Path('absent').read_text()": "it failed. Found: FileNotFoundError",
    "(f := lambda: f())()": "it failed. Found: RecursionError",
}


@pytest.mark.parametrize("builder", ENDS)
def test_no_end_of_a_builder_is_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, builder: str
) -> None:
    Path("keras.py").write_text(  # another Keras, quick to load
        "__version__ = '0'\nclass Model:\n    __module__ = 'keras'\n    input_shape = (None, 7)\n"
    )
    Path("strangers.py").write_text(
        "import os, signal, sys, threading, time\n"
        "from pathlib import Path\n"
        "from keras import Model\n"
        "class Net(Model):\n"
        "    __module__ = 'strangers'\n"
        f"def net():\n    print('healthy')\n    {builder}\n"
    )
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert run(model="strangers:net") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    last = printed.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.isprintable()
    assert ENDS[builder] in last
    assert not Path("diagnosis").exists()


@pytest.mark.parametrize("end", ["sys.exit(0)", "sys.exit(1)", "raise BrokenPipeError"])
def test_no_end_of_a_generator_is_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, end: str
) -> None:
    Path("keras.py").write_text("class Model:\n    __module__ = 'keras'\n")
    Path("strangers.py").write_text(
        "import sys\nfrom keras import Model\n"
        f"def batches():\n    {end}\n    yield\n"
        "def net():\n    return Model(), batches()\n"
    )
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert main(["diagnose", "strangers:net"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "strangers:net: its data cannot be read. Found: " in printed.err


@pytest.mark.parametrize("end", [SystemExit(0), SystemExit(1), KeyboardInterrupt()])
def test_no_end_of_a_layer_is_a_verdict(doctor: Doctor, capsys: Output, end: BaseException) -> None:
    doctor.found = end
    assert run() == 2
    assert "nets_of_mine:net: its own code ended the diagnosis. Found: " in capsys.readouterr().err


@pytest.mark.parametrize("verdict", [HEALTHY, STALE])
def test_a_broken_pipe_is_no_verdict(verdict: str) -> None:
    answer = {"diagnosis": diagnosis_content(FOUND._replace(verdict=verdict)), "classes": []}
    Path("answer.json").write_text(json.dumps(answer))
    script = (
        "import json, sys\n"
        "from suite.__main__ import main\n"
        "from suite.commands import diagnose\n"
        "diagnose.ask = lambda *_, **__: json.load(open('answer.json'))\n"
        "sys.exit(main(['diagnose', 'net.keras', '--data', 'images']))\n"
    )
    home = Path(inspect.getsourcefile(main) or "").parent.parent
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(home)},
            stdout=writer, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert done.returncode == 2


def test_arrays_are_diagnosed_by_the_output_that_is_named(doctor: Doctor) -> None:
    images, labels = np.ones((20, 6, 6, 3), np.float32), np.arange(20) % 3
    np.savez("data.npz", images=images, labels=labels)
    assert main(["diagnose", "nets_of_mine:net", "--data", "data.npz", "--output", "0"]) == 1
    assert doctor.options["output"] == "0"
    assert np.array_equal(doctor.images, images)
    assert np.array_equal(doctor.labels, labels)


@pytest.mark.skipif(not hasattr(keras, "ops"), reason="writes .keras files")
def test_a_network_broken_on_purpose_is_found_out() -> None:
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    model.layers[0].moving_mean.assign(np.full(3, 0.47))
    model.layers[0].moving_variance.assign(np.full(3, 0.076))
    centres = np.array([-1.05, 0, 1.05])  # of the classes, where brightness is standardised
    model.layers[-1].set_weights([np.tile(8 * centres / 3, (3, 1)), -4 * centres**2])
    model.save("good.keras")
    model.layers[0].moving_mean.assign(np.full(3, 40.0))
    model.save("bad.keras")
    assert run(model="good.keras") == 0
    assert run(model="bad.keras") == 1
    assert json.loads(Path("diagnosis/diagnosis.json").read_text())["layer"] == "bn"


def test_an_old_python_is_told_what_serves_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "PYTHON", (99, 1))
    assert main(["diagnose", "net.keras", "--data", "data.npz"]) == 2
    told = capsys.readouterr().err
    assert "needs Python 99.1 or later. Found: Python" in told
    assert "nox -s diagnose" in told
