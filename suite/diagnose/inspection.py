"""What a Keras file would run: read from its configuration, before Keras makes anything of it.

Keras' own safe mode is not enough: Keras 2 runs a Lambda layer of an .h5 file, and both Kerases
have let a file name functions of any module. So a file may name what Keras itself computes with,
and nothing that takes code, a path or a function by name. Whoever trusts more writes a builder.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from suite.errors import SuiteError

BUILDER = (
    "give a function instead, PACKAGE.MODULE:FUNCTION, that takes nothing and returns the network"
)
METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
MEMBERS = (METADATA, CONFIG, WEIGHTS)
SLACK_BYTES = 64 << 20  # that any file may unpack to
LINKS = 100_000  # of groups and arrays; the largest network of keras.applications has 5,000
SWELLING = 16  # times its own size: Keras packs nothing, and weights hardly shrink

RUNNERS = frozenset(
    {
        "ClassMethod", "FlaxLayer", "InstanceMethod", "InstanceProperty", "IntegerLookup",
        "JaxLayer", "Lambda", "StringLookup", "TFSMLayer", "TensorFlowOpLayer",
        "TextVectorization", "TorchModuleWrapper", "__lambda__", "__typespec__",
    }
)  # fmt: skip
"""Classes that run code, import, or read a file that the configuration holds or names."""

VALUES = frozenset(
    {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__",
     "__tuple__"}
)  # fmt: skip
"""Marks of a plain value, which Keras writes where JSON has none."""

CLASS = re.compile(r"[A-Z]\w*")  # by any other name Keras might find a function, and call it
WORD = re.compile(r"\w+")
ROOTS = re.compile(r"(keras|tf_keras)((\.(src|api|_tf_keras\.keras|engine|legacy))*)")
NEIGHBOURS = re.compile(
    r"(keras|tf_keras)(\.src)?\.applications\.(convnext|inception_resnet_v2)"  # have own layers
    r"|tensorflow\.python\.ops\.init_ops(_v2)?"  # Keras 2 keeps initializers of TensorFlow
    r"|keras\.src\.backend\.torch\.optimizers\.torch_\w+"  # what a file of Keras on torch names
)
COMPUTING = frozenset(
    {
        "activations", "base_layer", "constraints", "dtype_policies", "functional",
        "initializers", "input_layer", "layers", "losses", "metrics", "mixed_precision", "models",
        "ops", "optimizers", "regularizers", "sequential", "training",
    }
)  # fmt: skip
"""Modules of Keras whose classes compute with what they are given, and do nothing else."""

FUNCTIONS = frozenset(
    {"activations", "constraints", "initializers", "losses", "metrics", "ops", "regularizers"}
)
"""Those of them that have functions for layers."""

SYMBOL = re.compile(
    r"__operators__\.\w+"
    r"|(compat\.v1\.)?(math|nn|linalg|image|bitwise|signal)\.[\w.]+"
    r"|(compat\.v1\.)?random\.(normal|uniform|truncated_normal|gamma|poisson|shuffle|stateless_\w+)"
    r"|keras\.(activations|losses|metrics)\.\w+"
    r"|keras\.backend\.(?!clear_|function|get_|manual|print|reset|set_)\w+"
    r"|(compat\.v1\.)?(abs|acos|acosh|add|add_n|argmax|argmin|argsort|asin|asinh|atan|atan2|atanh"
    r"|batch_to_space|boolean_mask|broadcast_to|cast|clip_by_\w+|complex|concat|convert_to_tensor"
    r"|cos|cosh|cumsum|divide|eig|einsum|equal|exp|expand_dims|eye|fill|floor|gather|gather_nd"
    r"|greater|greater_equal|identity|less|less_equal|linspace|logical_\w+|matmul|maximum|meshgrid"
    r"|minimum|multiply|negative|norm|not_equal|one_hot|ones|ones_like|pad|pow|range|rank"
    r"|realdiv|reduce_\w+|repeat|reshape|reverse|roll|round|saturate_cast|scalar_mul|shape|sigmoid"
    r"|sign|sin|sinh|size|slice|sort|space_to_batch|split|sqrt|square|squared_difference|squeeze"
    r"|stack|stop_gradient|strided_slice|subtract|tan|tanh|tensordot|tile|to_float|transpose"
    r"|truediv|unstack|where|zeros|zeros_like)"
)
"""TensorFlow's functions that compute: Keras 2 has a layer that calls any function by its name."""

CALLERS = frozenset({"TFOpLambda", "SlicingOpLambda"})
"""The layers of Keras 2 that do so."""


