"""Runs a workflow's job here: scripts as they are written, the actions of others as stand-ins."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ruamel.yaml import YAML

from tests.workflow.expressions import evaluate, filled, written

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "upgrade.yml"
ACTION = "action.yml"
KEPT = ("PATH", "LANG", "LC_*", "PIP_*", "UV_*", "SSL_*", "*_proxy", "*_PROXY", "GTSRB_ROOT")
"""The variables of this machine that a script sees: where packages and data come from."""

SHELLS = {None: ["bash", "-e"], "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"]}
KEY_CHARACTERS = 512  # of a cache


def read(path: Path) -> dict[str, Any]:
    """Read a workflow or an action."""
    content: dict[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return content


class StepError(Exception):
    """A step ended with another status than 0."""


@dataclass
class Runner:
    """One runner of GitHub, below a folder.

    Attributes:
        folder: Everything lies below it: home, workspace, summary, artefacts.
        github: The context `github`.
        inputs: The context `inputs`.
        variables: Further environment variables of every script.
        source: What is checked out: an address, or a folder; this repository unless given.
        log: The names of the steps that ran, and the actions of others that were stood in for.
        keys: The caches that were looked for.
    """

    folder: Path
    github: dict[str, Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    log: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the folders; the home is empty."""
        for name in ("home", "temp", "workspace", "artefacts"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def workspace(self) -> Path:
        """Where the repository is checked out."""
        return self.folder / "workspace"

    @property
    def summary(self) -> Path:
        """What the steps wrote into the job's summary."""
        return self.folder / "summary.md"

    def job(self, name: str, **contexts: Any) -> dict[str, str]:
        """Run one job of the workflow; give its outputs.

        Raises:
            StepError: If a step fails; those after it do not run.
        """
        job = read(WORKFLOW)["jobs"][name]
        all_ = {**self._contexts(), "inputs": self.inputs, **contexts}
        if not evaluate(_bare(_text(job.get("if", True))), all_):
            self.log.append(f"skipped job {name}")
            return {}
        steps = self._steps(job["steps"], all_)
        outputs = job.get("outputs", {})
        return {key: filled(text, {**all_, "steps": steps}) for key, text in outputs.items()}

    def action(self, place: Path, given: Mapping[str, Any]) -> dict[str, str]:
        """Run the composite action that lies at `place`; give its outputs."""
        action = read(place / ACTION)
        known = action["inputs"]
        if not set(given) <= set(known):
            raise ValueError(f"inputs must be of {set(known)}. Received: {set(given)}")
        inputs = {name: given.get(name, row.get("default", "")) for name, row in known.items()}
        contexts = self._contexts()
        contexts["inputs"] = {key: "" if value is None else value for key, value in inputs.items()}
        contexts["github"] = {**contexts["github"], "action_path": str(place)}
        steps = self._steps(action["runs"]["steps"], contexts)
        values = {name: row["value"] for name, row in action["outputs"].items()}
        return {name: filled(text, {**contexts, "steps": steps}) for name, text in values.items()}

    @property
    def seen(self) -> dict[str, str]:
        """The variables of this machine that every script sees."""
        environment = {**os.environ, **self.variables}
        return {
            name: value
            for name, value in environment.items()
            if name in self.variables or any(fnmatchcase(name, pattern) for pattern in KEPT)
        }

    def _contexts(self) -> dict[str, Any]:
        """Make the contexts that every step sees."""
        runner = {"os": "Linux", "arch": "X64", "temp": str(self.folder / "temp")}
        return {"github": self.github, "runner": runner}

    def _steps(self, steps: list[dict[str, Any]], contexts: dict[str, Any]) -> dict[str, Any]:
        """Run steps one after the other; give their outputs by id."""
        done: dict[str, Any] = {}
        for step in steps:
            own = {**contexts, "steps": done}
            title = step.get("name") or step.get("uses")
            outputs: dict[str, str] = {}
            if evaluate(_bare(_text(step.get("if", True))), own):
                self.log.append(title)
                outputs = self._uses(step, own) if "uses" in step else self._script(step, own)
            if "id" in step:
                done[step["id"]] = {"outputs": outputs}
        return done

    def _script(self, step: dict[str, Any], contexts: dict[str, Any]) -> dict[str, str]:
        """Run a step's script as it is written; give its outputs."""
        if "${{" in step["run"]:
            raise ValueError(f"run must hold no expression: it would be injected. {step['name']}")
        own = {name: written(filled(_text(v), contexts)) for name, v in step.get("env", {}).items()}
        output = self.folder / "temp" / "output"
        output.write_text("")
        files = {"GITHUB_OUTPUT": output, "GITHUB_STEP_SUMMARY": self.summary}
        place = written(filled(step.get("working-directory", str(self.workspace)), contexts))
        script = self.folder / "temp" / "script.sh"
        script.write_text(step["run"])
        environment = {
            **self.seen,
            "CI": "true",
            "HOME": str(self.folder / "home"),
            "RUNNER_TEMP": str(self.folder / "temp"),
            "GITHUB_REPOSITORY": self.github["repository"],
            **{name: str(path) for name, path in files.items()},
            **own,
        }
        command = [*SHELLS[step.get("shell")], str(script)]
        done = subprocess.run(command, cwd=place, env=environment, check=False)
        if done.returncode:
            raise StepError(f"{step['name']}: {done.returncode}")
        return dict(line.split("=", 1) for line in output.read_text().splitlines())

    def _uses(self, step: dict[str, Any], contexts: dict[str, Any]) -> dict[str, str]:
        """Run this repository's action, or stand in for another's."""
        given = {key: filled(_text(v), contexts) for key, v in step.get("with", {}).items()}
        if step["uses"] == "./":
            return self.action(self.workspace, given)
        name, at, commit = step["uses"].partition("@")
        if not (at and re.fullmatch(r"[0-9a-f]{40}", commit)):
            raise ValueError(f"uses must name a whole commit. Received: {step['uses']}")
        stand_in: Callable[[dict[str, Any]], dict[str, str]] = getattr(self, STAND_INS[name])
        return stand_in(given)

    def check_out(self, given: dict[str, Any]) -> dict[str, str]:
        """Clone what `source` names, with no credentials; a folder is copied, which is fast."""
        assert given["persist-credentials"] == "false"
        if not (self.workspace / ".git").exists():
            if self.source.startswith("file:"):
                clone(self.source, self.workspace, depth=given.get("fetch-depth", "1"))
            elif self.source:
                shutil.copytree(self.source, self.workspace, dirs_exist_ok=True)
            else:
                copied(self.workspace)
        return {}

    def set_up(self, _: dict[str, Any]) -> dict[str, str]:
        """Look for what the action would install."""
        assert shutil.which("uv", path=self.seen["PATH"])
        return {}

    def restore(self, given: dict[str, Any]) -> dict[str, str]:
        """Find nothing: a cache is empty at first."""
        _check_key(given["key"])
        self.keys.append(given["key"])
        return {"cache-hit": ""}

    def save(self, given: dict[str, Any]) -> dict[str, str]:
        """Keep nothing; note where there is nothing to keep, of which GitHub warns."""
        _check_key(given["key"])
        paths = [Path(self._there(path)) for path in given["path"].split()]
        if not any([*path.parent.glob(path.name)] for path in paths):
            self.log.append(f"nothing to save: {given['path']}")
        return {}

    def upload(self, given: dict[str, Any]) -> dict[str, str]:
        """Keep the files as an artefact, below the folder that they share."""
        assert not re.search(r'[":<>|*?\r\n\\/]', given["name"])
        paths = [Path(self._there(path)) for path in given["path"].split()]
        there = [path for path in paths if path.exists()]
        assert there
        for path in there:
            place = self.folder / "artefacts" / given["name"] / path.name
            shutil.copytree(path, place, dirs_exist_ok=True)
        return {}

    def download(self, given: dict[str, Any]) -> dict[str, str]:
        """Bring the artefacts of a name's pattern into the workspace, a folder each."""
        for place in sorted((self.folder / "artefacts").glob(given["pattern"])):
            shutil.copytree(place, self.workspace / given["path"] / place.name, dirs_exist_ok=True)
        return {}

    def show_tests(self, given: dict[str, Any]) -> dict[str, str]:
        """Read the tests, as what shows them does."""
        found = self.workspace.glob(given["report_paths"])
        roots = [ElementTree.parse(path).getroot() for path in found]  # noqa: S314 - our own
        assert {root.tag for root in roots} == {"testsuites"}
        return {}

    def _there(self, path: str) -> str:
        """Resolve ``~`` as on the runner."""
        return path.replace("~", str(self.folder / "home"), 1) if path.startswith("~") else path


def clone(source: str, place: Path, *, depth: str = "1") -> None:
    """Clone a repository, as shallow as GitHub does."""
    git(ROOT, "clone", "--quiet", "--depth", depth, source, str(place))


def copied(place: Path) -> None:
    """Clone this repository, and commit in the clone what is changed here and not committed."""
    clone(f"file://{ROOT}", place)
    changed = git(ROOT, "diff", "--name-only", "--diff-filter=AM", "HEAD").splitlines()
    new = git(ROOT, "ls-files", "--others", "--exclude-standard").splitlines()
    for name in (*changed, *new):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name, follow_symlinks=False)  # such as venv/lib64
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--allow-empty", "--message", "not committed yet")


def git(place: Path, *arguments: str) -> str:
    """Run git in a folder; give what it prints."""
    command = ["git", "-C", str(place), "-c", "user.name=n", "-c", "user.email=e", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


STAND_INS = {
    "actions/cache/restore": "restore",
    "actions/cache/save": "save",
    "actions/checkout": "check_out",
    "actions/download-artifact": "download",
    "actions/upload-artifact": "upload",
    "astral-sh/setup-uv": "set_up",
    "mikepenz/action-junit-report": "show_tests",
}


def _bare(text: str) -> str:
    """Take an expression out of its braces, where it has any: `if` may go without."""
    found = re.fullmatch(r"\s*\$\{\{(.*)\}\}\s*", text, re.DOTALL)
    return found[1] if found else text


def _text(value: Any) -> str:
    """Give YAML's value as the text that it was."""
    return value if isinstance(value, str) else written(value)


def _check_key(key: str) -> None:
    """Refuse a key that a cache would refuse, or that misses a part."""
    assert "," not in key
    assert len(key) <= KEY_CHARACTERS
    assert "--" not in key, key
