"""Draw the images of the tutorial: writes train.npz and test.npz. Needs NumPy alone."""

import numpy as np


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures of 16 x 16 pixels with a disc, a square, a triangle or a cross in each, and which it is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    images, labels = np.zeros((count, 16, 16), np.uint8), rng.integers(0, 4, count, np.uint8)
    for image, label in zip(images, labels, strict=True):
        size, row, column = rng.uniform(4, 6), *rng.uniform(6, 9, 2)
        v, h = y - row, x - column
        shape = (
            v**2 + h**2 < size**2,
            np.maximum(abs(v), abs(h)) < size * 0.85,
            (abs(h) < (v + size) / 2) & (v < size),
            (np.minimum(abs(v), abs(h)) < 1.5) & (np.maximum(abs(v), abs(h)) < size),
        )[label]
        image[:] = np.clip(np.where(shape, 190, 60) + rng.normal(0, 25, (16, 16)), 0, 255)
    return images, labels


for name, count, seed in (("train", 4000, 1), ("test", 500, 2)):
    images, labels = draw(count, seed)
    np.savez_compressed(f"{name}.npz", x=images, y=labels)
    print(f"{name}.npz: {count} images")
