"""What the log of a row tells: did it install, import, and why did it fail?"""

from __future__ import annotations

import re

from suite.locks import one_line

_UNTRIED = re.compile(r"^error: locks/(?!.*cannot be resolved)")  # a stale lock
_STARTED = re.compile(r"^nox > (?:\S*/)?python -m pytest ", re.MULTILINE)
_TESTED = re.compile(r"^benchmarks/\S+ (?:PASSED|FAILED)|^(?:PASSED|FAILED) ", re.MULTILINE)
_IMPORT_FAILED = re.compile(r"^suite/stacks/__init__\.py:\d+: in load$", re.MULTILINE)
_REASONS = (  # the first that matches tells best; of it, the last match
    re.compile(r"^!+ (?:_pytest\.outcomes\.)?Exit: (.+?) !+$", re.MULTILINE | re.DOTALL),
    re.compile(r"^nox > Session \S+ (?:failed|aborted): (.+?)(?: \(took .*\))?\.?$", re.MULTILINE),
    re.compile(
        r"^(?:error: | +\N{MULTIPLICATION SIGN} )(.+?)(?=^nox > )", re.MULTILINE | re.DOTALL
    ),
    re.compile(
        r"nox > Command \S*python -m (pytest) .*( failed with exit code -\d+)$", re.MULTILINE
    ),
    re.compile(r"^(?:E|INTERNALERROR>) +([\w.]+(?:Error|Exception): .+)$", re.MULTILINE),
    re.compile(r"^(?:FAILED|ERROR):? (?!\[|usage: )(.+)$", re.MULTILINE),
    re.compile(r"^(?:__main__\.py|python -m pytest): error: (.+)$", re.MULTILINE),
    re.compile(r"^([\w.]+(?:Error|Exception): .+)$", re.MULTILINE),
    re.compile(r"^(?!nox > Session )(?:nox > )?(.*\S.*)$", re.MULTILINE),
)


def installed(log: str) -> bool | None:
    """Return whether the environment could be made: nox went on to pytest; None if not tried."""
    return None if _UNTRIED.search(log) else bool(_STARTED.search(log))


def imported(log: str) -> bool | None:
    """Return whether the framework could be imported; None if the log does not tell.

    A benchmark that passed or failed had it; one that was an error in `suite.stacks.load` had not.
    """
    if _TESTED.search(log):
        return True
    return False if _IMPORT_FAILED.search(log) else None


def reason(log: str) -> str:
    """Return why a row failed, as one line of its log tells."""
    for pattern in _REASONS:
        found = pattern.findall(log)
        if found:
            return one_line("".join(found[-1]))
    return "it printed nothing"
