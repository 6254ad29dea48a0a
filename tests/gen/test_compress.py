"""Similar kernels: what is replaced, what it does to sums and answers, and the search within a budget."""

import json
import math
from collections import UserDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from xnorweave import cli
from xnorweave.commands.compression_file import Compressed, read_compression, write_compression
from xnorweave.errors import DataError, UnsupportedError
from xnorweave.images import load_images, shipped
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, MaxPool, Network, Threshold
from xnorweave.network_file import load_network, save_network
from xnorweave.passes.compress import OBJECTIVES, UNITS, CompressOptions, Examples, compress, compressible
from xnorweave.passes.kernels import count_kernels
from xnorweave.passes.similar import rank_kernels, refit, replace_kernels, window_moments
from xnorweave.sim import golden


def conv(rng: np.random.Generator, shape: tuple[int, int, int, int], **options: Any) -> Conv2D:
    return Conv2D(name="conv", weights=rng.choice(np.array([-1, 1], np.int8), shape), **options)


def smooth_bits(rng: np.random.Generator, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Signs of noise summed over 3x3 windows: neighbours mostly agree, as in images."""
    count, height, width, channels = shape
    noise = rng.normal(size=(count, height + 2, width + 2, channels))
    return np.where(sliding_window_view(noise, (3, 3), (1, 2)).sum((-2, -1)) > 0.5, 1, -1).astype(np.int8)


def windows(layer: Conv2D, values: np.ndarray) -> np.ndarray:
    """Every window as taps in the order channel, row, column; [windows, taps]."""
    top, bottom, left, right = layer.padding
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right), (0, 0)))
    found = sliding_window_view(padded, layer.kernel, (1, 2))[:, :: layer.stride, :: layer.stride]
    return found.reshape(-1, values.shape[3] * layer.weights[0, 0].size).astype(np.int64)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": (1, 0, 2, 1)}, {"groups": 2}])
@pytest.mark.parametrize("kind", ["bits", "pixels"])
def test_moments_are_those_of_all_windows_where_these_are_few(options: dict[str, Any], kind: str) -> None:
    rng = np.random.default_rng(1)
    groups = options.get("groups", 1)
    layer = conv(rng, (4, 4 // groups, 3, 3), **options)
    values = smooth_bits(rng, (3, 9, 8, 4)) if kind == "bits" else rng.integers(0, 256, (3, 9, 8, 4), np.uint8)
    moments = window_moments(layer, values, rng)
    parts = np.split(windows(layer, values), groups, axis=1)
    assert moments.windows == len(parts[0])
    for part, covariance in zip(parts, moments.covariance, strict=True):
        expected = len(part) * part.T @ part - np.outer(part.sum(0), part.sum(0))
        assert np.array_equal(covariance, expected)


def test_moments_of_a_sample_are_near_those_of_all_and_repeat() -> None:
    rng = np.random.default_rng(2)
    layer, values = conv(rng, (4, 2, 3, 3)), smooth_bits(rng, (40, 32, 32, 2))
    sampled, again = (window_moments(layer, values, np.random.default_rng(5)) for _ in range(2))
    assert sampled.windows == 1 << 14 < 40 * 30 * 30
    assert np.array_equal(sampled.covariance, again.covariance)
    whole = np.cov(windows(layer, values).T, bias=True)
    assert np.allclose(sampled.covariance[0] / sampled.windows**2, whole, atol=0.05)


SHAPES = [(24, 3, 3, 3, 1), (8, 2, 5, 5, 1), (16, 2, 3, 3, 2), (12, 1, 2, 3, 3), (1, 4, 3, 3, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_codes_leave_the_layer_as_it_is(shape: tuple[int, int, int, int, int]) -> None:
    rng = np.random.default_rng(3)
    *dims, groups = shape
    layer = conv(rng, tuple(dims), groups=groups)
    moments = window_moments(layer, smooth_bits(rng, (8, 12, 12, dims[1] * groups)), rng)
    ranking = rank_kernels(layer, moments)
    assert ranking.most_codes >= count_kernels(layer.weights, groups).distinct_mod_inverse
    assert np.array_equal(replace_kernels(layer, moments, ranking, ranking.most_codes), layer.weights)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_no_more_kernels_are_left_than_asked_for(shape: tuple[int, int, int, int, int], share: float) -> None:
    rng = np.random.default_rng(4)
    *dims, groups = shape
    layer = conv(rng, tuple(dims), groups=groups)
    moments = window_moments(layer, smooth_bits(rng, (8, 12, 12, dims[1] * groups)), rng)
    ranking = rank_kernels(layer, moments)
    codes = max(int(share * ranking.most_codes), dims[1] * groups)
    left = replace(layer, weights=replace_kernels(layer, moments, ranking, codes))
    assert count_kernels(left.weights, groups).distinct_mod_inverse <= codes
    assert sum(ranking.sizes(codes)) == codes


def test_the_smallest_codebook_still_has_one_kernel_for_each_channel() -> None:
    rng = np.random.default_rng(5)
    layer = conv(rng, (16, 4, 3, 3))
    moments = window_moments(layer, smooth_bits(rng, (8, 12, 12, 4)), rng)
    ranking = rank_kernels(layer, moments)
    assert ranking.sizes(0) == [1, 1, 1, 1]


def test_sums_change_less_than_with_the_kernels_nearest_by_taps() -> None:
    rng = np.random.default_rng(6)
    layer, values = conv(rng, (64, 8, 3, 3)), smooth_bits(rng, (16, 16, 16, 8))
    moments = window_moments(layer, values, rng)
    codes = 8 * 12
    similar = replace_kernels(layer, moments, rank_kernels(layer, moments), codes)
    plain = np.empty_like(layer.weights)
    for channel in range(8):
        kernels = layer.weights[:, channel].reshape(64, 9).astype(int)
        canonical = kernels * kernels[:, :1]
        distinct, uses = np.unique(canonical, axis=0, return_counts=True)
        book = distinct[np.argsort(-uses, kind="stable")[:12]]
        agreement = kernels @ book.T
        best = np.abs(agreement).argmax(1)
        signs = np.where(agreement[np.arange(64), best] < 0, -1, 1)
        plain[:, channel] = (book[best] * signs[:, None]).reshape(64, 3, 3)
    assert count_kernels(plain).distinct_mod_inverse == codes

    def spread(weights: np.ndarray) -> float:
        change = (weights - layer.weights).reshape(64, -1).astype(np.int64)
        return float((windows(layer, values) @ change.T).var(0).sum())

    assert spread(similar) < 0.8 * spread(plain)


@pytest.mark.parametrize("levels", [1, 3])
def test_refitted_thresholds_leave_the_fewest_bits_wrong(levels: int) -> None:
    rng = np.random.default_rng(7)
    old = Threshold(name="t", thresholds=np.sort(rng.integers(-9, 9, (5, levels)), axis=1).astype(np.int32))
    before = rng.integers(-15, 16, (400, 5))
    after = before + rng.integers(-4, 9, (400, 5))
    fired = (before[:, :, None] >= old.by_channel).sum(2)
    new = refit(old, after, fired)
    for channel in range(5):
        for level in range(levels):
            bits = fired[:, channel] > level
            wrong = [int(((after[:, channel] >= t) != bits).sum()) for t in range(-40, 40)]
            assert ((after[:, channel] >= new.by_channel[channel, level]) != bits).sum() == min(wrong)


def test_refit_keeps_thresholds_where_sums_are_as_before() -> None:
    rng = np.random.default_rng(8)
    old = Threshold(name="t", thresholds=np.array([-3, 0, 4, 99, -99], np.int32))
    sums = rng.integers(-10, 11, (300, 5))
    new = refit(old, sums, (sums >= old.thresholds).astype(np.int64))
    assert np.array_equal((sums >= new.thresholds), (sums >= old.thresholds))
    assert np.array_equal(new.thresholds[:3], old.thresholds[:3])


# The search ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> tuple[Network, Examples, Examples]:
    """A random network that is right on every image by construction, and two sets of images."""
    rng = np.random.default_rng(9)

    def signs(*shape: int) -> np.ndarray:
        return rng.choice(np.array([-1, 1], np.int8), shape)

    network = Network(
        name="small",
        input=InputSpec(kind="bits", shape=(3, 10, 10)),
        layers=(
            Conv2D(name="conv1", weights=signs(12, 3, 3, 3)),
            Threshold(name="sign1", thresholds=np.zeros(12, np.int32)),
            MaxPool(name="pool"),
            Conv2D(name="conv2", weights=signs(16, 12, 3, 3)),
            Threshold(name="sign2", thresholds=np.zeros(16, np.int32)),
            Dense(name="scores", weights=signs(4, 64)),
            ArgMax(name="class"),
        ),
    )
    values = smooth_bits(rng, (400, 10, 10, 3))
    labels = golden.run_layers(network, values, 0, len(network.layers))
    return (
        network,
        Examples(values=values[:100], labels=labels[:100]),
        Examples(values=values[100:], labels=labels[100:]),
    )


def correct(network: Network, examples: Examples) -> int:
    classes = golden.run(network, ((examples.values.transpose(0, 3, 1, 2) + 1) // 2).astype(np.uint8)).outputs
    return int((classes == examples.labels).sum())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_search_saves_within_its_budget(small: tuple[Network, Examples, Examples], objective: Any) -> None:
    network, calibration, validation = small
    options = CompressOptions(max_loss=45.0, objective=objective)
    found = compress(network, calibration, validation, options, run_layers=golden.run_layers)
    unit = {"block-ram": "weight_bits"}.get(objective, objective.replace("-", "_"))
    assert found.before.correct == 300 == found.validation_images
    assert found.after.units[unit] < found.before.units[unit]
    assert found.after.correct == correct(found.network, validation) >= 165
    assert found.network.history[:-1] == network.history
    assert objective in found.network.history[-1]
    kept = {
        name: count_kernels(layer.weights).distinct_mod_inverse
        for name in compressible(network)
        for layer in found.network.layers
        if layer.name == name and isinstance(layer, Conv2D)
    }
    if objective == "block-ram":
        for name, codes in found.after.codes.items():
            layer = next(layer for layer in found.network.layers if layer.name == name)
            assert isinstance(layer, Conv2D)
            flat = layer.weights.reshape(-1, 9)
            assert len(np.unique(flat * flat[:, :1], axis=0)) <= codes <= 16
    else:
        assert all(kept[name] <= codes for name, codes in found.after.codes.items())
        assert sum(kept.values()) == found.after.units["kernel_evaluations"]
    assert all(point.correct >= 0 for point in (*found.trajectory, *found.alone))
    assert found.after in found.trajectory
    assert found.before in found.trajectory


def test_no_budget_gives_what_costs_nothing(small: tuple[Network, Examples, Examples]) -> None:
    network, calibration, validation = small
    found = compress(network, calibration, validation, CompressOptions(max_loss=0.0), run_layers=golden.run_layers)
    assert correct(found.network, validation) == 300


def test_only_the_layers_named_are_changed(small: tuple[Network, Examples, Examples]) -> None:
    network, calibration, validation = small
    options = CompressOptions(max_loss=45.0, objective="kernel-evaluations", layers=("conv2",))
    found = compress(network, calibration, validation, options, run_layers=golden.run_layers)
    assert set(found.after.codes) == {"conv2"}
    first, changed = found.network.layers[0], found.network.layers[3]
    assert isinstance(first, Conv2D)
    assert isinstance(changed, Conv2D)
    assert np.array_equal(first.weights, network.layers[0].weights)  # type: ignore[union-attr]
    assert not np.array_equal(changed.weights, network.layers[3].weights)  # type: ignore[union-attr]


class _EndedError(Exception):
    pass


class _Store(UserDict[str, Any]):
    """Ends the search after so many measurements; what JSON does not hold is refused."""

    def __init__(self, most: int):
        super().__init__()
        self.most, self.made = most, 0

    def __setitem__(self, key: str, value: Any) -> None:
        if self.made == self.most:
            raise _EndedError
        self.made += 1
        self.data[key] = json.loads(json.dumps(value))


def test_an_ended_search_goes_on_where_it_was(small: tuple[Network, Examples, Examples]) -> None:
    network, calibration, validation = small
    options = CompressOptions(max_loss=45.0, objective="kernel-evaluations")
    whole = _Store(10**9)
    expected = compress(network, calibration, validation, options, run_layers=golden.run_layers, store=whole)
    store = _Store(9)
    with pytest.raises(_EndedError):
        compress(network, calibration, validation, options, run_layers=golden.run_layers, store=store)
    assert 0 < store.made < whole.made
    store.most = 10**9
    found = compress(network, calibration, validation, options, run_layers=golden.run_layers, store=store)
    assert store.made == whole.made  # nothing was measured twice
    assert store.data == whole.data
    assert (found.after, found.trajectory, found.alone) == (expected.after, expected.trajectory, expected.alone)
    assert found.network.history == expected.network.history
    for mine, theirs in zip(found.network.layers, expected.network.layers, strict=True):
        if isinstance(mine, Threshold):
            assert np.array_equal(mine.thresholds, theirs.thresholds)  # type: ignore[union-attr]


def test_what_cannot_be_compressed_is_refused(small: tuple[Network, Examples, Examples]) -> None:
    network, calibration, validation = small
    with pytest.raises(UnsupportedError, match="'scores' has no 2-D kernels to share; choose from conv1, conv2"):
        compress(network, calibration, validation, CompressOptions(layers=("scores",)), run_layers=golden.run_layers)
    scores = replace(network, layers=network.layers[:-1])
    with pytest.raises(UnsupportedError, match="scores: the network ends in a dense"):
        compress(scores, calibration, validation, CompressOptions(), run_layers=golden.run_layers)
    few = Examples(values=validation.values, labels=validation.labels[:5])
    with pytest.raises(DataError, match="validation: 300 images and 5 labels"):
        compress(network, calibration, few, CompressOptions(), run_layers=golden.run_layers)
    for options in ({"max_loss": -1.0}, {"max_loss": float("nan")}, {"objective": "speed"}):
        with pytest.raises(UnsupportedError):
            CompressOptions(**options)  # type: ignore[arg-type]


# The command ---------------------------------------------------------------------------------------------------------


def compressed(capfd: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.main(["compress", "fashion_mnist", "--json", *words]) == 0
    return json.loads(capfd.readouterr().out)


def test_the_command_writes_an_ordinary_network_with_its_history(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.npz"
    words = ("-o", str(out), "--max-loss", "6", "--objective", "kernel-evaluations", "--images", "120")
    report = compressed(capfd, *words)
    part = report["compression"]
    assert (part["calibration_images"], part["validation_images"]) == (24, 96)
    assert part["after"]["kernel_evaluations"] < part["before"]["kernel_evaluations"]
    assert part["before"]["correct"] - part["after"]["correct"] <= 5  # 6 % of 96
    network = load_network(out)
    assert network.history[-1].startswith("compressed for kernel-evaluations")
    kernels = sum(
        count_kernels(layer.weights).distinct_mod_inverse for layer in network.layers if isinstance(layer, Conv2D)
    )
    assert kernels == part["after"]["kernel_evaluations"]
    beside = tmp_path / "small.compression.json"
    assert sorted(tmp_path.iterdir()) == [beside, out]  # no progress is left behind
    first = out.read_bytes(), beside.read_bytes()
    compressed(capfd, *words)
    assert (out.read_bytes(), beside.read_bytes()) == first
    assert cli.main(["compress", "fashion_mnist", *words]) == 0
    shown = capfd.readouterr().out
    assert "kernel evaluations" in shown
    assert f"{part['after']['percent']:.2f} %" in shown


def test_a_killed_command_goes_on_and_ends_alike(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--max-loss", "6", "--objective", "kernel-evaluations", "--images", "120")
    compressed(capfd, "-o", str(tmp_path / "whole.npz"), *words)
    out, calls = tmp_path / "ended.npz", []
    run_layers = golden.run_layers

    def ending(network: Network, values: np.ndarray, start: int, stop: int) -> np.ndarray:
        calls.append(start)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return run_layers(network, values, start, stop)

    monkeypatch.setattr(golden, "run_layers", ending)
    assert cli.main(["compress", "fashion_mnist", "-o", str(out), *words]) == 130
    assert [path.name for path in tmp_path.iterdir() if "progress" in path.name] == [".ended.npz.progress.json"]
    assert not out.exists()
    monkeypatch.setattr(golden, "run_layers", run_layers)
    compressed(capfd, "-o", str(out), *words)
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not list(tmp_path.glob(".*progress*"))


def test_a_builds_report_tells_how_the_network_was_compressed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Kernels before, counted from the shipped network itself; additions of its LUTs' family alone."""
    out = tmp_path / "small.npz"
    words = ("--max-loss", "6", "--objective", "kernel-evaluations", "--images", "120", "--layers", "conv2")
    part = compressed(capfd, "-o", str(out), *words)["compression"]
    report = generated(capfd, out, tmp_path)
    assert report["compression"] == part
    (before,) = (row for row in shared(capfd, "fashion_mnist") if row["name"] == "conv2")
    (now,) = (row for row in report["sharing"]["layers"] if row["name"] == "conv2")
    forms = [f"{unit}_{form}" for unit in ("kernel_evaluations", "additions") for form in ("repeated", "kernel")]
    assert [now["before"][name] for name in forms] == [before[name] for name in forms]
    assert now["before"]["kernel_evaluations_kernel"] - now["kernel_evaluations_kernel"] == (
        part["before"]["kernel_evaluations"] - part["after"]["kernel_evaluations"]
    )
    for row in report["sharing"]["layers"]:
        assert ("luts_kernel" in row["before"]) == (part["family"] == report["sharing"]["family"])
        if row["name"] != "conv2":
            assert row["before"] == {name: row[name] for name in row["before"]}
    totals = report["sharing"]["totals"]
    assert totals["before"]["additions_kernel"] == sum(
        row["before"]["additions_kernel"] for row in report["sharing"]["layers"]
    )
    assert totals["before"]["additions_kernel"] > totals["additions_kernel"]
    # Kernels are counted where every form has them, as in the totals of what is built.
    assert totals["before"]["kernel_evaluations_kernel"] == now["before"]["kernel_evaluations_kernel"]
    page = (tmp_path / "core" / "report.html").read_text()
    assert "+ similar kernels" in page
    assert "Networks measured while kernels were made similar" in page


def generated(capfd: pytest.CaptureFixture[str], network: Path, folder: Path) -> dict[str, Any]:
    assert cli.main(["generate", str(network), "-o", str(folder / "core"), "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def shared(capfd: pytest.CaptureFixture[str], network: str) -> list[dict[str, Any]]:
    assert cli.main(["share", network, "--json"]) == 0
    return json.loads(capfd.readouterr().out)["sharing"]["layers"]


# How a network was compressed ----------------------------------------------------------------------------------------


POINT = {"correct": 90, "percent": 90.0, "kernels_kept": {"conv": 3}} | dict.fromkeys(UNITS, 12)
ALONE = {"correct": 90, "percent": 90.0, "kernels_kept": {"conv": 3}, "luts": 7}
SEARCH = {
    **{"objective": "luts", "max_loss_percent": 1.0, "family": "ecp5", "seed": 0, "calibration_images": 10},
    **{"validation_images": 100, "before": POINT, "after": POINT},
    **{"trajectory": [POINT], "alone": [ALONE]},
}
COMPRESSED = Compressed(search=SEARCH, before={"conv": {"additions_kernel": 7}})


def random_network(seed: int) -> Network:
    layers = (conv(np.random.default_rng(seed), (2, 1, 3, 3)), Threshold(name="fire", thresholds=np.zeros(2, np.int32)))
    return Network(name="n", input=InputSpec(kind="bits", shape=(1, 4, 4)), layers=layers)


def written(folder: Path) -> tuple[Path, Network]:
    network = random_network(1)
    write_compression(folder / "n.npz", network, COMPRESSED)
    return folder / "n.npz", network


def test_what_was_written_is_read_again_for_the_same_network_alone(tmp_path: Path) -> None:
    path, network = written(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["n.compression.json"]
    assert read_compression(path, network) == COMPRESSED
    assert read_compression(path, random_network(2)) is None
    assert read_compression(tmp_path / "other.npz", network) is None
    assert read_compression(tmp_path / f"{'n' * 244}.npz", network) is None


@pytest.mark.parametrize("change", [{"format": "other/1"}, {"network_sha256": "0" * 64, "before": None}])
def test_what_is_of_another_program_or_network_does_not_matter(change: dict[str, Any], tmp_path: Path) -> None:
    path, network = written(tmp_path)
    beside = tmp_path / "n.compression.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | change))
    assert read_compression(path, network) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: found.pop("before"),
        lambda found: found.update(before={"conv": {"additions_kernel": "<b>"}}),
        lambda found: found.update(before={"conv": {"additions_kernel": math.nan}}),
        lambda found: found.update(before={"conv": {"additions_kernel": 10**400}}),
        lambda found: found.update(before={"conv": {"additions_kernel": -1}}),
        lambda found: found["compression"].update(objective="speed"),
        lambda found: found["compression"].update(seed=True),
        lambda found: found["compression"].update(max_loss_percent=math.inf),
        lambda found: found["compression"].update(trajectory=[]),
        lambda found: found["compression"].update(alone=[math.nan]),
        lambda found: found["compression"].update(more=1),
        lambda found: found["compression"]["after"].pop("luts"),
        lambda found: found["compression"]["after"].pop("kernels_kept"),
        lambda found: found["compression"]["after"].update(kernels_kept={"conv": "3"}),
        lambda found: found["compression"]["before"].update(percent=None),
    ],
)
def test_a_damaged_file_is_refused(damage: Any, tmp_path: Path) -> None:
    path, network = written(tmp_path)
    beside = tmp_path / "n.compression.json"
    found = json.loads(beside.read_text())
    damage(found)
    beside.write_text(json.dumps(found))
    with pytest.raises(DataError, match=r"n\.compression\.json: .*; remove it, or compress again"):
        read_compression(path, network)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff"])
def test_a_file_that_is_no_document_is_refused(text: str, tmp_path: Path) -> None:
    path, network = written(tmp_path)
    (tmp_path / "n.compression.json").write_text(text, "latin-1")
    with pytest.raises(DataError, match="remove it, or compress again"):
        read_compression(path, network)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"n\.compression\.json: cannot be written \(No such file"):
        write_compression(tmp_path / "none" / "n.npz", random_network(1), COMPRESSED)


@pytest.mark.parametrize("kept", ["", "{", '{"key": 1}', '{"key": "other", "measured": {"network": 5}}', "[]"])
def test_progress_of_another_search_is_not_taken(kept: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--max-loss", "0", "--objective", "kernel-evaluations", "--images", "60", "--layers", "conv1")
    expected = compressed(capfd, "-o", str(tmp_path / "a.npz"), *words)["compression"]
    (tmp_path / ".b.npz.progress.json").write_text(kept)
    assert compressed(capfd, "-o", str(tmp_path / "b.npz"), *words)["compression"] == expected


def test_images_without_labels_or_too_few_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = load_network(shipped("fashion_mnist.npz"))
    found = load_images(shipped("fashion_mnist_test200.npz"), network)
    np.savez(tmp_path / "bare.npz", x=found.frames.transpose(0, 2, 3, 1))
    out = tmp_path / "out.npz"
    for words, said in (
        (("--data", str(tmp_path / "bare.npz")), "no labels"),
        (("--images", "20"), "20 images are too few"),
        (("--layers", "fc1"), "'fc1' has no 2-D kernels"),
    ):
        assert cli.main(["compress", "fashion_mnist", "-o", str(out), *words]) == 1
        assert said in capfd.readouterr().err
    save_network(replace(network, layers=network.layers[:-1]), tmp_path / "scores.npz")
    data = str(shipped("fashion_mnist_test200.npz"))
    assert cli.main(["compress", str(tmp_path / "scores.npz"), "-o", str(out), "--data", data]) == 1
    assert "add an ArgMax" in capfd.readouterr().err
    assert not out.exists()
