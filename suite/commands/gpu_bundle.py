"""`gpu-bundle`: one file that measures beside a GPU, on a machine that reaches no network."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.cases import Case, read_seeds
from suite.commands.gpu_environment import normal
from suite.commands.gpu_run import BARE_LOOPS, CONTENT, SAMPLE, TIMED
from suite.commands.gpu_sample import load_sample, pack_sample
from suite.commands.options import positive
from suite.errors import ReleaseError, SuiteError
from suite.files import SUITE, measuring_digest, probing_digest, read_bytes, write_atomically
from suite.libraries import recorded
from suite.locks import OPTIONS, PLATFORM, compiled, one_line
from suite.releases import PROJECT, Release, read_releases, read_table
from suite.tables import TIERS, asked, table

LIMIT_BYTES = 64 << 20
IMAGES = 10_400  # training images of the sample; each seed draws its own from them
FIRST = ("stall", "precise-bn", "accuracy")  # tables: the more a record tells, the sooner it comes
PACKED = {".py", ".csv", ".json"}  # of the suite
STATED = {"PYTHONNOUSERSITE": "1", "PYTHONWARNINGS": "default"}  # as the sessions state it
LISTED = re.compile(r"(?m)^([A-Za-z0-9][\w.-]*)(?:==([^\s+]+))?")  # a package that is there
MAIN = """\
import sys
from pathlib import Path

if sys.version_info < (3, 9):
    print("error: Python 3.9 or newer is needed, this is", sys.version, file=sys.stderr)
    sys.exit(2)
from suite.commands.gpu_run import started

sys.exit(started(Path(__file__).parent))
"""


def main(arguments: Sequence[str]) -> int:
    """Pack what measures, the packages that are not there, a sample of GTSRB; say how it is run.

    Raises:
        SuiteError: If the row is none for this, or the bundle becomes too large.
    """
    options = _parser().parse_args(arguments)
    row = _row(options.row)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        beside = packages(row, read_installed(options.installed), home / "site")
        test_images = max(case.test_images or 0 for case in asked(options.tier).values())
        pack_sample(
            options.gtsrb_root, home / SAMPLE, train_images=options.images, test_images=test_images
        )
        content = _content(row, options, beside, home / SAMPLE)
        (home / CONTENT).write_text(json.dumps(content, indent=1))
        write(home, options.output, options.records / row.name / options.tier)
    size = options.output.stat().st_size
    print(f"{options.output}: {size / 1e6:.1f} MB, {len(content['jobs'])} records to make")
    print(f"beside the GPU: python3 {options.output.name} --minutes 9 --out gpu-out")
    print("again, until it ends with 0; then here: nox -s gpu-collect -- gpu-out")
    return 0


def _row(name: str) -> Release:
    """Find the row, which must be one of what a machine has.

    Raises:
        ReleaseError: If it is none.
    """
    rows = {row.name: row for row in read_releases(table="gpu-releases") if row.unpinned}
    if name not in rows:
        raise ReleaseError(
            f"{name} is no row of what a GPU's machine has, expected one of {', '.join(rows)}: "
            "the unpinned ones of [[tool.suite.gpu-releases]]."
        )
    return rows[name]


def read_installed(path: Path) -> dict[str, str]:
    """Read what `pip freeze` printed: versions by package; empty where only a name stands.

    Raises:
        RecordError: If the file cannot be read.
    """
    text = read_bytes(path).decode("utf-8", "replace")
    return {normal(name): version for name, version in LISTED.findall(text)}


def packages(row: Release, there: Mapping[str, str], target: Path) -> list[str]:
    """Install the packages of a row that are not there into a folder; name those that must be.

    Raises:
        ReleaseError: If the framework is not there, or the versions that are fit no others.
    """
    lacking = [pin for pin in row.pins if "==" not in pin and pin not in there]
    if lacking:
        raise ReleaseError(
            f"{', '.join(lacking)} is not among what is installed there, expected the framework "
            f"of {row}: a bundle does not bring it. Give what `python3 -m pip freeze` prints there."
        )
    with tempfile.TemporaryDirectory() as folder:
        bounds, wanted = Path(folder, "there.txt"), Path(folder, "wanted.txt")
        fixed = (f"{name}=={version}" for name, version in there.items() if version)
        bounds.write_text("\n".join(fixed))
        options = ("--python-version", row.python, "--python-platform", PLATFORM)
        text = compiled(row.lock, row.pins, [*options, *OPTIONS, "-c", str(bounds)])
        blocks = dict(_blocks(text))
        wanted.write_text("".join(block for name, block in blocks.items() if name not in there))
        _install(wanted, target, options)
    return sorted({*blocks} & {*there})


def _blocks(lock: str) -> Iterator[tuple[str, str]]:
    """Yield each package of a lock's text, with its lines."""
    for block in re.split(r"(?m)^(?=[A-Za-z0-9])", lock)[1:]:
        yield block.partition("==")[0], block


