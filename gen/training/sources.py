"""Data sets beside Fashion-MNIST: MNIST, CIFAR-10's official archive, ``.npz`` files, folders of images.

No file is ever unpickled, and no archive extracted.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import DataError, TrainingError
from xnorweave.network_file import read_arrays
from xnorweave.training.datasets import (
    FASHION_MNIST_FOLDER,
    Dataset,
    LabelledImages,
    load_fashion_mnist,
    load_idx_folder,
)
from xnorweave.training.recipe import DataRecipe

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"

_CIFAR10_RECORDS = 10_000
_CIFAR10_RECORD_BYTES = 1 + 3 * 32 * 32
_CIFAR10_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_CIFAR10_TEST = "test_batch.bin"
_SHUFFLE_SEED = 0
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm")
_MOST_CLASSES = 256


def load_data(recipe: DataRecipe, image_shape: tuple[int, int, int], folder: Path = Path()) -> Dataset:
    """Load the data that a recipe names.

    Parameters
    ----------
    recipe : DataRecipe
        Kind and place.
    image_shape : tuple[int, int, int]
        Channels, height, width that the model takes.
    folder : Path
        What relative paths are relative to.

    Raises
    ------
    DataError
        If the data is missing, damaged, or of another size than the model takes.
    """
    path = folder / (recipe.path or "")
    match recipe.kind:
        case "fashion-mnist":
            data = load_fashion_mnist(path if recipe.path else FASHION_MNIST_FOLDER)
        case "mnist":
            data = load_idx_folder(path, classes=tuple("0123456789"), remedy="put MNIST's four .gz files there")
        case "cifar10":
            data = load_cifar10(path)
        case "npz":
            train, test = folder / (recipe.train or ""), folder / (recipe.test or "")
            data = load_npz(train, test, classes=recipe.classes)
        case "folder":
            data = load_image_folder(path, image_shape)
    for name, part in (("train", data.train), ("test", data.test)):
        if part.images.shape[1:] != image_shape:
            raise DataError(
                f"{recipe.kind}: {name} images are {list(part.images.shape[1:])}, but the model takes "
                f"{list(image_shape)} (channels, height, width); set image_shape in the recipe's [model]"
            )
    return data


def load_cifar10(path: Path) -> Dataset:
    """Load CIFAR-10 in its binary version: 50,000 training and 10,000 test images, 32 x 32 pixels of three colours.

    Parameters
    ----------
    path : Path
        The archive ``cifar-10-binary.tar.gz``, or the folder of it with the six ``.bin`` files.

    Raises
    ------
    DataError
        If a file is missing or not of the official size.

    References
    ----------
    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    names = (*_CIFAR10_TRAIN, _CIFAR10_TEST)
    files = {name: _read_file(path / name) for name in names} if path.is_dir() else _read_archive(path, names)
    parts = [_cifar10_part(files[name], f"{path}: {name}") for name in names]
    train = LabelledImages(
        images=np.concatenate([part.images for part in parts[:-1]]),
        labels=np.concatenate([part.labels for part in parts[:-1]]),
    )
    return Dataset(classes=CIFAR10_CLASSES, train=train, test=parts[-1])


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_CIFAR10_RECORDS * _CIFAR10_RECORD_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); name the archive cifar-10-binary.tar.gz from "
            f"{CIFAR10_ADDRESS}, or the folder with its .bin files"
        ) from error


def _read_archive(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Read the files of these names, wherever they are in the archive, into memory."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = Path(member.name).name
                if name in names and member.isfile() and name not in found:
                    content = archive.extractfile(member)
                    assert content is not None, "a regular file"
                    found[name] = content.read(_CIFAR10_RECORDS * _CIFAR10_RECORD_BYTES + 1)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(
            f"{path}: no archive that can be read ({error}); fetch cifar-10-binary.tar.gz from {CIFAR10_ADDRESS}"
        ) from error
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"{path}: has no {missing[0]}; take the binary version, {CIFAR10_ADDRESS} (the Python version holds "
            "pickles, which are never read)"
        )
    return found


def _cifar10_part(content: bytes, place: str) -> LabelledImages:
    if len(content) != _CIFAR10_RECORDS * _CIFAR10_RECORD_BYTES:
        raise DataError(
            f"{place}: {'more' if len(content) > _CIFAR10_RECORDS * _CIFAR10_RECORD_BYTES else 'less'} than "
            f"{_CIFAR10_RECORDS} records of {_CIFAR10_RECORD_BYTES} bytes; fetch the archive again"
        )
    records = np.frombuffer(content, np.uint8).reshape(_CIFAR10_RECORDS, _CIFAR10_RECORD_BYTES)
    return LabelledImages(images=records[:, 1:].reshape(-1, 3, 32, 32).copy(), labels=records[:, 0].copy())


