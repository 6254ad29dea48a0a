from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xnorweave.errors import DataError
from xnorweave.images import as_frames, load_images, shipped
from xnorweave.network import Dense, InputSpec, Network
from xnorweave.network_file import load_network


def network(kind: Any = "pixels", channels: int = 3) -> Network:
    weights = np.ones((2, channels * 20), np.int8)
    spec = InputSpec(kind=kind, shape=(channels, 4, 5))
    return Network(name="net", input=spec, layers=(Dense(name="fc", weights=weights),))


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def test_images_become_frames_of_channels_rows_columns() -> None:
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    frames = as_frames(network(), images)
    assert frames.shape == (2, 3, 4, 5)
    assert frames.flags.c_contiguous
    assert frames[1, 2, 3, 4] == images[1, 3, 4, 2]


def test_grey_images_need_no_channel() -> None:
    assert as_frames(network(channels=1), np.zeros((7, 4, 5), np.uint8)).shape == (7, 1, 4, 5)


def test_labels_and_limit(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.zeros((6, 4, 5, 3), np.uint8), y=np.arange(6, dtype=np.uint8))
    found = load_images(path, network(), 4)
    assert len(found.frames) == 4
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert load_images(saved(tmp_path, x=np.zeros((6, 4, 5, 3), np.uint8)), network()).labels is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"data\.npz: no array 'x' with images; found nothing|not a readable"),
        ({"z": np.zeros(3, np.uint8)}, r"data\.npz: no array 'x' with images; found z"),
        ({"x": np.zeros((2, 4, 5, 3))}, r"data\.npz: x is of dtype float64, which is not allowed"),
        ({"x": np.zeros((2, 4, 5, 3), np.int16)}, r"data\.npz: images are int16, not uint8; convert them to 0\.\.255"),
        ({"x": np.zeros((2, 5, 4, 3), np.uint8)}, r"images are \[2, 5, 4, 3\], but 'net' takes \[N, 4, 5, 3\]; resize"),
        ({"x": np.zeros((2, 3, 4, 5), np.uint8)}, r"images are \[2, 3, 4, 5\], but 'net' takes"),
        ({"x": np.zeros((2, 4, 5), np.uint8)}, r"images are \[2, 4, 5, 1\], but 'net' takes"),
        ({"x": np.zeros((0, 4, 5, 3), np.uint8)}, r"images are \[0, 4, 5, 3\]|not a readable"),
        (
            {"x": np.zeros((2, 4, 5, 3), np.uint8), "y": np.zeros(3, np.uint8)},
            r"y is uint8 \[3\], not (one|a) class for each",
        ),
        ({"x": np.zeros((2, 4, 5, 3), np.uint8), "y": np.array(["a", "b"])}, r"y is <U1 \[2\], not (one|a) class for"),
        ({"x": np.array([object()])}, r"x is of dtype object|no valid"),
    ],
)
def test_data_that_does_not_fit(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_images(saved(tmp_path, **arrays), network())


@pytest.mark.parametrize("limit", [0, -1, 7])
def test_a_limit_beyond_the_images(limit: int, tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.zeros((6, 4, 5, 3), np.uint8))
    with pytest.raises(DataError, match=rf"{limit} images asked for, but it holds 6; ask for 1 to 6"):
        load_images(path, network(), limit)


def test_bits_are_0_and_1() -> None:
    images = np.ones((2, 4, 5, 3), np.uint8)
    assert as_frames(network("bits"), images).max() == 1
    with pytest.raises(DataError, match=r"images hold 2, but 'net' takes bits; give 0 and 1 only"):
        as_frames(network("bits"), images * 2)


def test_the_shipped_images_fit_the_shipped_network() -> None:
    found = load_images(shipped("fashion_mnist_test200.npz"), load_network(shipped("fashion_mnist.npz")))
    assert found.labels is not None
    assert len(found.frames) == len(found.labels) == 200
    assert set(found.labels.tolist()) == set(range(10))
