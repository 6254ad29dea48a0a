"""Values of the golden model beside those of a framework."""

import numpy as np

from xnorweave.network import Network, Scale


def affine(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Values of ours are those of a framework but for one rising scale and one offset, and differ among themselves."""
    low, high = int(ours.argmin()), int(ours.argmax())
    scale = (float(theirs.flat[high]) - float(theirs.flat[low])) / (int(ours.flat[high]) - int(ours.flat[low]))
    assert scale > 0
    expected = float(theirs.flat[low]) + scale * (ours.astype(np.float64) - int(ours.flat[low]))
    assert np.abs(theirs - expected).max() < min(1e-5 * np.abs(theirs).max(), scale / 8)


def affine_scores(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Scores of ours [images, classes] are a framework's but for one rising scale and an offset of each class."""
    ours = ours.astype(np.float64)
    spread = np.ptp(ours, 0)
    column = theirs[:, int(spread.argmax())]
    # Scores of one image, or of images alike, tell no scale.
    scale = float(np.ptp(column)) / float(spread.max()) if spread.max() else 1.0
    offsets = theirs[0] - scale * ours[0]
    assert scale > 0
    assert np.abs(theirs - scale * ours - offsets).max() < min(1e-5 * np.abs(theirs).max(), scale / 8)


def is_scaled(network: Network) -> bool:
    """Whether scores of ours are in the order of a framework's alone, image by image."""
    return any(isinstance(layer, Scale) for layer in network.layers)


def same_choices(ours: np.ndarray, theirs: np.ndarray, where: str = "") -> None:
    """Of every two classes of an image [images, classes] the same one has the larger score, or neither."""
    orders = [np.sign(values[:, :, None] - values[:, None]) for values in (ours, theirs)]
    assert np.array_equal(*orders), where


def class_scores(network: Network, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Scores are a framework's as `affine_scores` has it, or behind a `Scale` as `same_choices`."""
    same_choices(ours, theirs) if is_scaled(network) else affine_scores(ours, theirs)


def same_order(ours: np.ndarray, theirs: np.ndarray, where: str) -> None:
    """Values of theirs for one of ours are one but for how float32 rounds a sum, and those of a larger one are larger.

    A framework rounds the terms of a sum as they come, so equal sums of several images may differ in the last bits.
    """
    values, which = np.unique(ours, return_inverse=True)
    found = [theirs.ravel()[which.ravel() == n].astype(np.float64) for n in range(len(values))]
    low, high = (np.array([pick(group) for group in found]) for pick in (np.min, np.max))
    gaps = low[1:] - high[:-1]
    assert np.all(gaps > 0), f"{where}: the order differs: {values}, {low} to {high}"
    widest = float((high - low).max())
    rounding = 1e-3 * float(gaps.min()) if len(gaps) else 1e-6 * float(np.abs(theirs).max())
    assert widest <= rounding, f"{where}: one value of ours is several of theirs: {values}, {low} to {high}"
