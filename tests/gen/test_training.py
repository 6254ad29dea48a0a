"""Training and export: integer networks equal the PyTorch models that they came from."""

import dataclasses
import gzip
import itertools
import json
import struct
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from xnorweave import cli
from xnorweave.errors import DataError, MismatchError, TrainingError
from xnorweave.network_file import load_network, save_network
from xnorweave.training import reference
from xnorweave.training.datasets import Dataset, LabelledImages, load_fashion_mnist, read_idx
from xnorweave.training.presets import PRESETS, preset
from xnorweave.training.recipe import FitRecipe, ModelRecipe, Recipe

SEED = 20200309
SMALL = ModelRecipe(image_shape=(2, 10, 11), classes=4, convolutions=(12, 10), dense=(12,))


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_gzip(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content))
    return path


def random_images(shape: tuple[int, int, int], count: int) -> LabelledImages:
    rng = np.random.default_rng(SEED)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    images[0], images[1] = 0, 255
    return LabelledImages(images=images, labels=rng.integers(0, 4, count, dtype=np.uint8))


class TestIdx:
    def test_reads_shape_and_values(self, tmp_path: Path) -> None:
        expected = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
        np.testing.assert_array_equal(read_idx(write_gzip(tmp_path / "a.gz", idx_bytes(expected))), expected)

    @pytest.mark.parametrize("cut", [1, 23, 24, 30])
    def test_refuses_missing_bytes(self, tmp_path: Path, cut: int) -> None:
        content = idx_bytes(np.zeros((2, 3, 4), np.uint8))
        with pytest.raises(DataError, match=r"a\.gz: .*fetch the file again"):
            read_idx(write_gzip(tmp_path / "a.gz", content[:-cut]))

    def test_refuses_further_bytes(self, tmp_path: Path) -> None:
        content = idx_bytes(np.zeros((2, 3, 4), np.uint8)) + b"\0"
        with pytest.raises(DataError, match=r"holds 25 bytes of data but states \[2, 3, 4\], 24 bytes"):
            read_idx(write_gzip(tmp_path / "a.gz", content))

    @pytest.mark.parametrize("content", [b"", b"\0\0", b"\0\0\x0d\x01\0\0\0\0", b"PNG!"])
    def test_refuses_another_format(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(DataError, match="expected IDX of bytes"):
            read_idx(write_gzip(tmp_path / "a.gz", content))

    def test_refuses_truncated_gzip(self, tmp_path: Path) -> None:
        path = tmp_path / "a.gz"
        path.write_bytes(gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8)))[:-9])
        with pytest.raises(DataError, match="not a whole gzip file"):
            read_idx(path)

    def test_refuses_plain_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.gz"
        path.write_bytes(idx_bytes(np.zeros(3, np.uint8)))
        with pytest.raises(DataError, match="not a whole gzip file"):
            read_idx(path)

    def test_missing_file_and_folder_tell_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"absent\.gz: no such file; name the folder of .*--data FOLDER"):
            read_idx(tmp_path / "absent.gz")
        with pytest.raises(DataError, match=r"apt-get install dataset-fashion-mnist.*--data"):
            load_fashion_mnist(tmp_path / "absent")

    def test_refuses_another_number_of_images(self, tmp_path: Path) -> None:
        write_gzip(tmp_path / "train-images-idx3-ubyte.gz", idx_bytes(np.zeros((3, 28, 28), np.uint8)))
        with pytest.raises(DataError, match=r"images \[3, 28, 28\]; expected \[60000, 28, 28\]"):
            load_fashion_mnist(tmp_path)


