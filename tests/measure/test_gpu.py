"""Tests of suite.measure.gpu: which GPU a run takes, and what NVML says of it, with stand-ins."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from suite import machine
from suite.errors import SuiteError
from suite.measure import gpu
from suite.measure.environment import decisive_variables
from suite.measure.gpu import lease, sampled, visible

KNOWN = ["GPU-aa11", "GPU-ab22", "GPU-cc33"]
ROOT = Path(__file__).parents[2]
HOLDING = """
import sys; sys.path.insert(0, {root!r})
from pathlib import Path
from suite.measure import gpu
gpu.uuids = lambda: {known!r}
print(gpu.lease(Path({folder!r}) if {folder!r} else None), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a function that puts GPUs, by their UUIDs, in the place of this machine's."""
    monkeypatch.setattr(gpu, "HELD", {})
    monkeypatch.delenv(gpu.VISIBLE, raising=False)
    return lambda *known: monkeypatch.setattr(gpu, "uuids", lambda: known)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, KNOWN),
        ("", []),
        ("-1", []),
        ("1", ["GPU-ab22"]),
        ("2,0", ["GPU-cc33", "GPU-aa11"]),
        ("0,-1,1", ["GPU-aa11"]),
        ("0,7,1", ["GPU-aa11"]),
        ("0,3,1", ["GPU-aa11"]),
        ("GPU-cc33, GPU-ab", ["GPU-cc33", "GPU-ab22"]),
        ("GPU-a", []),  # two begin so
        ("NoDevFiles", []),
        ("MIG-0d1e", ["MIG-0d1e"]),
    ],
)
def test_the_variable_names_gpus_as_cuda_reads_it(named: str | None, expected: list[str]) -> None:
    assert visible(KNOWN, {} if named is None else {gpu.VISIBLE: named}) == expected


def test_a_run_takes_one_gpu_and_sees_no_other(gpus: Any, tmp_path: Path) -> None:
    gpus(*KNOWN)
    assert lease(tmp_path) == os.environ[gpu.VISIBLE] == "GPU-aa11"


def test_a_second_session_of_a_process_keeps_its_gpu(gpus: Any, tmp_path: Path) -> None:
    gpus(*KNOWN)
    assert lease(tmp_path) == lease(tmp_path)


def test_without_a_gpu_nothing_is_taken(gpus: Any, tmp_path: Path) -> None:
    gpus()
    assert lease(tmp_path) is None
    assert gpu.VISIBLE not in os.environ
    assert list(tmp_path.iterdir()) == []


def holding(folder: Path | str, **variables: str) -> subprocess.Popen[str]:
    """Start a process that takes a GPU and keeps it until its input ends."""
    code = HOLDING.format(root=str(ROOT), known=tuple(KNOWN), folder=str(folder))
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    env = {**{k: v for k, v in os.environ.items() if k != gpu.VISIBLE}, **variables}
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code], text=True, env=env, **pipes
    )


def end(runs: list[subprocess.Popen[str]]) -> None:
    for run in runs:
        run.kill()
        with run:  # closes its pipes
            pass


def test_each_run_has_a_gpu_to_itself_and_one_more_waits_until_a_run_ends_or_is_killed(
    tmp_path: Path,
) -> None:
    runs = [holding(tmp_path) for _ in KNOWN]
    try:
        taken = [run.stdout.readline().strip() for run in runs]
        assert sorted(taken) == KNOWN
        runs.append(holding(tmp_path))
        assert runs[-1].stderr.readline() == "waiting: all 3 GPUs are taken by other runs\n"
        assert runs[-1].poll() is None
        runs[1].kill()
        assert runs[-1].stdout.readline().strip() == taken[1]
    finally:
        end(runs)


def test_a_run_waits_for_the_gpu_that_it_was_given_though_others_are_free(tmp_path: Path) -> None:
    runs = [holding(tmp_path, CUDA_VISIBLE_DEVICES="2")]
    try:
        assert runs[0].stdout.readline().strip() == "GPU-cc33"
        runs.append(holding(tmp_path, CUDA_VISIBLE_DEVICES="GPU-cc33"))
        assert runs[1].stderr.readline() == "waiting: the GPU is taken by other runs\n"
        runs.append(holding(tmp_path))
        assert runs[2].stdout.readline().strip() == "GPU-aa11"
        runs[0].stdin.close()  # it ends by itself
        assert runs[1].stdout.readline().strip() == "GPU-cc33"
    finally:
        end(runs)