def load_npz(train: Path, test: Path, *, classes: tuple[str, ...] = ()) -> Dataset:
    """Load two ``.npz`` files of images ``x`` [N, height, width] or [N, height, width, channels] and labels ``y`` [N].

    Training images are shuffled, always alike, so that those held out are of all classes.

    Parameters
    ----------
    train, test : Path
        The files.
    classes : tuple[str, ...]
        Names of the classes; their numbers where empty.

    Raises
    ------
    DataError
        If a file is damaged, lacks an array, or holds something else than images of bytes and labels up to 255.
    """
    parts = [_npz_part(path) for path in (train, test)]
    count = 1 + max(int(part.labels.max(initial=0)) for part in parts)
    return Dataset(classes=classes or tuple(map(str, range(count))), train=_shuffled(parts[0]), test=parts[1])


def _npz_part(path: Path) -> LabelledImages:
    arrays = read_arrays(path, kinds="iub", error=DataError)
    if missing := [name for name in ("x", "y") if name not in arrays]:
        raise DataError(f"{path}: no array {missing[0]!r}; keep images as x and their classes as y")
    images, labels = arrays["x"], arrays["y"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not len(images):
        raise DataError(
            f"{path}: x is {images.dtype} {list(images.shape)}; expected uint8 [N, height, width] or "
            "[N, height, width, channels]"
        )
    if labels.shape != images.shape[:1] or labels.min() < 0 or labels.max() >= _MOST_CLASSES:
        raise DataError(
            f"{path}: y is {labels.dtype} {list(labels.shape)}; expected a class from 0 to {_MOST_CLASSES - 1} for "
            f"each of {len(images)} images"
        )
    images = images[..., None] if images.ndim == 3 else images
    return LabelledImages(images=np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels=labels.astype(np.uint8))


def load_image_folder(path: Path, image_shape: tuple[int, int, int]) -> Dataset:
    """Load a folder with ``train`` and ``test``, each with a folder of images for each class.

    Training images are shuffled, always alike, so that those held out are of all classes.

    Parameters
    ----------
    path : Path
        The folder; classes are in the order of their folders' names.
    image_shape : tuple[int, int, int]
        Channels (1: grey, 3: red, green, blue), height, width; images are converted to these channels, but not resized.

    Raises
    ------
    DataError
        If a folder is missing or empty, or an image is damaged or of another size.
    TrainingError
        If Pillow is not installed.
    """
    if image_shape[0] not in (1, 3):
        raise DataError(f"{path}: image_shape={image_shape} has {image_shape[0]} channels; files of images have 1 or 3")
    classes = _folders(path / "train")
    if _folders(path / "test") != classes:
        raise DataError(f"{path / 'test'}: not the same folders as in {path / 'train'}; make one for each class")
    train, test = (_folder_part(path / part, classes, image_shape) for part in ("train", "test"))
    return Dataset(classes=tuple(classes), train=_shuffled(train), test=test)


def _folders(path: Path) -> list[str]:
    found = sorted(entry.name for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
    if not 1 < len(found) <= _MOST_CLASSES:
        raise DataError(f"{path}: {len(found)} folders; make one for each of 2 to {_MOST_CLASSES} classes")
    return found


def _folder_part(path: Path, classes: list[str], image_shape: tuple[int, int, int]) -> LabelledImages:
    images, labels = [], []
    for label, name in enumerate(classes):
        files = sorted(file for file in (path / name).iterdir() if file.suffix.lower() in _IMAGE_SUFFIXES)
        if not files:
            raise DataError(f"{path / name}: no images ({', '.join(_IMAGE_SUFFIXES)}); put some there")
        images += [_read_image(file, image_shape) for file in files]
        labels += [label] * len(files)
    return LabelledImages(images=np.stack(images), labels=np.array(labels, np.uint8))


def _read_image(path: Path, image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as error:
        raise TrainingError("training: Pillow is not installed; run `pip install xnorweave[train]`") from error
    channels, height, width = image_shape
    try:
        with Image.open(path) as image:
            if image.size != (width, height):
                raise DataError(
                    f"{path}: {image.width}x{image.height} pixels, but the model takes {width}x{height}; resize the "
                    "image, or set image_shape in the recipe's [model]"
                )
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), np.uint8)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: no image that can be read ({error}); remove it") from error
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def _shuffled(part: LabelledImages) -> LabelledImages:
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(part))
    return LabelledImages(images=part.images[order], labels=part.labels[order])