def _install(wanted: Path, target: Path, options: Sequence[str]) -> None:
    """Install what a file lists into a folder, by hashes.

    Raises:
        ReleaseError: If uv fails.
    """
    command = ["uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--target"]
    command += [str(target), "--python", sys.executable, "--only-binary", ":all:", *options]
    command += ["-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"the packages cannot be installed: {one_line(done.stderr)}")


def _content(
    row: Release, options: argparse.Namespace, beside: Sequence[str], sample: Path
) -> dict[str, Any]:
    """Say what the bundle asks for, and what its records must be made with."""
    settings = read_table()
    own = next(entry for entry in settings["gpu-releases"] if entry["name"] == row.name)
    sizes = {case.size_px for case in asked(options.tier).values()}
    return {
        "release": row.name,
        "tier": options.tier,
        "python": row.python,
        "beside": list(beside),
        "env": {**STATED, **own.get("env", {})},
        "passed": settings["variables"]["passed"],
        "jobs": [[str(case), seed] for case, seed in jobs(options.tier, options.seeds)],
        "code_digest": measuring_digest(),
        "probe_digest": probing_digest(),
        "data_digests": [load_sample(sample, size_px=size).digest for size in sorted(sizes)],
    }


def jobs(tier: str, seeds: Sequence[int]) -> list[tuple[Case, int]]:
    """List the cases and seeds of a tier in the order of their worth; whatever is done counts.

    Step times are first, since nothing else may run then, and their seed decides nothing. Then
    comes one case of each pretrained network and seed: the others wait for its weights. Meanwhile
    the first seed of the networks that are not pretrained is made. Then every case by seed, what
    changes nothing at the end, and last what trains nothing.
    """
    cases = [case for name in (*FIRST, *TIERS[tier].tables) for case in table(name, tier=tier)]
    cases = sorted({str(case): case for case in cases}.values(), key=lambda case: _rank(case, tier))
    timed = [(case, seeds[0]) for case in cases if case.question == TIMED]
    pairs = [(case, seed) for seed in seeds for case in cases if case.question == "training"]
    begun = {case.architecture: case for case, _ in reversed(pairs) if case.pretraining_steps}
    first = [pair for pair in pairs if pair[0] in begun.values()]
    first += [pair for pair in pairs if not pair[0].pretraining_steps and pair[1] == seeds[0]]
    last = [(case, seed) for seed in seeds for case in cases if case.question != TIMED]
    return [*dict.fromkeys([*timed, *first, *pairs, *last])]


def _rank(case: Case, tier: str) -> int:
    """Put a case that is known to change nothing behind the others."""
    return int(case in table("no-change", tier=tier))


def write(home: Path, output: Path, records: Path) -> None:
    """Write the bundle: a zip archive that Python runs.

    Args:
        home: Holds the packages, the sample and what is asked for.
        output: The bundle.
        records: Of earlier slices: what is among them does not run again.

    Raises:
        SuiteError: If it is too large, or cannot be written.
    """
    made = home / "bundle.pyz"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", MAIN)
        for path, name in _members(home, records):
            archive.write(path, name)
    size = made.stat().st_size
    if size > LIMIT_BYTES:
        raise SuiteError(
            f"the bundle has {size:,} bytes, expected at most {LIMIT_BYTES:,}; its largest parts: "
            f"{_largest(made)}. Give fewer images (--images N) where {SAMPLE} is among them; a "
            "package (site/...) is packed where --installed does not name it."
        )
    write_atomically(output, made.read_bytes())


def _largest(bundle: Path) -> str:
    """Name the folders and files of a bundle that take the most room, with their bytes."""
    parts = Counter[str]()
    with zipfile.ZipFile(bundle) as archive:
        for member in archive.infolist():
            parts["/".join(member.filename.split("/")[:2])] += member.compress_size
    return ", ".join(f"{name} {taken:,}" for name, taken in parts.most_common(3))


def _members(home: Path, records: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of the bundle and their names there."""
    for path in sorted(SUITE.rglob("*")):
        if path.suffix in PACKED and "node_modules" not in path.parts:
            yield path, f"suite/{path.relative_to(SUITE)}"
    for name in (PROJECT.name, "conftest.py", BARE_LOOPS):
        yield PROJECT.parent / name, name
    for name in sorted(recorded(home / "site")):
        yield home / "site" / name, f"site/{name}"
    for path in (home / SAMPLE, home / CONTENT):
        yield path, path.name
    for path in sorted(records.glob("*.json")):
        yield path, f"records/{records.parent.name}/{records.name}/{path.name}"


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s gpu-bundle --",
        description="Pack all that measures beside a GPU on a machine that reaches no network.",
    )
    parser.add_argument("row", help="an unpinned GPU row, such as keras3-torch-installed")
    parser.add_argument(
        "--installed", type=Path, required=True, metavar="FILE",
        help="what `python3 -m pip freeze` prints there; names alone do",
    )  # fmt: skip
    parser.add_argument("--tier", choices=("sample", "rehearsal"), default="sample")
    parser.add_argument("--seeds", type=read_seeds, default=[0, 1, 2], help="such as 0,1,2")
    parser.add_argument("--images", type=positive, default=IMAGES, help="training images to take")
    parser.add_argument(
        "--gtsrb-root", type=Path, default=os.environ.get("GTSRB_ROOT"),
        help="folder of GTSRB's archives; else GTSRB_ROOT",
    )  # fmt: skip
    parser.add_argument("--records", type=Path, default=Path("records"), help="of earlier slices")
    parser.add_argument("--output", type=Path, default=Path("build", "gpu-bundle.pyz"))
    return parser