def inspect_file(path: Path) -> str:
    """Look into a Keras file without making anything of it, and refuse what would run.

    Returns:
        What of its training (optimizer, loss, metrics) must not be made; empty if all may.

    Raises:
        SuiteError: If its network names anything but what Keras computes with, or its weights lie
            elsewhere or swell.
        OSError, ValueError, LookupError, RuntimeError, zipfile.BadZipFile: If it cannot be read.
    """
    config, training = _configurations(path)
    for fault in faults(config):
        raise SuiteError(
            f"{path} is not loaded. Found: {fault}. If you trust it, {BUILDER}: there load_model "
            "may have custom_objects, or safe_mode=False."
        )
    return next(faults(training), "")


def loss_in(path: Path) -> Any:
    """Read the configuration of the loss that a file was saved with, of which nothing is made.

    Returns:
        A name or a dictionary, or several of them as the model has outputs; None without any.

    Raises:
        SuiteError: As `inspect_file`.
        OSError, ValueError, LookupError, RuntimeError, zipfile.BadZipFile: If it cannot be read.
    """
    training = _configurations(path)[1]
    return training.get("loss") if isinstance(training, dict) else None


def _configurations(path: Path) -> tuple[Any, Any]:
    """Read the network's and the training's configuration of a file."""
    packed = path.suffix == ".keras" and zipfile.is_zipfile(str(path))
    return _of_archive(path) if packed else _of_hdf5(path)


def written_by(path: Path) -> int:
    """Read which generation of Keras has written a file, 2 or 3; 0 where it does not say.

    Raises:
        OSError, ValueError, LookupError, RuntimeError, zipfile.BadZipFile: If it cannot be read.
    """
    if zipfile.is_zipfile(str(path)):
        with zipfile.ZipFile(str(path)) as archive:
            version = json.loads(archive.read(METADATA)).get("keras_version")
    else:
        with importlib.import_module("h5py").File(str(path), "r") as opened:
            version = opened.attrs.get("keras_version")
    text = version.decode() if isinstance(version, bytes) else str(version)
    return int(text[0]) if text[:2] in ("2.", "3.") else 0


def faults(config: Any) -> Iterator[str]:
    """Say of everything in a configuration that is not Keras' own computing what it is."""
    waiting = [(config, "the network")]
    while waiting:
        value, owner = waiting.pop()
        if isinstance(value, dict):
            owner = _name(value) or owner
            fault = _fault(value)
            if fault:
                yield f"{owner}: {fault}"
            waiting += [(item, owner) for item in reversed(list(value.values()))]
        elif isinstance(value, list):
            waiting += [(item, owner) for item in reversed(value)]


def _name(value: Mapping[str, Any]) -> str:
    """Name the layer that a configuration describes; empty if it describes none."""
    config = value.get("config")
    name = config.get("name") if "class_name" in value and isinstance(config, dict) else None
    return f"layer {name!r}" if name else ""


def _fault(value: Mapping[str, Any]) -> str:
    """Say what is wrong with one object of a configuration; empty if nothing is."""
    kind = value.get("class_name")
    if kind is None:
        coded = "lambda" in (value.get("function_type"), value.get("output_shape_type"))
        return "a Lambda function, which runs code out of the file" if coded else ""
    if kind == "function":
        return _function_fault(value)
    return "" if str(kind) in VALUES else _class_fault(kind, value)


def _class_fault(kind: Any, value: Mapping[str, Any]) -> str:
    """Say what is wrong with a class that a configuration names; empty if nothing is."""
    names = [str(name).rpartition(">")[2] for name in (kind, value.get("registered_name")) if name]
    running = sorted(RUNNERS.intersection(names))
    if running:
        return f"a {running[0]} layer, which runs code or reads what the file holds or names"
    if CALLERS.intersection(names):
        return _symbol_fault(value)
    module = value.get("module")
    known = _at_home(module, COMPUTING) or bool(NEIGHBOURS.fullmatch(str(module)))
    return "" if known and all(map(CLASS.fullmatch, names)) else _own("class", kind, value)


def _function_fault(value: Mapping[str, Any]) -> str:
    """Say what is wrong with a function that a configuration names; empty if nothing is."""
    names = [str(name) for name in (value.get("config"), value.get("registered_name")) if name]
    builtin = value.get("module") in (None, "builtins")
    if all(map(WORD.fullmatch, names)) and (builtin or _at_home(value["module"], FUNCTIONS)):
        return ""
    return _own("function", value.get("config"), value)


