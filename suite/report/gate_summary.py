"""The gate's answer on one screen of Markdown: for a job's summary and a pull request's comment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from suite.judge.gate.finding import LAYERS, NO_WORSE, UNDECIDED, WORSE, Answer
from suite.report.answer import grouped, headline, judged, ranked
from suite.report.gate import Told, bullets, closing, sentence
from suite.report.grid import markdown_grid
from suite.report.text import markdown

MARKS = {NO_WORSE: "✅", WORSE: "❌", UNDECIDED: "❔"}
COLUMNS = ("judged by", WORSE, UNDECIDED, NO_WORSE)
MOST = 10  # lines of one kind: a comment holds 65,536 characters, and a matrix has 18 rows
WIDTH = 600  # characters of a line


def summary(told: Told) -> str:
    """Write the answer, a table of the layers, what is worse, undecided and missing, how sure."""
    answer = told.answer
    parts = [f"### {MARKS[answer.decision]} {markdown(headline(answer, told.titles), limit=WIDTH)}"]
    parts.append(markdown_grid(COLUMNS, _counts(answer)))
    for decision, head in ((WORSE, "Worse"), (UNDECIDED, "Not decided")):
        found = ranked(answer, decision)
        parts += _listed(head, [sentence(finding, told) for finding in found])
    parts += _listed("Missing", grouped(answer.missing))
    parts.append(f"<details><summary>How sure</summary>\n\n{bullets(closing(told))}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _counts(answer: Answer) -> Iterator[tuple[str, ...]]:
    """Count the findings of each layer by decision, without diagnostics."""
    for layer in LAYERS:
        own = [found.decision for found in judged(answer) if found.layer == layer]
        yield (layer, *(str(own.count(decision)) for decision in COLUMNS[1:]))


def _listed(head: str, texts: Sequence[str]) -> list[str]:
    """Write the first texts below a head, and how many more there are; nothing where none is."""
    if not texts:
        return []
    more = [f"and {len(texts) - MOST} more, in the report"] if len(texts) > MOST else []
    lines = [f"- {markdown(text, limit=WIDTH)}" for text in [*texts[:MOST], *more]]
    return ["\n".join([f"**{head}**\n", *lines])]
