"""Tests of suite.measure.weights: a model starts from what its case names, or says why not."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from suite.cases import Case
from suite.data import Dataset, Split
from suite.errors import DataError, WeightsError
from suite.files import file_digest
from suite.measure import weights
from suite.networks.architectures import ARCHITECTURES
from suite.networks.head import HEAD_LAYERS
from suite.networks.types import Model
from suite.stacks.protocol import Stack
from tests.arrays import assert_same

ENVIRONMENT: dict[str, Any] = {
    "versions": {"numpy": "1"},
    "code_digest": "sha256:1",
    "lock_digest": "sha256:2",
    "machine": {"fingerprint": "a"},
}
RESNET = Case(
    "resnet50", width=0.0625, blocks=(1, 1, 1, 1), size_px=32, batch_size=8, weights="surrogate",
    pretraining_steps=1,
)  # fmt: skip
BASE = [np.ones((2, 3), np.float32), np.zeros(4, np.float32)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(weights, "cache_root", lambda: tmp_path)
    return tmp_path


def start(stack: Stack, case: Case, *, seed: int = 0, file: Path | None = None) -> Model:
    return weights.initial_model(stack, case, seed=seed, environment=ENVIRONMENT, file=file)


def test_saved_weights_come_back_in_their_order(tmp_path: Path) -> None:
    many = [np.full((index + 1,), index, np.float32) for index in range(12)]
    path = weights.save_weights(tmp_path / "new", "net", many)
    assert_same(weights.load_weights(path), many)
    assert path == weights.stored_weights(tmp_path / "new", "net")
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.stem == f"net-{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_weights_are_found_by_their_whole_name(tmp_path: Path) -> None:
    assert weights.stored_weights(tmp_path / "none", "net") is None
    weights.save_weights(tmp_path, "net-2", BASE)
    (tmp_path / "net.lock").touch()
    assert weights.stored_weights(tmp_path, "net") is None


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for many in (BASE, BASE[:1]):
        weights.save_weights(tmp_path, "net", many)
    with pytest.raises(WeightsError, match=rf"has 2 files net-\*.npz.*`rm {tmp_path}/net-\*.npz`"):
        weights.stored_weights(tmp_path, "net")


def sevens(path: Path) -> None:
    with np.load(path) as arrays:
        many = [np.full_like(arrays[name], 7) for name in arrays.files]
    with path.open("wb") as file:
        np.savez(file, *many)


@pytest.mark.parametrize(
    "change",
    [
        sevens,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a zip at all"),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"arr_0", b"arr_9")),
    ],
)
def test_a_file_that_was_changed_is_named_with_the_command_that_mends_it(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    path = weights.save_weights(tmp_path, "net", [np.arange(5000, dtype=np.float32)])
    change(path)
    with pytest.raises(WeightsError, match=rf"{path} was changed since it was made: .*rm {path}"):
        weights.load_weights(path)


@pytest.fixture
def name_of(
    stack: Stack, cache: Path, noise: Dataset, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Give a function that tells the name of the file a surrogate is kept in."""
    monkeypatch.setattr(weights, "pretrain", lambda *_, **__: BASE)

    def name(case: Case, *, seed: int = 0, signs: str = "sha256:0", **environment: Any) -> str:
        monkeypatch.setattr(weights, "load_synthetic", lambda **_: noise._replace(digest=signs))
        before = set(cache.rglob("*.npz"))
        weights.surrogate(stack, case, seed=seed, environment={**ENVIRONMENT, **environment})
        [made] = set(cache.rglob("*.npz")) - before
        return made.stem.rpartition("-")[0]

    return name


def test_the_key_of_a_surrogate_changes_with_each_ingredient(name_of: Callable[..., str]) -> None:
    made = [
        name_of(RESNET),
        name_of(RESNET, seed=1),
        name_of(RESNET, signs="sha256:1"),
        name_of(RESNET, versions={"numpy": "2"}),
        name_of(RESNET, code_digest="sha256:2"),
        name_of(RESNET, lock_digest="sha256:3"),
        name_of(RESNET, machine={"fingerprint": "b"}),
        name_of(RESNET, library_digest="sha256:4"),
        name_of(RESNET, variables={"OMP_NUM_THREADS": "1"}),
        name_of(RESNET, stack="torch"),
        name_of(RESNET, keras={"floatx": "float64"}),
        *(
            name_of(replace(RESNET, **change))
            for change in (
                {"width": 0.125},
                {"blocks": (1, 2, 1, 1)},
                {"size_px": 64},
                {"pretraining_steps": 2},
                {"batch_size": 16},
                {"architecture": "vgg19"},
            )
        ),
    ]
    assert len(set(made)) == 17