def _symbol_fault(value: Mapping[str, Any]) -> str:
    """Say what is wrong with a layer that calls one of TensorFlow's functions."""
    config = value.get("config")
    symbol = config.get("function") if isinstance(config, dict) else None
    if isinstance(symbol, str) and SYMBOL.fullmatch(symbol):
        return ""
    return f"a call of {symbol!r}, which is not among the functions known to compute alone"


def _own(what: str, name: Any, value: Mapping[str, Any]) -> str:
    """Say that a class or function is none of Keras'."""
    module = f" of {value['module']}" if value.get("module") else ""
    return f"{name!r}{module}, a {what} of your own or unknown here, which a file only names"


def _at_home(module: Any, homes: frozenset[str]) -> bool:
    """True where a module is none at all or one of Keras' `homes`."""
    if module is None or module in ("keras", "tf_keras"):
        return True
    root = ROOTS.match(module) if isinstance(module, str) else None
    parts = module[root.end() :].split(".") if root else []
    return len(parts) > 1 and not parts[0] and parts[1] in homes and all(parts[1:])


def _of_archive(path: Path) -> tuple[Any, Any]:
    """Read the network's and the training's configuration of a .keras file.

    Raises:
        SuiteError: If it holds other files, its weights lie elsewhere, or it swells.
        OSError, ValueError, LookupError, RuntimeError, zipfile.BadZipFile: If it cannot be read.
    """
    allowed = _allowed(path)
    with zipfile.ZipFile(str(path)) as archive:
        names, size = archive.namelist(), sum(part.file_size for part in archive.infolist())
        strange = [name for name in names if name not in MEMBERS or names.count(name) > 1]
        if strange or size > allowed:
            found = f"the file {strange[0]!r}" if strange else f"{size:,} bytes when unpacked"
            raise SuiteError(
                f"{path} is not loaded. Found: {found}. Expected: {', '.join(MEMBERS)}, each once, "
                f"of {allowed:,} bytes at most. Save the network anew, or {BUILDER}."
            )
        config = json.loads(archive.read(CONFIG))
        if WEIGHTS in names:
            with archive.open(WEIGHTS) as packed, tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(packed, copy)
                _check_weights(path, copy, allowed)
    training = config.pop("compile_config", None) if isinstance(config, dict) else None
    return config, training


def _of_hdf5(path: Path) -> tuple[Any, Any]:
    """Read the network's and the training's configuration of a .h5 file.

    Raises:
        SuiteError: If its weights lie elsewhere, or swell.
        OSError, ValueError, LookupError, RuntimeError: If it cannot be read.
    """
    h5py = importlib.import_module("h5py")
    with path.open("rb") as file:
        _check_weights(path, file, _allowed(path))
    with h5py.File(str(path), "r") as opened:
        found = [opened.attrs.get(name) for name in ("model_config", "training_config")]
    if found[0] is None:
        raise ValueError("no configuration of a network")
    config, training = (None if text is None else json.loads(text) for text in found)
    return config, training


def _allowed(path: Path) -> int:
    """Count the bytes that a file may unpack to."""
    return SLACK_BYTES + SWELLING * path.stat().st_size


def _check_weights(path: Path, file: IO[bytes], allowed: int) -> None:
    """Refuse weights that lie in other files, or take more than `allowed` bytes.

    Raises:
        SuiteError: If they do.
        OSError, ValueError, RuntimeError: If they cannot be read.
    """
    h5py = importlib.import_module("h5py")
    size = 0
    with h5py.File(file, "r") as opened:
        for count, (fault, part) in enumerate(_parts(h5py, opened), start=1):
            size += part
            if fault or size > allowed or count > LINKS:
                found = fault or f"{size:,} bytes of weights in {count:,} places or more"
                raise SuiteError(
                    f"{path} is not loaded. Found: {found}. "
                    f"Expected: weights in the file itself, of {allowed:,} bytes and {LINKS:,} "
                    f"names at most. Save the network anew, or {BUILDER}."
                )


def _parts(h5py: Any, opened: Any) -> Iterator[tuple[str, int]]:
    """Yield of every link in a HDF5 file what is wrong with its place, and its array's bytes."""
    waiting, seen = [opened], set()
    while waiting:
        group = waiting.pop()
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                yield f"weights {name!r} in another file", 0
            yield "", 0
            item = group.get(name)
            place = None if item is None else h5py.h5o.get_info(item.id).addr
            if place in seen:
                continue
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                away = item.external or item.is_virtual
                fault = f"weights {name!r} in another file" if away else ""
                yield fault, (item.size or 0) * item.dtype.itemsize
            seen.add(place)
