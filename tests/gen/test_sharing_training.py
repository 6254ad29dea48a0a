"""Training with few kernels: codebooks, their annealing, and what comes out as a network."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xnorweave.errors import TrainingError
from xnorweave.network import Conv2D
from xnorweave.network_file import load_network
from xnorweave.passes.kernels import count_kernels
from xnorweave.training.datasets import Dataset, LabelledImages
from xnorweave.training.recipe import FitRecipe, ModelRecipe, Recipe, SharingRecipe

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")

from xnorweave.training.binarize import BinaryConv2d, sign  # noqa: E402 -- needs torch
from xnorweave.training.codebook import choose_books, codes_after, nearest_kernels  # noqa: E402
from xnorweave.training.fit import Trainer, load_start, save_checkpoint  # noqa: E402
from xnorweave.training.models import BinaryNetwork  # noqa: E402
from xnorweave.training.run import Engine, Outputs, train_network  # noqa: E402

MODEL = ModelRecipe(image_shape=(2, 10, 11), classes=4, convolutions=(12, 10), dense=(12,))
FIT = FitRecipe(epochs=4, batch=16, validation_images=40, shift_pixels=1)
SHARED = Recipe(name="shared", model=MODEL, fit=FIT, sharing=SharingRecipe(codes=(0, 3), anneal_epochs=2))


def images(count: int) -> LabelledImages:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (count, *MODEL.image_shape), dtype=np.uint8)
    return LabelledImages(images=pixels, labels=rng.integers(0, 4, count, dtype=np.uint8))


def latent(*shape: int) -> Any:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5)) * 2 - 1


def distinct(weights: Any) -> int:
    return count_kernels(weights.detach().to(torch.int8).numpy()).distinct_mod_inverse


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_all_kernels_are_the_signs_of_the_weights(kernel: int) -> None:
    weight = latent(7, 3, kernel, kernel)
    books = choose_books(weight, 7 * 3)
    assert torch.equal(nearest_kernels(weight, books), sign(weight))


@pytest.mark.parametrize("codes", [4, 9, 30])
def test_no_more_kernels_are_used_than_chosen_and_each_is_the_nearest(codes: int) -> None:
    weight = latent(16, 4, 3, 3)
    books = choose_books(weight, codes)
    used = nearest_kernels(weight, books)
    assert distinct(used) <= codes
    assert set(used.unique().tolist()) == {-1.0, 1.0}
    for out in range(16):
        for channel in range(4):
            agreements = [float((weight[out, channel].flatten() * book).sum().abs()) for book in books[channel]]
            mine = float((weight[out, channel] * used[out, channel]).sum())
            assert mine == pytest.approx(max(agreements), abs=1e-5)


def test_chosen_kernels_match_better_than_the_most_frequent_signs() -> None:
    weight = latent(64, 2, 3, 3)
    books = choose_books(weight, 16)
    chosen = float((weight * nearest_kernels(weight, books)).sum())
    plain = torch.zeros_like(books)
    for channel in range(2):
        flat = sign(weight[:, channel]).reshape(64, 9)
        kernels, uses = (flat * flat[:, :1]).unique(dim=0, return_counts=True)
        plain[channel, :8] = kernels[uses.argsort(descending=True, stable=True)[:8]]
    assert chosen > 1.02 * float((weight * nearest_kernels(weight, plain)).sum())


def test_the_gradient_passes_where_weights_are_not_clipped() -> None:
    weight = (latent(4, 2, 3, 3) * 1.5).requires_grad_()
    books = choose_books(weight, 4)
    (nearest_kernels(weight, books) * 3.0).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, 3.0 * (weight.detach().abs() <= 1))


def test_float32_and_float64_take_the_same_kernels() -> None:
    conv = BinaryConv2d(8, 32, 3, sharing=True)
    conv.limit_kernels(24)
    single = conv.binary_weight()
    assert torch.equal(single.double(), conv.double().binary_weight())


def test_annealing_falls_to_what_is_asked_and_stays() -> None:
    sharing = SharingRecipe(codes=(4, 0), anneal_epochs=3)
    kept = [codes_after(sharing, 0, 32.0, epochs) for epochs in range(6)]
    assert kept == pytest.approx([32, 16, 8, 4, 4, 4])
    assert codes_after(sharing, 0, 3.0, 5) == 3.0  # there are fewer anyway


def test_annealed_networks_have_as_few_kernels_as_asked_and_are_exact(tmp_path: Path) -> None:
    data = Dataset(classes=("a", "b", "c", "d"), train=images(200), test=images(300))
    report = train_network(SHARED, data, Outputs(network=tmp_path / "net.npz"))
    assert report["test"]["integer_differs_from_torch"] == 0
    assert report["recipe"]["sharing"] == {"codes": (0, 3), "anneal_epochs": 2}
    assert report["best_epoch"] >= 2  # none before the last kernel was taken
    network = load_network(tmp_path / "net.npz")
    free, shared = (layer for layer in network.layers if isinstance(layer, Conv2D))
    assert count_kernels(shared.weights).distinct_mod_inverse <= 12 * 3
    assert count_kernels(free.weights).distinct_mod_inverse > 12
    assert network.history[-1].startswith("sharing-aware: 0, 3 distinct kernels")


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    expected = Trainer(SHARED, images(200)).run()

    def stop(line: str, epoch: int) -> None:
        if epoch == 1:
            raise KeyboardInterrupt(line)

    checkpoint = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        Trainer(SHARED, images(200), checkpoint=checkpoint, progress=stop).run()
    result = Trainer(SHARED, images(200), checkpoint=checkpoint).run()
    for name, value in expected.model.state_dict().items():
        assert torch.equal(result.model.state_dict()[name], value), name


def test_training_starts_from_the_best_weights_of_another_checkpoint(tmp_path: Path) -> None:
    plain = Recipe(name="plain", model=MODEL, fit=FIT)
    result = Trainer(plain, images(200), checkpoint=tmp_path / "plain.pt").run()
    del result
    model = BinaryNetwork(MODEL, SHARED.sharing)
    load_start(model, tmp_path / "plain.pt")
    best = torch.load(tmp_path / "plain.pt", weights_only=True)["state"]["best"]
    assert all(torch.equal(model.state_dict()[name], value) for name, value in best.items())
    data = Dataset(classes=("a", "b", "c", "d"), train=images(200), test=images(300))
    started = dataclasses.replace(SHARED, start="plain.pt")
    outputs = Outputs(network=tmp_path / "net.npz")
    train_network(started, data, outputs, Engine(start=tmp_path / "plain.pt"))
    assert load_network(outputs.network).history[0] == "started from plain.pt"


def test_what_training_cannot_start_from_is_refused(tmp_path: Path) -> None:
    model = BinaryNetwork(MODEL)
    with pytest.raises(TrainingError, match=r"absent\.pt: no such checkpoint to start from"):
        load_start(model, tmp_path / "absent.pt")
    (tmp_path / "damaged.pt").write_bytes(b"PK")
    with pytest.raises(TrainingError, match=r"damaged\.pt: not a whole checkpoint"):
        load_start(model, tmp_path / "damaged.pt")
    for name, state in (("empty.pt", {"best": {}}), ("bare.pt", {})):
        save_checkpoint(tmp_path / name, SHARED, state)
        with pytest.raises(TrainingError, match="checkpoint of a model of another shape"):
            load_start(model, tmp_path / name)


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    torch.save({"recipe": "", "state": {"best": Trap()}}, tmp_path / "trap.pt")
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        load_start(BinaryNetwork(MODEL), tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    data = Dataset(classes=("a", "b", "c", "d"), train=images(200), test=images(30))
    with pytest.raises(TrainingError, match="PyTorch sees no GPU here"):
        train_network(SHARED, data, Outputs(network=tmp_path / "n.npz"), Engine(device="cuda"))