def test_what_comes_after_the_pretraining_shares_its_surrogate(
    stack: Stack, name_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name_of(RESNET)
    monkeypatch.delattr(weights, "pretrain")
    for change in ({"loss": "literal"}, {"fix": "imagenet-inputs"}, {"learning_rate": 0.5}):
        case = replace(RESNET, **change)
        other_data = {**ENVIRONMENT, "data_digest": "sha256:9"}
        found = weights.surrogate(stack, case, seed=0, environment=other_data)
        assert_same(found, BASE)


def test_the_digest_of_a_surrogate_is_told_of_a_case_that_started_from_it(
    name_of: Callable[..., str], cache: Path
) -> None:
    def told(case: Case, seed: int = 0) -> dict[str, str]:
        return weights.surrogate_digest(case, seed=seed, environment=ENVIRONMENT)

    assert told(RESNET) == {}
    name_of(RESNET)
    [path] = cache.rglob("*.npz")
    assert told(RESNET) == {"surrogate_digest": file_digest(path)}
    assert told(RESNET, seed=1) == {}
    assert told(replace(RESNET, weights="random", pretraining_steps=0)) == {}


def test_a_surrogate_that_is_there_needs_no_writable_cache(
    stack: Stack, name_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    name_of(RESNET)
    monkeypatch.setattr(weights, "FileLock", refuse)
    assert_same(weights.surrogate(stack, RESNET, seed=0, environment=ENVIRONMENT), BASE)
    with pytest.raises(DataError, match=r"surrogates: cannot be written .*SUITE_CACHE"):
        weights.surrogate(stack, RESNET, seed=1, environment=ENVIRONMENT)


def test_runs_at_once_start_from_one_surrogate(
    stack: Stack, cache: Path, noise: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    running = threading.Event()

    def pretrain(*_: Any, **__: Any) -> weights.Weights:
        made.append(len(made))
        running.wait(timeout=1)  # the other run is here by now, if nothing holds it
        return [np.full(3, len(made), np.float32)]

    def start_from() -> None:
        found.append(weights.surrogate(stack, RESNET, seed=0, environment=ENVIRONMENT))

    found: list[weights.Weights] = []
    monkeypatch.setattr(weights, "pretrain", pretrain)
    monkeypatch.setattr(weights, "load_synthetic", lambda **_: noise)
    threads = [threading.Thread(target=start_from) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert made == [0]
    assert_same(*found)
    assert len(list(cache.rglob("*.npz"))) == 1


def test_a_surrogate_is_pretrained_once_and_gives_the_base_alone(
    stack: Stack, cache: Path, noise: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def signs(*, size_px: int, seed: int) -> Dataset:
        loaded.append((size_px, seed))
        return noise

    def pretrain(
        stack: Stack, case: Case, images: Split, *, seed: int, **_: Any
    ) -> weights.Weights:
        pretrained.append(case)
        return real(stack, case, images, seed=seed)

    real = weights.pretrain
    pretrained: list[Case] = []
    monkeypatch.setattr(weights, "load_synthetic", signs)
    monkeypatch.setattr(weights, "pretrain", pretrain)
    first, again = start(stack, RESNET), start(stack, RESNET)
    untrained = start(stack, replace(RESNET, weights="random", pretraining_steps=0))
    assert set(loaded) == {(32, 0)}
    assert pretrained == [RESNET]
    assert_same(first.get_weights(), again.get_weights())
    for name in HEAD_LAYERS:
        assert_same(first.get_layer(name).get_weights(), untrained.get_layer(name).get_weights())
    bases = weights.base_weights(first), weights.base_weights(untrained)
    assert all((old != new).any() for old, new in zip(*bases, strict=True) if old.ndim > 1)
    means = np.asarray(first.get_layer("conv1_bn").moving_mean)
    assert np.abs(means).max() > 0.5  # of inputs within about 128 of 0, after one step
    assert float(first.get_layer("conv1_bn").momentum) == pytest.approx(0.99)
    assert len(list(cache.rglob("*.npz"))) == 1


def test_base_weights_of_other_shapes_are_refused(stack: Stack) -> None:
    model = weights.build(stack, RESNET)
    before = model.get_weights()
    with pytest.raises(WeightsError, match="of other shapes"):
        weights.set_base_weights(model, BASE)
    assert_same(model.get_weights(), before)


def test_base_weights_go_where_they_came_from(stack: Stack) -> None:
    model = weights.build(stack, RESNET)
    shifted = [array + index + 1 for index, array in enumerate(weights.base_weights(model))]
    head = [model.get_layer(name).get_weights() for name in HEAD_LAYERS]
    weights.set_base_weights(model, shifted)
    assert_same(weights.base_weights(model), shifted)
    for name, before in zip(HEAD_LAYERS, head, strict=True):
        assert_same(model.get_layer(name).get_weights(), before)


def test_random_weights_follow_the_seed(stack: Stack) -> None:
    case = Case("lenet5", size_px=32)
    first, again, other = (start(stack, case, seed=seed).get_weights() for seed in (0, 0, 1))
    assert_same(first, again)
    assert (first[0] != other[0]).any()


def test_the_pretraining_trains_every_layer_the_frozen_ones_too(stack: Stack) -> None:
    model = weights.build(stack, Case("vgg19", width=0.0625, size_px=32))
    frozen = len(model.non_trainable_weights)
    assert frozen == 2 * 5  # as published: up to the first convolution of block 3
    weights.let_all_train(model)
    assert model.non_trainable_weights == []


def test_standardised_convolutions_have_mean_0_and_variance_1_over_the_images(
    stack: Stack, noise: Dataset
) -> None:
    stack.seed(0)
    model = weights.build(stack, Case("vgg19", width=0.0625, size_px=32))
    images = noise.train.images[:32].astype(np.float32) / 255
    head = model.get_layer(HEAD_LAYERS[0]).get_weights()
    weights.standardised(stack, model, images)
    for name in ("block1_conv1", "block3_conv2", "block4_conv4"):
        layer = model.get_layer(name)
        assert layer.activation.__name__ == "relu"
        layer.activation = stack.keras.activations.linear
        outputs = np.asarray(stack.keras.Model(model.input, layer.output)(images, training=False))
        layer.activation = stack.keras.activations.relu
        np.testing.assert_allclose(outputs.mean(axis=(0, 1, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(outputs.std(axis=(0, 1, 2)), 1, rtol=1e-2)
    assert_same(model.get_layer(HEAD_LAYERS[0]).get_weights(), head)


def write_published_file(model: Model, path: Path) -> None:
    """Write random weights for `model` in the layout of the files of `keras.applications`."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_{index}:0" for index in range(len(layer.weights))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, layer.get_weights(), strict=True):
                group[name] = rng.random(array.shape, dtype=np.float32)


@pytest.mark.parametrize(("name", "published"), [("resnet50", "ResNet50"), ("vgg19", "VGG19")])
def test_the_published_networks_take_the_weights_of_a_file(
    stack: Stack, tmp_path: Path, name: str, published: str
) -> None:
    path = tmp_path / f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    theirs = getattr(stack.keras.applications, published)(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    write_published_file(theirs, path)
    model = start(stack, Case(name, size_px=32, weights="imagenet"), file=path)
    with h5py.File(path) as file:
        for layer in theirs.layers:
            expected = [
                np.asarray(file[layer.name][name])
                for name in file[layer.name].attrs["weight_names"]
            ]
            found = [] if not expected else model.get_layer(layer.name).get_weights()
            assert_same(found, expected)


def test_a_missing_weights_file_is_an_error_that_tells_the_option(
    stack: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "none_notop.h5"
    with pytest.raises(WeightsError, match=rf"{path} cannot be used as weights of vgg19.*vgg19=F"):
        start(stack, Case("vgg19", size_px=32, weights="imagenet"), file=path)


def test_a_weights_file_that_is_none_is_an_error(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "text_notop.h5"
    path.write_text("nothing of the kind")
    with pytest.raises(WeightsError, match="cannot be used"):
        start(stack, Case("vgg19", size_px=32, weights="imagenet"), file=path)


@pytest.fixture
def photographs(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write other weights of their form for a narrow network, and let them be the expected."""
    rng = np.random.default_rng(0)
    row = ARCHITECTURES["resnet50-photos"]
    narrow = functools.partial(row.build, width=1 / 16)
    model = narrow(stack.keras, size_px=32, classes=43)
    path = tmp_path / "photographs.npz"
    arrays = {
        f"{layer.name}/{variable.name.rpartition('/')[2].partition(':')[0]}":
            rng.random(tuple(variable.shape), dtype=np.float32)
        for layer in model.layers if layer.name not in HEAD_LAYERS for variable in layer.weights
    }  # fmt: skip
    np.savez(path, **arrays)

    def build(keras: Any, *, width: float, **options: Any) -> Model:
        del width
        return narrow(keras, **options)

    own = row._replace(build=build, photographs=file_digest(path))
    monkeypatch.setattr(weights, "ARCHITECTURES", {**ARCHITECTURES, "resnet50-photos": own})
    return path


PHOTOS = Case("resnet50-photos", size_px=32, weights="photographs")


def test_weights_of_photographs_reach_the_variables_of_their_name(
    stack: Stack, photographs: Path
) -> None:
    model = start(stack, PHOTOS, file=photographs)
    with np.load(photographs) as arrays:
        norm, convolution = model.get_layer("conv1_bn"), model.get_layer("conv5_block3_3_conv")
        found = [*norm.get_weights(), *convolution.get_weights()]
        names = ["gamma", "beta", "moving_mean", "moving_variance"]
        expected = [arrays[f"conv1_bn/{name}"] for name in names]
        expected += [arrays[f"conv5_block3_3_conv/{name}"] for name in ("kernel", "bias")]
        assert_same(found, expected)


def test_other_weights_than_those_of_photographs_are_an_error_that_tells_the_option(
    stack: Stack, photographs: Path
) -> None:
    with pytest.raises(WeightsError, match=r"Found: no file\..*--weights resnet50-photos=FILE"):
        start(stack, PHOTOS)
    photographs.write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"Found: .*photographs.npz, sha256:.*Expected: sha256"):
        start(stack, PHOTOS, file=photographs)


def test_the_network_of_photographs_has_half_the_channels_behind_a_whole_stem(
    stack: Stack,
) -> None:
    row = ARCHITECTURES["resnet50-photos"]
    model = row.build(stack.keras, size_px=32, classes=43, width=1.0)
    base = [layer for layer in model.layers if layer.name not in HEAD_LAYERS]
    assert sum(layer.count_params() for layer in base) == 5_942_464, "of the file"
    assert model.get_layer("conv1_conv").filters == 64
    assert model.get_layer("conv5_block3_3_conv").filters == 1024


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Serve ``tmp_path / "served"`` on this machine and give the address."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_imagenets_weights_are_downloaded_once_and_checked(
    cache: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    served = cache / "served" / "vgg19" / "weights.h5"
    served.parent.mkdir(parents=True)
    served.write_bytes(b"not really weights")
    checksum = f"md5:{hashlib.md5(served.read_bytes(), usedforsecurity=False).hexdigest()}"
    path = weights.imagenet_weights("vgg19/weights.h5", checksum, base_url=address)
    assert path.read_bytes() == served.read_bytes()
    served.unlink()
    assert weights.imagenet_weights("vgg19/weights.h5", checksum, base_url=address) == path
    capsys.readouterr()


@pytest.mark.usefixtures("cache")
def test_two_that_need_imagenets_weights_at_once_download_them_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    downloads = []

    def slow(url: str, output_file: str, _: object) -> None:
        downloads.append(url)
        time.sleep(0.5)
        Path(output_file).write_bytes(b"weights")

    monkeypatch.setattr(weights, "resume", slow)
    checksum = f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
    find = functools.partial(weights.imagenet_weights, "vgg19/w.h5", checksum)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(find), pool.submit(find)
        assert first.result() == second.result()
    assert len(downloads) == 1


def test_a_download_of_other_weights_is_an_error_that_names_the_way_out(
    cache: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, checksum = ARCHITECTURES["vgg19"].imagenet
    served = cache / "served" / name
    served.parent.mkdir(parents=True)
    served.write_bytes(b"other weights")
    with pytest.raises(
        WeightsError, match=r"notop.h5: download failed.*--weights ARCHITECTURE=FILE"
    ):
        weights.imagenet_weights(name, checksum, base_url=address)
    capsys.readouterr()


def test_published_weights_need_the_published_size() -> None:
    for row in (
        {"architecture": "resnet50", "width": 0.5, "weights": "imagenet"},
        {"architecture": "resnet50", "blocks": (1, 1, 1, 1), "weights": "imagenet"},
        {"architecture": "resnet50", "weights": "photographs"},
        {"architecture": "resnet50", "weights": "/base_notop.h5"},
        {"architecture": "resnet50-photos", "weights": "imagenet"},
        {"architecture": "alexnet", "weights": "imagenet"},
        {"architecture": "alexnet", "weights": "states"},
    ):
        with pytest.raises(ValueError, match=r"^weights must be one of random, surrogate"):
            Case(**row)
