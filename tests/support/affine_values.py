"""Values of the golden model beside those of a framework."""

import numpy as np


def affine(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Values of ours are those of a framework but for one rising scale and one offset, and differ among themselves."""
    low, high = int(ours.argmin()), int(ours.argmax())
    scale = (float(theirs.flat[high]) - float(theirs.flat[low])) / (int(ours.flat[high]) - int(ours.flat[low]))
    assert scale > 0
    expected = float(theirs.flat[low]) + scale * (ours.astype(np.float64) - int(ours.flat[low]))
    assert np.abs(theirs - expected).max() < min(1e-5 * np.abs(theirs).max(), scale / 8)
