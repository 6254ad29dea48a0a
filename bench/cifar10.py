"""CIFAR-10 as its binary archive, from the JPEG files of the folder that XNORWEAVE_SHARED names.

Run as ``python bench/cifar10.py FOLDER``: writes the six ``.bin`` files of the official archive's form, which
`xnorweave train --data FOLDER` reads. The pixels are those of the JPEG files, so networks trained on them compare with
each other, and on the JPEG test images with FINN's, but not with figures of the original pixels.
"""

import argparse
import io
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("XNORWEAVE_SHARED") or ROOT.parent / "shared")


def train_images() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Training images [50000, 32, 32, 3] and their classes."""
    with np.load(SHARED / "data" / "cifar10_train_jpeg.npz", allow_pickle=False) as arrays:
        content, offsets, labels = arrays["jpeg"], arrays["offsets"], arrays["y"]
    files = (content[start:stop].tobytes() for start, stop in pairwise(offsets))
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]), labels


def test_images() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Test images [10000, 32, 32, 3] and their classes."""
    with np.load(SHARED / "data" / "cifar10_test.npz", allow_pickle=False) as arrays:
        return arrays["x"], arrays["y"]


def write_binary(folder: Path) -> None:
    """Write the six files."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = train_images()
    batches = zip(np.split(images, 5), np.split(labels, 5), strict=True)
    parts = [(f"data_batch_{number}.bin", *batch) for number, batch in enumerate(batches, 1)]
    for name, pixels, classes in (*parts, ("test_batch.bin", *test_images())):
        planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        (folder / name).write_bytes(np.concatenate([classes[:, None], planes], axis=1).astype(np.uint8).tobytes())


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    write_binary(parser.parse_args().folder)


if __name__ == "__main__":
    main()
