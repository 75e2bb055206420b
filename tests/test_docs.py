"""Tests of README, CONTRIBUTING and docs: what they name exists, and the README stays short."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from suite.__main__ import COMMANDS
from suite.cases import has_baseline
from suite.commands import cluster, fix_table, matrix, results
from suite.judge.traps import TRAPS, Trap, expected, generation
from suite.locks import lock_digest, lock_of, pins_of
from suite.releases import read_project, read_releases
from suite.report.compatibility import DIGEST_LENGTH
from suite.store import stored_cases
from tests.faults.pictured import KINDS
from tests.faults.pictures import draw

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LONGEST = 150  # lines of the README
WIDEST = 120  # characters a line of it
SECTIONS = [
    "Does this upgrade break adversarial training?",
    "The idea: a known failure as the touchstone",
    "Two commands",
    "The main job",
    "Results",
    "How to read the answer",
    "More",
]
GENERATED = re.compile(r"<!-- ([\w-]+): begin -->\n.*?<!-- \1: end -->\n", re.DOTALL)
BLOCK = re.compile(r"^ *```([\w{}-]*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ROW_FIRST = ("overhead", "stack-tests", "study")  # sessions whose first argument is a row
ROWS_TO_FILL_IN = {"NAME", "RELEASE", "ROW"}
FOLDERS = "suite|tests|benchmarks|baselines|studies|docs|locks"
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]*)`")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def written(page: Path) -> str:
    """Give a page without its generated sections."""
    return GENERATED.sub("", text_of(page))


def blocks(page: Path, language: str) -> list[str]:
    return [block for found, block in BLOCK.findall(text_of(page)) if found == language]


def anchors(page: Path) -> set[str]:
    """List the anchors that GitHub gives the headings of a page."""
    titles = HEADING.findall(BLOCK.sub("", text_of(page)))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def sessions() -> set[str]:
    """List the sessions of noxfile.py, as `nox -s` names them."""
    found = set()
    for function in ast.parse(text_of(ROOT / "noxfile.py")).body:
        for mark in getattr(function, "decorator_list", []):
            if ast.unparse(mark).startswith("nox.session"):
                named = {key.arg: key.value for key in getattr(mark, "keywords", [])}
                name = named.get("name", ast.Constant(function.name))
                found.add(ast.literal_eval(name))
    return found


def named_sessions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each session that a text says to run, with the row it says to run it on."""
    for command in re.findall(r"nox -s ([^`\n#]+)", text):
        names, _, options = command.partition(" -- ")
        for name, row in re.findall(r"(?<![\w-])(\w[\w-]*)(?:\(([^)]*)\))?", names):
            yield name, options.split()[0] if name in ROW_FIRST and options else row


def test_readme_is_short_and_its_sections_stand_in_order() -> None:
    assert len(text_of(README).splitlines()) <= LONGEST
    assert HEADING.findall(BLOCK.sub("", text_of(README))) == SECTIONS


def test_lines_of_the_readme_fit_a_window() -> None:
    assert [line for line in text_of(README).splitlines() if len(line) > WIDEST] == []


@pages
def test_links_and_images_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(BLOCK.sub("", text_of(page))):
        if not re.match(r"https?://", link):
            place, _, anchor = link.partition("#")
            target = (page.parent / place).resolve() if place else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(link)
    assert broken == []


@pages
def test_every_page_of_docs_is_reached_from_the_index(page: Path) -> None:
    index = ROOT / "docs" / "README.md"
    if page.parent == index.parent and page != index:
        assert page.name in LINK.findall(text_of(index))


@pages
def test_sessions_and_rows_that_are_named_exist(page: Path) -> None:
    releases = read_project(ROOT / "pyproject.toml")["tool"]["suite"]["releases"]
    rows = {"", *ROWS_TO_FILL_IN, *(row["name"] for row in releases)}
    found = set(named_sessions(text_of(page)))
    assert {name for name, _ in found} <= sessions()
    assert {row for _, row in found} <= rows


def test_every_session_has_its_line_in_the_index() -> None:
    lines = re.findall(r"(?m)^\| `nox -s ([^`]+)` \|", text_of(ROOT / "docs" / "README.md"))
    named = {name for line in lines for name, _ in named_sessions(f"nox -s {line}")}
    assert named == sessions()


@pages
def test_commands_that_are_named_exist(page: Path) -> None:
    names = re.findall(r"python -m suite ([a-z-]+)", text_of(page))
    assert set(names) <= set(COMMANDS)


@pages
def test_paths_that_are_named_exist(page: Path) -> None:
    missing = [path for path in PATH.findall(written(page)) if not (ROOT / path).exists()]
    assert missing == []


@pages
def test_python_code_compiles_and_imports_what_exists(page: Path) -> None:
    for code in blocks(page, "python"):
        tree = ast.parse(code)
        imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert imports
        exec(compile(ast.Module(imports, []), page.name, "exec"), {})  # noqa: S102 - our own pages


def test_generated_sections_have_both_markers_once() -> None:
    places = [(page.name, name) for page in PAGES for name in GENERATED.findall(text_of(page))]
    assert places == [
        ("README.md", "results"),
        ("cluster.md", "scaling"),
        ("fixes.md", "fixes"),
        *(("reading-a-failure.md", kind) for kind in kinds()),
        ("releases.md", "compatibility"),
        ("releases.md", "baselines"),
        ("reports.md", "reports"),
        ("results.md", "results"),
        ("traps.md", "traps"),
        ("traps.md", "seen"),
        ("trends.md", "trends"),
    ]
    for page in PAGES:
        assert text_of(page).count(": begin -->\n") == len(GENERATED.findall(text_of(page)))