class TestRecipe:
    def test_refuses_image_that_shrinks_away(self) -> None:
        with pytest.raises(TrainingError, match=r"shrinks to .* after 3 stages"):
            ModelRecipe(convolutions=(8, 8, 8), pools=(2, 2, 2), image_shape=(1, 14, 14))

    def test_refuses_stages_without_their_pooling(self) -> None:
        with pytest.raises(TrainingError, match=r"pools=\(2,\) for 2 convolutions; give one side each"):
            ModelRecipe(convolutions=(8, 8), pools=(2,))

    @pytest.mark.parametrize(("field", "value"), [("epochs", 0), ("batch", 1), ("temperature", 0.0)])
    def test_refuses_values_out_of_range(self, field: str, value: float) -> None:
        with pytest.raises(TrainingError, match=f"fit recipe: {field}={value}"):
            FitRecipe(**({"epochs": 1} | {field: value}))

    def test_refuses_settling_beyond_the_epochs_or_at_no_flip_rate(self) -> None:
        with pytest.raises(TrainingError, match="settle_epochs=3 of epochs=2; use at most as many"):
            FitRecipe(epochs=2, settle_epochs=3)
        with pytest.raises(TrainingError, match=r"settle_flip_rates=\(0\.1, 0\); use more than 0"):
            FitRecipe(epochs=2, settle_flip_rates=(0.1, 0))

    def test_other_number_of_epochs_is_divided_alike(self) -> None:
        whole, short = preset("fashion-mnist-fast").fit, preset("fashion-mnist-fast", epochs=15).fit
        assert short == dataclasses.replace(whole, epochs=15, settle_epochs=4)

    def test_unknown_preset_lists_the_known(self) -> None:
        with pytest.raises(TrainingError, match="preset 'mnist': unknown; choose fashion-mnist"):
            preset("mnist")

    @pytest.mark.parametrize("name", PRESETS)
    def test_presets_fit_the_small_board(self, name: str) -> None:
        model = preset(name, epochs=3).model
        weights, operations = layer_sizes(model)
        # The first two convolutions are wired, about 0.3 LUT4 a weight; the others have their weights in block RAM, and
        # at one image in 784 cycles, one pixel a cycle, lanes of about 2.3 LUT4 each: half of the iCE40 UP5K in all.
        assert sum(weights[:2]) <= 6500
        assert sum(weights[2:]) <= 82_000
        assert sum(operations[2:]) <= 250_000


def layer_sizes(model: ModelRecipe) -> tuple[list[int], list[int]]:
    """Return the weights and the binary operations an image of every layer."""
    weights, operations, inputs = [], [], model.image_shape[0]
    for number, outputs in enumerate(model.convolutions, start=1):
        before = dataclasses.replace(
            model, convolutions=model.convolutions[:number], pools=(*model.pools[: number - 1], 1)
        )
        weights.append(inputs * outputs * model.kernel**2)
        operations.append(weights[-1] * int(np.prod(before.feature_shape()[1:])))
        inputs = outputs
    features = [int(np.prod(model.feature_shape())), *model.dense, model.classes]
    weights += [inputs * outputs for inputs, outputs in itertools.pairwise(features)]
    return weights, operations + weights[len(model.convolutions) :]


def random_model(recipe: ModelRecipe):
    """Return a model with random weights and batch norms; scales of either sign (convolutions: positive) and 0, one
    constant channel each.
    """
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
    from xnorweave.training.models import BinaryNetwork

    generator = torch.Generator().manual_seed(SEED)
    model = BinaryNetwork(recipe).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        for name, norm in model.layers.named_children():
            if not name.endswith("_norm"):
                continue
            # Near the spread of the sums, so that most channels fire for some images only; pooled sums lie higher.
            scale = 600.0 / (1 << recipe.pixel_shift_bits) if name == "conv1_norm" else 6.0
            norm.running_mean.copy_(scale / 20 * torch.randn(norm.num_features, generator=generator))
            if name.startswith("conv"):
                norm.running_mean.add_(scale)
            norm.running_var.copy_(scale**2 * torch.rand(norm.num_features, generator=generator))
            norm.bias.mul_(0.3)
            norm.weight[:3] = torch.tensor([0.0, 0.0, -0.7])
            norm.bias[:2] = torch.tensor([0.0, -0.1])  # sign(0) = +1: always; never
            norm.weight[3], norm.bias[3] = 1e-6, 5.0  # fires for every sum that can occur
            norm.weight[4], norm.bias[4], norm.running_mean[4] = -1.0, 0.0, 2.0  # a tie on a sum that can occur
            if name.startswith("conv"):
                norm.weight.abs_()
    return model


