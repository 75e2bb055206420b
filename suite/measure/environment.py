"""Where a record is made: labels that are true, and what decides a number beside the case."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from suite import machine
from suite.errors import SuiteError
from suite.files import SUITE, file_digest, measuring_digest
from suite.libraries import check_files, check_versions, library_digest, recorded
from suite.releases import read_releases
from suite.stacks.loading import settings
from suite.stacks.protocol import Stack
from suite.tables import TIERS

PROJECT = SUITE.parent
OWN = ("suite", "benchmarks", "tests", "conftest.py")  # of the project, where modules may lie
STARTED = ("sitecustomize", "usercustomize")  # Python runs them before anything else
DEMONSTRATION = "quickstart"  # the tier that runs on whichever Python has nox

DECISIVE = (
    "ATEN_*", "BLIS_*", "CUBLAS_*", "CUDA_*", "CUDNN_*", "DNNL_*", "EIGEN_*", "GLIBC_TUNABLES",
    "GOMP_*", "GOTO_*", "JAX_*", "KERAS_*", "KMP_*", "LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_*",
    "MKL_*", "NCCL_*", "NPROC", "NPY_*", "NVIDIA_*", "NVPL_*", "OMP_*", "ONEDNN_*", "OPENBLAS_*",
    "PYTHONHASHSEED", "PYTHONOPTIMIZE", "PYTORCH_*", "TF2_*", "TF_*", "TORCH_*", "VECLIB_*",
    "XLA_*",
)  # fmt: skip
"""Environment variables that may decide what is computed, or how fast. Those that are set are part
of a record's key, whoever set them."""

INDIFFERENT = (
    "CUDA_VISIBLE_DEVICES",  # a place: which GPU is seen there is asked of the framework
    "CUBLAS_WORKSPACE_CONFIG", "TF_CUDNN_DETERMINISTIC", "TF_DETERMINISTIC_OPS",  # stacks set them
    "KERAS_HOME",  # a place: what is set there is asked of Keras
    "TF_CPP_*",  # what is logged
    "TF_CLI_*", "TF_LOG*", "TF_TOKEN_*", "TF_VAR_*",  # Terraform's; some are secret
)  # fmt: skip
"""Those among them that decide nothing."""


def decisive_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Pick the variables that may decide a number."""
    return {
        name: value
        for name, value in sorted(variables.items())
        if _among(name, DECISIVE) and not _among(name, INDIFFERENT)
    }


def _among(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def libraries_here() -> Path:
    """Locate the folder of the libraries of the running Python."""
    return Path(sysconfig.get_paths()["purelib"])


def check_environment(release: str, tier: str, lock: Path) -> None:
    """Refuse to measure in an environment that is not what its labels say.

    Args:
        release: The row of the release table whose name the records are to bear.
        tier: A key of `suite.tables.TIERS`.
        lock: Lock file that the environment was installed from.

    Raises:
        SuiteError: If release, lock, Python or versions do not belong together, or a library is
            not as it was published, or would be imported from elsewhere.
    """
    check_labels(release, tier, lock)
    folder = libraries_here()
    check_versions(folder, lock)
    check_files(folder)
    check_origins(folder)


def check_labels(release: str, tier: str, lock: Path) -> None:
    """Refuse a release, a lock and a Python that do not belong together.

    Raises:
        SuiteError: If they do not, or the release is no row of the release table.
    """
    size, of_gpu = TIERS[tier], lock.stem.endswith("-gpu")
    name = "gpu-releases" if (of_gpu if size.rehearsal else size.gpu) else "releases"
    rows = {row.name: row for row in read_releases(PROJECT / "pyproject.toml", table=name)}
    if release not in rows:
        raise SuiteError(
            f"--release {release} is no row of {name} in the release table, which has "
            f"{', '.join(rows)}."
        )
    row, python = rows[release], "{}.{}".format(*sys.version_info)
    if lock.name != f"{row.lock}.txt":
        raise SuiteError(
            f"--lock {lock} is not the lock of {release} in the {tier} tier, expected "
            f"{row.lock}.txt. Run that release's session: `nox -l` lists them."
        )
    if python != row.python and tier != DEMONSTRATION:
        raise SuiteError(
            f"this is Python {python}, expected {row.python}, which {release} is measured with. "
            f'Run `nox -s "benchmarks({release})"`, which takes it.'
        )


def check_origins(folder: Path) -> None:
    """Refuse modules that Python takes, or would take, from outside of its environment.

    Raises:
        SuiteError: If a library, a module that is loaded or one that Python starts with lies
            elsewhere than in `folder`, in Python's own library or in the suite.
    """
    paths = sysconfig.get_paths()
    own = [Path(paths["stdlib"]), Path(paths["platstdlib"]), *(PROJECT / name for name in OWN)]
    names = {*_importable(folder), *STARTED, *(name for name in [*sys.modules] if _plain(name))}
    strangers = [
        f"{name} from {place}"
        for name in sorted(names)
        for place in _places(name)
        if not _below(place, [folder]) and not _below(place, own, but="site-packages")
    ]
    if strangers:
        raise SuiteError(
            f"Python imports {'; '.join(strangers[:3])}. Expected: all libraries from {folder}. "
            "Unset PYTHONPATH, take no plugins from elsewhere, or move the file away."
        )


def _importable(folder: Path) -> set[str]:
    """Name the modules that the packages of a folder bring."""
    names = {path.partition("/")[0].partition(".")[0] for path in recorded(folder)}
    return {name for name in names if name.isidentifier()}


def _plain(name: str) -> bool:
    """True for a module at the top that is not the program itself, nor made while it runs."""
    return "." not in name and not name.startswith("__")


def _places(name: str) -> Iterator[Path]:
    """Find out where a module was imported from, or would be; nowhere for one that is built in."""
    module = sys.modules.get(name)
    if module is not None:
        found = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    else:
        spec = importlib.util.find_spec(name)
        found = [spec.origin if spec.has_location else None] if spec else []
        found += list(spec.submodule_search_locations or ()) if spec else []
    places = (Path(place) for place in found if isinstance(place, str))
    return (place for place in places if place.is_absolute())


def _below(place: Path, folders: Iterable[Path], *, but: str = "") -> bool:
    """True where a place lies in one of the folders, and not in one named `but` inside it."""
    for folder in folders:
        for one, other in ((place, folder), (place.resolve(), folder.resolve())):
            if one == other or (other in one.parents and but not in one.relative_to(other).parts):
                return True
    return False


def describe(stack: Stack, lock: Path, *, variables: Mapping[str, str]) -> dict[str, Any]:
    """Describe all that decides a number beside the case and its data: it goes into the key.

    Args:
        stack: The framework under measurement.
        lock: Lock file that the environment was installed from.
        variables: Environment variables as they were before the framework was loaded.

    Raises:
        SuiteError: If the lock or a source cannot be read.
    """
    return {
        "stack": stack.__name__.rpartition(".")[2],
        "variables": decisive_variables(variables),
        "keras": settings(stack),
        "threads": stack.threads(),
        "instructions": machine.instructions(),
        "versions": stack.versions(),
        "lock_digest": file_digest(lock),
        "code_digest": measuring_digest(),
        "library_digest": library_digest(libraries_here()),
        "started_with": started_with(),
        "machine": machine.describe(stack.gpus()),
    }


def started_with() -> dict[str, str]:
    """Compute the digests of what Python runs at its start; some systems bring such a module."""
    return {name: file_digest(place) for name in STARTED for place in _places(name)}
