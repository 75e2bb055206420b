"""Tests of suite.releases: the release table is read as it stands, and a wrong row is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.errors import ReleaseError
from suite.releases import Release, chosen, read_project, read_releases

ROOT = Path(__file__).parents[1]
ROW = Release("tf-1.0", "3.11", ("tensorflow==1.0",), "to test")
NIGHTLY = Release("nightly", "3.11", ("tf-nightly",), "to test", unpinned=True)


def project(folder: Path, *rows: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text("\n".join(f"[[tool.suite.releases]]\n{row}" for row in rows))
    return path


def test_the_projects_own_table_is_read() -> None:
    project = ROOT / "pyproject.toml"
    rows = {row.name: row for row in read_releases(project)}
    assert rows["tf-1.14"].python == "3.7"
    assert "cleverhans==3.1.0" in rows["tf-1.14"].pins
    assert [row.name for row in rows.values() if row.unpinned] == ["tf-nightly"]
    assert read_project(project)["tool"]["suite"]["default"] in rows
    gpu = read_releases(project, table="gpu-releases")
    assert {row.lock for row in gpu} == {f"{row.name}-gpu" for row in gpu}
    assert {row.name for row in gpu if not row.unpinned} < set(rows)
    assert not {row.name for row in gpu if row.unpinned} & set(rows)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "TF 1"}, r"name must be lowercase, digits, \. and -\. Received: TF 1"),
        ({"python": "2.7"}, r"python must be such as 3\.11\. Received: 2\.7"),
        ({"pins": ("keras>=3",)}, r"pins must be such as .* Received: \['keras>=3'\]"),
        ({"pins": ()}, r"pins must be such as .* Received: none"),
        ({"reason": ""}, r"reason must say why .* Received: nothing"),
    ],
)
def test_a_field_outside_its_range_is_refused(fields: dict[str, object], message: str) -> None:
    content = {"name": "a", "python": "3.11", "pins": ("b==1",), "reason": "to test"}
    with pytest.raises(ValueError, match=message):
        Release(**{**content, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (['name = "a"\npython = "3.11"\npins = ["b==1"]'], "a has no 'reason'"),
        (['name = "a"\npython = "3.11"\npins = ["b==1"]\nreason = "c"\nwhy = 1'], "a has why"),
        (['name = "a"\npython = "4"\npins = ["b==1"]\nreason = "c"'], "a: python must be"),
        (['name = "a"\npython = "3.11"\npins = ["b==1"]\nreason = "c"'] * 2, "has a twice"),
        (['name = "a"\npins = ["b==1"]\nreason = "c"'], "a has no 'python'. Add it"),
        (['name = "a"\npython = 3.11\npins = ["b==1"]\nreason = "c"'], r"a: python must be a str"),
        (['name = "a"\npython = "3.11"\npins = "b==1"\nreason = "c"'], r"a: pins must be a list"),
        (['python = "3.11"\npins = ["b==1"]\nreason = "c"'], "without a name has no 'name'"),
        (["name = "], "cannot be read"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(ReleaseError, match=message):
        read_releases(project(tmp_path, *rows))


def test_rows_are_chosen_in_the_order_given_and_once() -> None:
    other = Release("tf-2.0", "3.11", ("tensorflow==2.0",), "to test")
    assert chosen((ROW, other), "tf-2.0,tf-1.0,tf-2.0") == (other, ROW)


def test_all_rows_are_chosen_with_unpinned_ones_last() -> None:
    assert chosen((NIGHTLY, ROW), None) == (ROW, NIGHTLY)


@pytest.mark.parametrize(("names", "named"), [("tf-9,tf-1.0", "tf-9"), ("", "nothing")])
def test_an_unknown_row_is_an_error_that_lists_the_rows(names: str, named: str) -> None:
    with pytest.raises(ReleaseError, match=rf"^{named} is no row .* which has tf-1\.0, nightly"):
        chosen((ROW, NIGHTLY), names)
