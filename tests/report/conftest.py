"""The records made up for judging: what is judged of them is reported here."""

from __future__ import annotations

from tests.judge.conftest import good, make_run, runs

__all__ = ["good", "make_run", "runs"]
