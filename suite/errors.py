"""Every exception class of the suite; a bad argument raises a plain ``ValueError``."""

from __future__ import annotations


class SuiteError(Exception):
    """Something the user can mend: the message says what was found, expected, and what to do."""


class DataError(SuiteError):
    """A data set is missing, damaged or not the one expected."""


class RecordError(SuiteError):
    """A record or baseline cannot be read, written or trusted."""


class WriteError(RecordError):
    """A record, a baseline or a report cannot be written: what has been measured stands."""


class WeightsError(SuiteError):
    """Initial weights are missing or do not fit the architecture."""


class ReleaseError(SuiteError):
    """A row of the release table is wrong, cannot be resolved, or its lock is stale."""


class FixError(SuiteError):
    """A fix cannot be applied to a model, or not with this release."""


class BudgetError(SuiteError):
    """The time that a command was given is spent: what has been measured stands."""
