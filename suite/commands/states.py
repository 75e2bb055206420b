"""`states`: train the networks whose states every release steps from, and store them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from suite.cases import Case
from suite.measure.named import weights_by_key
from suite.measure.once import Session, open_session
from suite.measure.run import Run, fixed_training, subsets
from suite.measure.states import save_states, states_along, states_path
from suite.measure.training import batches, train
from suite.tables import table

TIER = "small"
SEED = 0


def main(arguments: Sequence[str]) -> int:
    """Train each network once and store its states; what is stored then is the same for all."""
    options = _parser().parse_args(arguments)
    session = open_session(
        release=options.release, tier=TIER, records=Path("records"), lock=options.lock,
        gtsrb_root=options.gtsrb_root,
    )  # fmt: skip
    for case in table("states", tier=TIER):
        _store(case, session)
        path = states_path(case)
        print(f"{path}: states along {case}, {path.stat().st_size / 1e6:.1f} MB", flush=True)
    return 0


def _store(case: Case, session: Session) -> None:
    """Train the network of a case and store its states."""
    data, stack = session.dataset(case.data, case.size_px), session.stack
    run = Run(
        case, SEED, stack, *subsets(case, data, seed=SEED),
        {**session.environment, "data_digest": data.digest},
    )  # fmt: skip
    fixed = fixed_training(run)
    step = stack.train_step(fixed.model, phases=fixed.phases, epsilon=case.epsilon)
    source = batches(run.train, batch_size=case.batch_size, epochs=case.epochs, seed=SEED)
    steps = len(run.train.labels) // case.batch_size * case.epochs
    training = train(step, source, steps=steps, base_rate=case.learning_rate, title=str(case))
    save_states(
        states_path(case), dict(states_along(training, read=lambda: weights_by_key(fixed.model)))
    )


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s states --", description="Train and store the states that parity steps from."
    )
    parser.add_argument("--release", required=True, help="the installed row")
    parser.add_argument("--lock", type=Path, required=True, help="its lock file")
    parser.add_argument(
        "--gtsrb-root", type=Path, default=os.environ.get("GTSRB_ROOT"),
        help="folder of GTSRB's archives; else GTSRB_ROOT",
    )  # fmt: skip
    return parser