class TestExport:
    @pytest.mark.parametrize(
        "recipe",
        [
            SMALL,
            ModelRecipe(
                image_shape=(1, 10, 10), classes=4, convolutions=(5,), pools=(2,), dense=(9, 8), pixel_shift_bits=4
            ),
            ModelRecipe(image_shape=(1, 5, 6), classes=4, convolutions=(), pools=(), dense=(9,)),
            ModelRecipe(image_shape=(3, 9, 9), classes=4, convolutions=(7, 6), kernel=2, pools=(1, 1), dense=(9,)),
            ModelRecipe(image_shape=(1, 16, 16), classes=4, convolutions=(10, 12, 12), pools=(2, 1, 3), dense=()),
        ],
        ids=["two-convolutions", "coarse-pixels", "dense-only", "no-pooling", "pooling-differs"],
    )
    def test_every_layer_equals_torch(self, recipe: ModelRecipe) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.export import export_network

        model = random_model(recipe)
        images = random_images(recipe.image_shape, 300).images
        outputs = reference.layer_outputs(export_network(model, name="small"), images)
        value = (torch.tensor(images) >> recipe.pixel_shift_bits).double()
        for name, layer in model.double().layers.named_children():
            value = layer(value)
            if name.endswith("_sign"):
                stage = name.removesuffix("_sign")
                pooled = f"pool{stage.removeprefix('conv')}"
                ours = outputs[pooled if pooled in outputs else f"{stage}_threshold"]
                np.testing.assert_array_equal(ours, value.detach().numpy().reshape(ours.shape), err_msg=name)
        np.testing.assert_array_equal(outputs[f"fc{len(recipe.dense) + 1}"], value.detach().numpy())
        np.testing.assert_array_equal(outputs["classes"], value.argmax(1).numpy())

    def test_thresholds_cover_constant_negated_and_tied_channels(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.export import fold_norm

        norm = torch.nn.BatchNorm1d(5).double().eval()
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.0, -1.0, 0.0, 0.0, 1.0]))
            norm.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -1.0, 9.0]))
            norm.running_mean.copy_(torch.tensor([2.0, 2.0, 0.0, 0.0, 0.0]))
        thresholds, negated = fold_norm(norm, np.arange(-4, 5, 2), place="fc1")
        np.testing.assert_array_equal(thresholds, [2, -2, -4, 5, -4])
        np.testing.assert_array_equal(negated, [False, True, False, False, False])

    def test_refuses_diverged_norm(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.export import export_network

        model = random_model(SMALL)
        with torch.no_grad():
            model.layers.get_submodule("conv2_norm").bias[1] = float("nan")
        with pytest.raises(TrainingError, match="conv2: batch norm holds values that are not finite"):
            export_network(model, name="small")

    def test_refuses_norm_that_falls_behind_pooling(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.binarize import clip_weights
        from xnorweave.training.export import export_network

        model = random_model(SMALL)
        with torch.no_grad():
            model.layers.get_submodule("conv2_norm").weight[2] = -0.7
        with pytest.raises(TrainingError, match="conv2: batch norm of channel 2 falls"):
            export_network(model, name="small")
        clip_weights(model)
        export_network(model, name="small")

    def test_verification_counts_a_wrong_network(self, tmp_path: Path) -> None:
        pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.export import export_network, verify

        model, images = random_model(SMALL), random_images(SMALL.image_shape, 200)
        save_network(export_network(model, name="small"), tmp_path / "small.npz")
        network = load_network(tmp_path / "small.npz")
        assert verify(network, model, images).mismatches == 0
        random_again = random_model(SMALL)
        random_again.layers.get_submodule("fc1").weight.data.neg_()
        assert verify(network, random_again, images).mismatches > 0


class TestFit:
    recipe = Recipe(
        name="small",
        model=SMALL,
        fit=FitRecipe(
            epochs=4,
            settle_epochs=2,
            settle_flip_rates=(0.005, 0.005),  # whatever flips once: a few steps are all there are
            batch=16,
            validation_images=40,
            shift_pixels=1,
            flip=True,
        ),
    )

    @pytest.mark.parametrize("bfloat16", [False, True])
    def test_killed_run_goes_on_to_the_same_weights(self, tmp_path: Path, bfloat16: bool) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.fit import Trainer

        recipe = dataclasses.replace(self.recipe, fit=dataclasses.replace(self.recipe.fit, bfloat16=bfloat16))
        images = random_images(SMALL.image_shape, 200)
        expected = Trainer(recipe, images).run()

        def stop_while_settling(line: str, epoch: int) -> None:
            if epoch == 3:
                raise KeyboardInterrupt(line)

        checkpoint = tmp_path / "run.pt"
        with pytest.raises(KeyboardInterrupt):
            Trainer(recipe, images, checkpoint=checkpoint, progress=stop_while_settling).run()
        lines: list[str] = []
        result = Trainer(recipe, images, checkpoint=checkpoint, progress=lambda line, _: lines.append(line)).run()
        assert len(lines) == 1
        assert "epoch 4/4" in lines[0]
        assert (result.best_epoch, result.validation_correct) == (expected.best_epoch, expected.validation_correct)
        for name, value in expected.model.state_dict().items():
            assert torch.equal(result.model.state_dict()[name], value), name
        assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]

    def test_refuses_damaged_and_foreign_checkpoints(self, tmp_path: Path) -> None:
        pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.fit import load_checkpoint, save_checkpoint

        path = tmp_path / "run.pt"
        save_checkpoint(path, self.recipe, {"epoch": 1})
        assert load_checkpoint(path, self.recipe) == {"epoch": 1}
        with pytest.raises(TrainingError, match="checkpoint of another recipe"):
            load_checkpoint(path, preset("fashion-mnist"))
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(TrainingError, match=r"run\.pt: not a whole checkpoint"):
            load_checkpoint(path, self.recipe)

    def test_learning_rate_falls_along_one_cosine_and_another_for_settling(self) -> None:
        pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.fit import learning_rate, settling_share

        fit = FitRecipe(epochs=8, settle_epochs=4, learning_rate=0.02, settle_rate=0.001)
        steps = (0, 20, 39, 40, 60, 79)
        rates = [learning_rate(fit, step, steps_per_epoch=10) for step in steps]
        np.testing.assert_allclose(rates, [0.02, 0.01, 0.02 * 0.00154, 0.001, 0.0005, 0.001 * 0.00154], rtol=1e-3)
        assert [settling_share(fit, step, 10) >= 0 for step in steps] == [False, False, False, True, True, True]
        whole = dataclasses.replace(fit, settle_epochs=0)
        assert learning_rate(whole, 40, steps_per_epoch=10) == pytest.approx(0.01)
        assert settling_share(whole, 79, 10) < 0

    def test_freezer_holds_what_flips_at_its_usual_sign(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.binarize import BinaryDense
        from xnorweave.training.freeze import Freezer

        layer = BinaryDense(3, 1)
        latent = layer.weight.data
        latent.copy_(torch.tensor([[0.5, 0.5, 0.5]]))
        freezer = Freezer(layer)
        for step in range(400):  # the first weight stays, the second is -1 in three steps of four, the third moved once
            latent.copy_(torch.tensor([[0.5, 0.1 if step % 4 == 0 else -0.1, -0.5]]))
            freezer.step(1.0)
        assert freezer.frozen_count() == 0
        freezer.step(0.2)
        restored = Freezer(layer)
        restored.load_state_dict(freezer.state_dict())
        for one in (freezer, restored):
            assert one.frozen_count() == 1
            latent.copy_(torch.tensor([[0.3, 0.3, 0.3]]))
            one.step(0.2)
            torch.testing.assert_close(latent, torch.tensor([[0.3, -1.0, 0.3]]))

    def test_estimated_norms_are_those_of_the_images(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.fit import estimate_norms

        model = random_model(SMALL)
        images = torch.tensor(random_images(SMALL.image_shape, 70).images)
        estimate_norms(model, images, 32)
        norm = model.layers.get_submodule("conv1_norm")
        sums = model.layers[:2](images[:64].float()).detach()  # the convolution and its pooling
        torch.testing.assert_close(norm.running_mean, sums.mean((0, 2, 3)))
        assert not model.training
        assert norm.momentum == 0.1

    def test_refuses_too_few_images(self) -> None:
        pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.fit import Trainer

        with pytest.raises(TrainingError, match="10 images remain after 40 for validation"):
            Trainer(self.recipe, random_images(SMALL.image_shape, 50))

    def test_augmentation_shifts_and_mirrors(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.augment import augment

        image = torch.arange(1, 13, dtype=torch.uint8).reshape(1, 1, 3, 4)
        batch = augment(
            image.expand(64, -1, -1, -1), shift_pixels=1, flip=True, generator=torch.Generator().manual_seed(1)
        )
        padded = torch.nn.functional.pad(image, [1] * 4)[0, 0]
        windows = [padded[y : y + 3, x : x + 4] for y in range(3) for x in range(3)]
        allowed = {tuple(w.flatten().tolist()) for window in windows for w in (window, window.flip(1))}
        found = {tuple(changed.flatten().tolist()) for changed in batch}
        assert found <= allowed
        assert len(found) > 12


class TestBinarize:
    def test_signs_and_gradients(self) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.binarize import Sign, sign

        for function, gradient in ((sign, [0, 1, 1, 1, 1, 0]), (Sign(), [0, 0, 2, 1, 0, 0])):
            value = torch.tensor([-1.5, -1.0, -0.0, 0.5, 1.0, 1.5], requires_grad=True)
            result = function(value)
            assert result.tolist() == [-1, -1, 1, 1, 1, 1]
            result.sum().backward()
            assert value.grad is not None
            assert value.grad.tolist() == gradient


class TestRun:
    recipe = TestFit.recipe

    def dataset(self) -> Dataset:
        images = random_images(SMALL.image_shape, 500)
        return Dataset(classes=("a", "b", "c", "d"), train=images.part(0, 200), test=images.part(200, 500))

    def test_writes_checked_network_samples_and_report(self, tmp_path: Path) -> None:
        pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training.run import Outputs, train_network, write_report

        data, report_path = self.dataset(), tmp_path / "report.json"
        write_report(report_path, {"comparisons": ["kept"], "seconds": 0})
        outputs = Outputs(network=tmp_path / "net.npz", samples=tmp_path / "samples.npz", report=report_path)
        report = train_network(self.recipe, data, outputs)
        assert report["test"]["images"] == 300
        assert report["test"]["integer_differs_from_torch"] == 0
        stored = json.loads(report_path.read_text())
        assert stored["comparisons"] == ["kept"]
        assert stored["validation"] == report["validation"]
        assert stored["seconds"] == report["seconds"]
        samples = np.load(outputs.samples, allow_pickle=False)
        predicted = reference.classify(load_network(outputs.network), samples["x"])
        np.testing.assert_array_equal(predicted, samples["torch_class"])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["net.npz", "report.json", "samples.npz"]

    def test_network_that_differs_is_removed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        from xnorweave.training import run

        data = self.dataset()
        monkeypatch.setattr(run, "load_network", lambda path: run.export_network(random_model(SMALL), name="other"))
        with pytest.raises(MismatchError, match=r"net\.npz: \d+ of 300 test images differ"):
            run.train_network(self.recipe, data, run.Outputs(network=tmp_path / "net.npz"))
        assert not (tmp_path / "net.npz").exists()

    def test_command_without_torch_names_the_extra(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert cli.main(["train", "fashion-mnist", "-o", "net.npz"]) == 1
        assert capsys.readouterr().err == (
            "error: training: PyTorch is not installed; run `pip install xnorweave[train]`\n"
        )

    def test_command_without_data_names_the_package(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
        assert cli.main(["train", "fashion-mnist", "-o", "net.npz", "--data", str(tmp_path / "absent")]) == 1
        assert "absent: no such folder; run `apt-get install dataset-fashion-mnist`" in capsys.readouterr().err


class TestShippedNetwork:
    @staticmethod
    def samples() -> dict[str, np.ndarray]:
        with resources.as_file(resources.files("xnorweave") / "networks" / "fashion_mnist_test200.npz") as path:
            return dict(np.load(path, allow_pickle=False))

    @staticmethod
    def network():
        with resources.as_file(resources.files("xnorweave") / "networks" / "fashion_mnist.npz") as path:
            return load_network(path)

    def test_shapes_and_sizes(self) -> None:
        samples, network = self.samples(), self.network()
        assert network.name == "fashion_mnist"
        assert len(network.classes) == 10
        assert samples["x"].shape == (200, 28, 28)
        assert {array.dtype for array in samples.values()} == {np.dtype(np.uint8)}

    def test_reference_equals_torch_on_the_samples(self) -> None:
        samples = self.samples()
        np.testing.assert_array_equal(reference.classify(self.network(), samples["x"][:, None]), samples["torch_class"])
        assert (samples["torch_class"] == samples["y"]).mean() > 0.8

    def test_golden_equals_torch_on_the_samples(self) -> None:
        golden = pytest.importorskip("xnorweave.sim.golden")
        samples = self.samples()
        np.testing.assert_array_equal(golden.run(self.network(), samples["x"][:, None]).outputs, samples["torch_class"])