def test_runs_that_are_given_no_folder_share_one(tmp_path: Path) -> None:
    runs = [holding("", TMPDIR=str(tmp_path)) for _ in range(2)]
    try:
        assert sorted(run.stdout.readline().strip() for run in runs) == KNOWN[:2]
    finally:
        end(runs)


def test_a_line_of_the_driver_that_names_no_gpu_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cards", lambda _: [KNOWN[0], "No devices were found"])
    assert gpu.uuids.__wrapped__() == (KNOWN[0],)


def test_a_folder_that_cannot_be_made_is_told(gpus: Any, tmp_path: Path) -> None:
    gpus(*KNOWN)
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match=r"file/locks cannot be written: .* name another place"):
        lease(tmp_path / "file" / "locks")


def test_which_gpu_was_taken_is_no_part_of_a_records_key() -> None:
    assert decisive_variables({gpu.VISIBLE: "GPU-aa11", "CUDA_LAUNCH_BLOCKING": "1"}) == {
        "CUDA_LAUNCH_BLOCKING": "1"
    }


@pytest.fixture
def nvml(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Put a module of ours in the place of pynvml: a GPU that is used more and more."""
    gpus(*KNOWN)
    module: Any = ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def rising() -> int:
        module.told += 10
        return module.told

    module.told, module.NVMLError, module.asked = 0, NVMLError, []
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetHandleByUUID = lambda uuid: module.asked.append(uuid) or "handle"
    module.nvmlDeviceGetUtilizationRates = lambda _: SimpleNamespace(gpu=rising())
    module.nvmlDeviceGetMemoryInfo = lambda _: SimpleNamespace(used=2**30)
    module.nvmlDeviceGetPowerUsage = lambda _: 350_000
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_the_use_of_the_gpu_is_sampled_while_a_case_runs(
    nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpu.VISIBLE, "1,0")  # the first is the one that a framework takes
    with sampled(every_s=0.01) as used:
        assert used == {}
        while nvml.told < 50:
            time.sleep(0.01)
    assert nvml.asked == ["GPU-ab22"]
    count = nvml.told // 10
    assert used == {
        "gpu_utilisation_mean": pytest.approx((count + 1) / 20),
        "gpu_utilisation_peak": pytest.approx(count / 10),
        "gpu_memory_bytes_mean": 2.0**30,
        "gpu_memory_bytes_peak": 2.0**30,
        "gpu_power_w_mean": 350.0,
        "gpu_power_w_peak": 350.0,
    }


def test_nothing_samples_any_more_after_a_case_that_failed(nvml: Any) -> None:
    with pytest.raises(KeyError), sampled(every_s=0.01):
        raise KeyError
    told = nvml.told
    time.sleep(0.05)
    assert nvml.told == told


def test_what_a_gpu_does_not_tell_is_left_out(nvml: Any) -> None:
    def unsupported(_: Any) -> int:
        raise nvml.NVMLError

    nvml.nvmlDeviceGetPowerUsage = unsupported
    with sampled() as used:
        pass
    assert {name.rpartition("_")[0] for name in used} == {"gpu_utilisation", "gpu_memory_bytes"}


def test_a_block_shorter_than_a_sample_is_sampled_at_both_its_ends_and_idleness_counts(
    nvml: Any,
) -> None:
    used_by_then = iter((0, 40))
    nvml.nvmlDeviceGetUtilizationRates = lambda _: SimpleNamespace(gpu=next(used_by_then))
    with sampled(every_s=60) as used:
        pass
    assert (used["gpu_utilisation_mean"], used["gpu_utilisation_peak"]) == (0.2, 0.4)


def test_nothing_is_told_without_a_package_a_driver_or_a_gpu(
    nvml: Any, gpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver() -> None:
        raise nvml.NVMLError

    nvml.nvmlInit = no_driver
    with sampled() as used:
        pass
    nvml.nvmlInit = lambda: None
    gpus()
    with sampled() as still:
        pass
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with sampled() as at_last:
        pass
    assert used == still == at_last == {}
