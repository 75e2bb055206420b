"""What does an adversarial step cost compared with a plain one, in time and memory?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from suite import machine
from suite.cases import PLAIN
from suite.measure.run import Measured, Run, fixed_training
from suite.measure.training import WARMUP_STEPS, TimedStep, batches, step_timing, timed
from suite.networks.types import Model
from suite.stacks.protocol import Stack

SPARE_EPOCHS = 2  # one is timed; pytest-codspeed's timer makes a round more than it is asked for


def time_steps(run: Run) -> Measured:
    """Time plain and adversarial steps, which alternate in one process.

    Args:
        run: Every batch of its training images makes a pair of steps; the first are the warm-up.
            Its timer times the adversarial step, for which the plain one is the set-up.

    Raises:
        ValueError: If the run has no timer, or one that makes too few rounds.
    """
    if run.pedantic is None:
        raise ValueError(
            f"pedantic must be pytest-benchmark's timer for {run.case}: ask for the fixture "
            "`benchmark` and give its `pedantic`. Received: None"
        )
    case, model = run.case, fixed_training(run).model
    steps = {
        loss: run.stack.train_step(model, phases=phases, epsilon=case.epsilon)
        for loss, phases in ((PLAIN, None), ("adversarial", case.phases))
    }
    made: dict[str, list[TimedStep]] = {loss: [] for loss in steps}
    source = batches(run.train, batch_size=case.batch_size, epochs=SPARE_EPOCHS, seed=run.seed)

    def plain_first() -> tuple[tuple[Any, ...], dict[str, Any]]:
        batch = next(source)
        made[PLAIN].append(timed(steps[PLAIN], batch, base_rate=case.learning_rate))
        return (batch,), {}

    def adversarial(batch: Any) -> None:
        made["adversarial"].append(timed(steps["adversarial"], batch, base_rate=case.learning_rate))

    memory = memory_meter(run.stack)
    rounds = len(run.train.labels) // case.batch_size - WARMUP_STEPS
    run.pedantic(
        adversarial, setup=plain_first, rounds=rounds, iterations=1, warmup_rounds=WARMUP_STEPS
    )
    measured = timed_pairs(run, model, first_of(made, rounds + WARMUP_STEPS))
    measured.metrics.update(memory())
    return measured


def first_of(made: Mapping[str, list[TimedStep]], wanted: int) -> dict[str, list[TimedStep]]:
    """Take the steps that were wanted, of a timer that may make more.

    Raises:
        ValueError: If it made fewer.
    """
    fewest = min(map(len, made.values()))
    if fewest < wanted:
        raise ValueError(
            f"pedantic must make {wanted} rounds with the warm-up. Received: a timer that made "
            f"{fewest}; is pytest-benchmark disabled?"
        )
    return {loss: done[:wanted] for loss, done in made.items()}


def memory_meter(stack: Stack) -> Callable[[], dict[str, float]]:
    """Start measuring memory; the function returned gives the peak taken since now, in bytes.

    It is the device's where there is one, else the growth of this process; nothing where the
    system does not let a process measure it anew.
    """
    stack.peak_device_bytes()
    measurable, resident = machine.reset_peak_memory(), machine.peak_memory_bytes()

    def taken() -> dict[str, float]:
        device_bytes = stack.peak_device_bytes()
        if device_bytes is None and not measurable:
            return {}
        grown = machine.peak_memory_bytes() - resident  # pages may be given back meanwhile
        return {"peak_memory_bytes": float(max(0, grown) if device_bytes is None else device_bytes)}

    return taken


def timed_pairs(run: Run, model: Model, made: Mapping[str, Sequence[TimedStep]]) -> Measured:
    """Compute the metrics of the timed steps; the ratio is that of the medians."""
    named = {
        f"{loss}_{key}": value
        for loss, done in made.items()
        for key, value in step_timing(done, run.case.batch_size).items()
    }
    compiling = {
        f"{loss}_compile_s": max(0.0, done[0].step_s - named[f"{loss}_step_s"])
        for loss, done in made.items()
    }
    metrics = {
        **named,
        **compiling,
        "adversarial_plain_ratio": named["adversarial_step_s"] / named["plain_step_s"],
        "parameters": float(model.count_params()),
        "last_loss": made["adversarial"][-1].result.loss,
    }
    curves = {
        f"{loss}_step_s": [step.step_s for step in done[WARMUP_STEPS:]]
        for loss, done in made.items()
    }
    return Measured(metrics, curves, [], {})
