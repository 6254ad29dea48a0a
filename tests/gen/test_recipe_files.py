"""Recipes as files, and the data sets they name. Needs no PyTorch."""

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from xnorweave import cli
from xnorweave.errors import DataError, TrainingError
from xnorweave.training.recipe import DataRecipe, FitRecipe, ModelRecipe, Recipe, SharingRecipe
from xnorweave.training.recipe_file import read_recipe
from xnorweave.training.sources import CIFAR10_CLASSES, load_cifar10, load_data, load_image_folder, load_npz

WHOLE = """
name = "small"
start = "plain.pt"
[model]
image_shape = [3, 32, 32]
convolutions = [8, 16]
pools = [2, 1]
dense = []
[fit]
epochs = 3
learning_rate = 1
settle_flip_rates = [0.1, 0.01]
flip = true
[sharing]
codes = [0, 2.5]
anneal_epochs = 2
[data]
kind = "npz"
train = "a.npz"
test = "b.npz"
classes = ["cat", "dog"]
"""


def test_every_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(WHOLE)
    recipe, data = read_recipe(tmp_path / "r.toml")
    assert recipe == Recipe(
        name="small",
        model=ModelRecipe(image_shape=(3, 32, 32), convolutions=(8, 16), pools=(2, 1), dense=()),
        fit=FitRecipe(epochs=3, learning_rate=1, settle_flip_rates=(0.1, 0.01), flip=True),
        sharing=SharingRecipe(codes=(0, 2.5), anneal_epochs=2),
        start="plain.pt",
    )
    assert data == DataRecipe(kind="npz", train="a.npz", test="b.npz", classes=("cat", "dog"))


def test_what_is_left_out_is_as_in_the_parts(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('name = "n"\nfit.epochs = 2\n')
    assert read_recipe(tmp_path / "r.toml") == (
        Recipe(name="n", model=ModelRecipe(), fit=FitRecipe(epochs=2)),
        DataRecipe(),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "is no valid TOML"),
        ("fit.epochs = 2", "name = None is no name"),
        ('name = "a b"\nfit.epochs = 2', "name = 'a b' is no name"),
        ('name = "n"', r"\[fit\] has no epochs; set it"),
        ('name = "n"\nfit = 3', r"fit = 3 is no table; write \[fit\]"),
        ('name = "n"\nfit.epoch = 3', r"\[fit\] epoch is not known; known are epochs, batch"),
        ('name = "n"\nfits.epochs = 3', "key 'fits' is not known; known are name, start, model"),
        ('name = "n"\nfit.epochs = 3.5', r"\[fit\] epochs = 3.5 is not a whole number"),
        ('name = "n"\nfit.epochs = true', r"\[fit\] epochs = True is not a whole number"),
        ('name = "n"\nfit = {epochs = 3, flip = 1}', r"\[fit\] flip = 1 is not true or false"),
        ('name = "n"\nfit.epochs = 3\nmodel.pools = 2', r"\[model\] pools = 2 is no list"),
        ('name = "n"\nfit.epochs = 3\nmodel.image_shape = [1, 2]', r"\[model\] image_shape = \[1, 2\] has 2 values"),
        ('name = "n"\nfit.epochs = 3\nmodel.pools = ["a", 2]', r"\[model\] pools = 'a' is not a whole number"),
        ('name = "n"\nfit.epochs = 3\ndata.kind = "web"', "data recipe: kind='web'; use one of fashion-mnist"),
        ('name = "n"\nfit.epochs = 3\ndata.kind = "npz"', r"kind='npz' without train; set it"),
        ('name = "n"\nfit.epochs = 3\ndata.kind = "cifar10"', r"kind='cifar10' without path; set it"),
        ('name = "n"\nfit.epochs = 3\nsharing.codes = [3]', r"codes=\(3,\) for 2 convolutions"),
        ('name = "n"\nfit.epochs = 3\nsharing.codes = [3, 0.5]', r"codes=\(3, 0.5\); use 1 or more, or 0"),
        ('name = "n"\nfit.epochs = 3\nsharing = {codes = [3, 3], anneal_epochs = 4}', "anneal_epochs=4 of epochs=3"),
        ('name = "n"\nfit.epochs = 3\nstart = 3', "start = 3 is no path"),
    ],
)
def test_unsound_files_are_refused_with_place_and_remedy(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(TrainingError, match=rf"r\.toml: .*{said}"):
        read_recipe(tmp_path / "r.toml")


def test_absent_files_and_presets_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "n.npz")
    for words, said in (
        (["magic"], "'magic' is no preset (fashion-mnist"),
        ([str(tmp_path / "r.toml")], "r.toml: cannot be read"),
        ([str(tmp_path / "r.toml"), "--epochs", "3"], "--epochs is for presets"),
    ):
        assert cli.main(["train", *words, "-o", out]) == 1
        assert said in capsys.readouterr().err


# CIFAR-10 ------------------------------------------------------------------------------------------------------------


def records(number: int) -> bytes:
    rng = np.random.default_rng(number)
    parts = rng.integers(0, 256, (10_000, 3073), np.uint8)
    parts[:, 0] %= 10
    return parts.tobytes()


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cifar10")
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(records(number))
    (folder / "test_batch.bin").write_bytes(records(6))
    return folder


def test_cifar10_is_read_from_its_folder_and_its_archive(cifar10: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "c.tar", "w") as archive:
        archive.add(cifar10, "cifar-10-batches-bin")
    data, again = load_cifar10(cifar10), load_cifar10(tmp_path / "c.tar")
    assert data.classes == CIFAR10_CLASSES
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    raw = np.frombuffer(records(2), np.uint8).reshape(10_000, 3073)
    assert data.train.labels[10_007] == raw[7, 0]
    assert np.array_equal(data.train.images[10_007], raw[7, 1:].reshape(3, 32, 32))
    assert np.array_equal(data.test.images, again.test.images)
    assert np.array_equal(data.train.images, again.train.images)