def test_tables_are_what_the_stored_records_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # the release table is read from there
    generated = ("results", "traps", "trends", "cluster", "fixes")
    names = ("README.md", *(f"docs/{page}.md" for page in generated))
    copies = [Path(shutil.copy(name, tmp_path)) for name in names]
    readme, table, traps, trends, scaling, fixes = map(str, copies)
    shutil.copy("docs/cluster.json", tmp_path)
    results.main(["--page", table, "--readme", readme, "--traps", traps, "--trends", trends])
    results.main(["--cluster", scaling])
    figure = ["--figure", str(tmp_path / "fixes.svg")]
    fix_table.main(["--records", "baselines", "studies", "--page", fixes, *figure])
    for page, name in zip(copies, names):
        assert text_of(page) == text_of(ROOT / name)
    assert text_of(tmp_path / "trends.svg") == text_of(ROOT / "docs/trends.svg")
    assert text_of(tmp_path / "fixes.svg") == text_of(ROOT / "docs/fixes.svg")


def test_the_rows_with_a_baseline_are_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    copy = Path(shutil.copy("docs/releases.md", tmp_path))
    folders = sorted(Path("baselines").glob("*/small"), reverse=True)
    whole = [path for path in folders if any(map(has_baseline, stored_cases(path)))]
    rows = ",".join(path.parent.name for path in whole)
    given = ["--table", "--records", "baselines", "--rows", rows, "--section", "baselines"]
    matrix.main([*given, "--page", str(copy)])
    assert without_age(copy) == without_age(Path("docs/releases.md"))


def without_age(page: Path) -> list[str]:
    """Read a page but for the lines on how old its records are: each change makes them so."""
    return [
        line
        for line in text_of(page).splitlines()
        if line and "of another state of the suite" not in line
    ]


@pytest.mark.parametrize("name", ["kuberay.yaml", "slurm.sh"])
def test_examples_of_clusters_give_options_that_the_command_has(name: str) -> None:
    text = re.sub(r"\\\n", " ", text_of(ROOT / "docs" / "examples" / name))
    given = re.search(r"-m nox -s cluster -- (.*(?:\n {4}--.*)*)", text)
    assert given
    words = shlex.split(given[1].replace('"$@"', ""))
    options = cluster._parser().parse_args([word.replace("$head", "head:6379") for word in words])
    assert cluster.planned(options).cases


def test_the_manifest_names_the_ray_that_the_lock_pins() -> None:
    pinned = re.search(r"(?m)^ray==(\S+)", text_of(ROOT / "locks" / "cluster.txt"))
    assert pinned
    assert f'rayVersion: "{pinned[1]}"' in text_of(ROOT / "docs" / "examples" / "kuberay.yaml")


def table_rows(page: str, first: str) -> list[list[str]]:
    """Read the cells of a page's table whose heading begins with a word; the heading first."""
    lines = text_of(ROOT / "docs" / page).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = takewhile(lambda line: line.startswith("|"), lines[start:])
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    return [cells[0], *cells[2:]]


def test_releases_stand_on_their_page_with_the_locks_that_they_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    _, *rows = table_rows("releases.md", "release")
    table = read_releases()
    assert [row[0] for row in rows] == [release.name for release in table]
    for release, row in zip(table, rows):
        if not release.unpinned:
            assert lock_digest(release).partition(":")[2].startswith(row[-1]), release.name
            assert len(row[-1]) == DIGEST_LENGTH


def test_traps_did_what_is_stated_of_the_versions_in_the_locks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    (_, *names), *rows = table_rows("traps.md", "trap")
    assert names == [release.name for release in read_releases()]
    pinned = {name: pins_of(lock_of(release).path) for name, release in zip(names, read_releases())}
    for trap, (_, *seen) in zip(TRAPS, rows, strict=True):
        for name, cell in zip(names, seen):
            if pinned[name]:
                assert cell.strip("*") == stated(trap, pinned[name]), (trap.name, name)


def stated(trap: Trap, pins: dict[str, str]) -> str:
    """Look up what is expected of a trap under the versions of a lock."""
    versions = {name.replace("tensorflow-cpu", "tensorflow"): pin for name, pin in pins.items()}
    return expected(trap, generation(versions))


def kinds() -> dict[str, dict[str, Any]]:
    """Read what was measured of each kind of failure, by its name."""
    found: dict[str, dict[str, Any]] = json.loads(text_of(ROOT / "docs" / "failures.json"))
    return found


def test_pictures_of_failures_are_drawn_from_what_was_measured(tmp_path: Path) -> None:
    for name in ("failures.json", "reading-a-failure.md"):
        shutil.copy(ROOT / "docs" / name, tmp_path)
    draw(tmp_path)
    page = "reading-a-failure.md"
    assert text_of(tmp_path / page) == text_of(ROOT / "docs" / page)
    for kind in kinds():
        picture = f"failures/{kind}.svg"
        assert text_of(tmp_path / picture) == text_of(ROOT / "docs" / picture)


def test_kinds_of_failures_are_those_that_are_measured_and_their_faults_are_known() -> None:
    measured = [(kind.name, kind.fault, kind.case) for kind in KINDS]
    assert [(name, kind["fault"], kind["case"]) for name, kind in kinds().items()] == measured


def test_the_words_on_evidence_are_those_that_the_gate_says_today() -> None:
    kind = next(kind for kind in KINDS if kind.name == "evidence")
    words, drawn = kind.measure(kind, None)
    assert kinds()["evidence"]["words"] == words
    assert kinds()["evidence"]["drawn"] == json.loads(json.dumps(drawn))
