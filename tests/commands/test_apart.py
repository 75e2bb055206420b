"""Tests of the process for strangers' code: an answer is whole or none, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from suite.commands.apart import ask
from suite.errors import SuiteError
from tests.commands.conftest import Output
from tests.processes import alive


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a module, `strangers`, and return its path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "strangers.py"
    path.write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "def doubled(given):\n    return {'twice': [2 * n for n in given['numbers']]}\n"
        "def prints(given):\n"
        "    print('\\x1b[2Jerror: a\\rb', end='')\n"
        "    print('to stderr \\u00b1', file=sys.stderr)\n"
        "    sys.stdout.buffer.write(b'\\xff\\n' + b'z' * 15_000)\n"
        "    return sys.argv\n"
        "def prints_and_ends(given):\n    prints(given)\n    sys.stdout.flush(); os._exit(3)\n"
        "def tells(given):\n"
        "    from suite.commands.apart import tell\n"
        "    tell('part 1 of 2: \\x1b[2J'); print('other'); tell('part 2 of 2'); os._exit(3)\n"
        "def fails(given):\n    raise LookupError('a\\nb')\n"
        "def hangs(given):\n"
        "    child = subprocess.Popen(['sleep', '321'])\n"
        "    pathlib.Path('pids').write_text(f'{os.getpid()} {child.pid}')\n"
        "    time.sleep(321)\n"
        "def odd(given):\n    return {1}\n"
        "def leaves_a_child(given):\n"
        "    subprocess.Popen(['sleep', '322'])\n"
        "    return 1\n"
        "def half(given):\n"
        "    import glob, tempfile\n"
        "    [place] = glob.glob(tempfile.gettempdir() + '/suite-*')\n"
        "    open(place + '/answer.json', 'w').write(given.get('text', '{\"returned\"'))\n"
        "    os._exit(0)\n"
        "def forged(given):\n    half({'text': '[]'})\n"
    )
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let questions and answers lie in a folder of this test's own."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def asked(name: str, given: Any = None, *, limit_s: float = 30.0) -> Any:
    return ask(f"strangers:{name}", given or {}, limit_s=limit_s)


def test_what_a_function_returns_comes_back() -> None:
    assert asked("doubled", {"numbers": [1, 2.5, -3]}) == {"twice": [2, 5.0, -6]}


def test_what_it_prints_is_not_shown(capsys: Output) -> None:
    assert asked("prints") == ["-c"]
    assert capsys.readouterr() == ("", "")


def test_what_it_prints_is_told_where_it_gives_no_answer_and_controls_nothing() -> None:
    with pytest.raises(SuiteError) as error:
        asked("prints_and_ends")
    told = str(error.value)
    assert "\\x1b[2Jerror: a" in told
    assert "to stderr ±" in told
    assert "z" * 100 in told
    assert told.isprintable()


def test_how_far_it_is_is_shown_and_is_none_of_its_last_words() -> None:
    shown: list[str] = []
    with pytest.raises(SuiteError, match=r"Its last words: other\."):
        ask("strangers:tells", {}, limit_s=30.0, show=shown.append)
    assert shown == ["part 1 of 2: \\x1b[2J", "part 2 of 2"]


def test_an_error_comes_back_in_its_words_with_its_traceback() -> None:
    with pytest.raises(SuiteError, match=r"Unforeseen: LookupError: a\\nb at .*strangers\.py") as e:
        asked("fails")
    assert 'in fails\n    raise LookupError("a' in e.value.__notes__[0].replace("'", '"')


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("odd", "not JSON serializable"),
        ("half", "its answer is damaged"),
        ("forged", "its answer is damaged"),
    ],
)
@pytest.mark.usefixtures("place")
def test_half_an_answer_is_none(name: str, words: str) -> None:
    with pytest.raises(SuiteError, match=words):
        asked(name)


def left(pids: list[int]) -> list[int]:
    """List the processes that are still there, after some time to end."""
    for _ in range(50):
        if not any(map(alive, pids)):
            break
        time.sleep(0.1)
    return [pid for pid in pids if alive(pid)]


@pytest.mark.usefixtures("place")
def test_what_hangs_is_ended_with_all_that_it_started(place: Path) -> None:
    began = time.perf_counter()
    with pytest.raises(SuiteError, match=r"it was ended after 2 s\. It printed nothing.*--limit"):
        asked("hangs", limit_s=2)
    assert time.perf_counter() - began < 8
    assert not left([int(pid) for pid in Path("pids").read_text().split()])
    assert not list(place.iterdir())


def test_an_answer_is_not_held_up_by_what_was_left_running() -> None:
    began = time.perf_counter()
    assert asked("leaves_a_child") == 1
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_command(number: signal.Signals) -> None:
    script = "from suite.commands.apart import ask; ask('strangers:hangs', {}, limit_s=99)"
    home = Path(sys.modules["suite"].__path__[0]).parent
    path = os.pathsep.join([str(home), str(Path.cwd())])
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a background ignores it
    )
    for _ in range(300):
        if Path("pids").exists() and Path("pids").read_text():
            break
        time.sleep(0.1)
    process.send_signal(number)
    process.wait(10)
    assert not left([int(pid) for pid in Path("pids").read_text().split()])