def test_damaged_and_pickled_cifar10_is_refused(cifar10: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data_batch_1\.bin: cannot be read.*cifar-10-binary\.tar\.gz"):
        load_cifar10(tmp_path)
    with pytest.raises(DataError, match="no archive that can be read"):
        load_cifar10(tmp_path / "absent.tar.gz")
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(b"\\0" * 2000)[:-12])
    with pytest.raises(DataError, match="no archive that can be read"):
        load_cifar10(tmp_path / "cut.tar.gz")
    with tarfile.open(tmp_path / "python.tar.gz", "w:gz") as archive:
        content = pickle.dumps({"data": 1})
        entry = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    with pytest.raises(DataError, match=r"take the binary version.*pickles, which are never read"):
        load_cifar10(tmp_path / "python.tar.gz")
    for file in cifar10.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "test_batch.bin").unlink()
    for content, said in ((records(6)[:-1], "less than 10000 records"), (records(6) + b"1", "more than 10000 records")):
        (tmp_path / "test_batch.bin").write_bytes(content)
        with pytest.raises(DataError, match=f"test_batch.bin: {said}"):
            load_cifar10(tmp_path)


# Files of arrays, folders of images ----------------------------------------------------------------------------------


def test_npz_files_give_their_images_shuffled_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (60, 5, 6, 3), np.uint8), np.repeat([0, 1, 2], 20)
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    np.savez(tmp_path / "b.npz", x=images[:9], y=labels[:9])
    data, again = (load_npz(tmp_path / "a.npz", tmp_path / "b.npz") for _ in range(2))
    assert data.classes == ("0", "1", "2")
    assert np.array_equal(data.test.images, images[:9].transpose(0, 3, 1, 2))
    assert np.array_equal(data.train.images, again.train.images)
    assert set(data.train.labels[-20:]) == {0, 1, 2}
    rows = {image.tobytes(): label for image, label in zip(data.train.images, data.train.labels, strict=True)}
    assert all(rows[i.transpose(2, 0, 1).tobytes()] == label for i, label in zip(images, labels, strict=True))
    recipe = DataRecipe(kind="npz", train="a.npz", test="b.npz")
    assert len(load_data(recipe, (3, 5, 6), tmp_path).train) == 60
    with pytest.raises(DataError, match=r"train images are \[3, 5, 6\], but the model takes \[1, 5, 6\]"):
        load_data(recipe, (1, 5, 6), tmp_path)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((3, 4, 4), np.uint8)}, "no array 'y'"),
        ({"x": np.zeros((3, 4, 4)), "y": np.zeros(3, int)}, "x is float64|float"),
        ({"x": np.zeros((3, 4), np.uint8), "y": np.zeros(3, int)}, r"x is uint8 \[3, 4\]"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.zeros(2, int)}, r"y is int64 \[2\]"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.array([0, 1, -1])}, "a class from 0 to 255"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.array([0, 1, 256])}, "a class from 0 to 255"),
    ],
)
def test_other_arrays_are_refused(arrays: dict[str, np.ndarray], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=said):
        load_npz(tmp_path / "a.npz", tmp_path / "a.npz")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra `train`)")
    rng = np.random.default_rng(2)
    for part, count in (("train", 9), ("test", 2)):
        for name in ("cat", "ant", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (5, 4, 3), np.uint8)
                pixels[0, 0] = {"ant": 10, "cat": 20, "dog": 30}[name]
                image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def test_folders_of_images_are_classes_by_name(pictures: Path) -> None:
    (pictures / "train" / "cat" / "notes.txt").write_text("none of them")
    data = load_image_folder(pictures, (3, 5, 4))
    assert data.classes == ("ant", "cat", "dog")
    assert data.train.images.shape == (27, 3, 5, 4)
    assert np.array_equal(data.train.images[:, 0, 0, 0], 10 + 10 * data.train.labels)
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert load_image_folder(pictures, (1, 5, 4)).train.images.shape == (27, 1, 5, 4)


def test_folders_that_are_not_whole_are_refused(pictures: Path) -> None:
    with pytest.raises(DataError, match="0 folders; make one for each"):
        load_image_folder(pictures / "absent", (3, 5, 4))
    with pytest.raises(DataError, match=r"4x5 pixels, but the model takes 6x6; resize"):
        load_image_folder(pictures, (3, 6, 6))
    with pytest.raises(DataError, match="has 2 channels"):
        load_image_folder(pictures, (2, 5, 4))
    (pictures / "train" / "cat" / "0.png").write_bytes(b"PNG")
    with pytest.raises(DataError, match=r"0\.png: no image that can be read"):
        load_image_folder(pictures, (3, 5, 4))
    for file in (pictures / "train" / "cat").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"cat: no images"):
        load_image_folder(pictures, (3, 5, 4))
    (pictures / "test" / "cow").mkdir()
    with pytest.raises(DataError, match="not the same folders"):
        load_image_folder(pictures, (3, 5, 4))


def test_mnist_is_read_as_fashion_mnist_is(tmp_path: Path) -> None:
    for prefix, count in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 3, 4] = np.arange(count) % 256
        labels = (np.arange(count) % 10).astype(np.uint8)
        for array, name in ((images, "images-idx3"), (labels, "labels-idx1")):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (tmp_path / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes(), 1))
    data = load_data(DataRecipe(kind="mnist", path=str(tmp_path)), (1, 28, 28))
    assert data.classes == tuple("0123456789")
    assert data.train.images[59_999, 0, 3, 4] == 59_999 % 256
