"""What to train and how: plain data, stored with every checkpoint and result. Needs no PyTorch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from xnorweave.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Shape of a binarized network: convolution stages, then dense layers, then the scores.

    A convolution stage is convolution (stride 1, no padding), max pooling, batch norm, sign; a dense stage is
    dense layer, batch norm, sign. The scores are one more dense layer.

    Parameters
    ----------
    image_shape : tuple[int, int, int]
        Channels, height, width of the uint8 input.
    classes : int
        Number of scores.
    convolutions : tuple[int, ...]
        Output channels of each convolution stage.
    kernel : int
        Side of the convolution windows, in pixels.
    pools : tuple[int, ...]
        Side of the pooling window of each convolution stage, in pixels; 1 where it does not pool.
    dense : tuple[int, ...]
        Output features of each dense stage.
    pixel_shift_bits : int
        Low bits of each pixel that the network does not see: it reads ``pixel >> pixel_shift_bits``.

    Raises
    ------
    TrainingError
        If a count is not positive, a stage lacks its pooling, or nothing remains of the image after a stage.
    """

    image_shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    convolutions: tuple[int, ...] = (12, 16)
    kernel: int = 3
    pools: tuple[int, ...] = (2, 2)
    dense: tuple[int, ...] = (128,)
    pixel_shift_bits: int = 0

    def __post_init__(self) -> None:
        """Check every count, and that the image survives all stages."""
        counts = (*self.image_shape, self.classes, *self.convolutions, self.kernel, *self.pools, *self.dense)
        if min(counts) < 1:
            raise TrainingError(f"model recipe: {min(counts)} in {self}; every count must be 1 or more")
        if len(self.pools) != len(self.convolutions):
            raise TrainingError(
                f"model recipe: pools={self.pools} for {len(self.convolutions)} convolutions; "
                "give one side each, 1 where a stage does not pool"
            )
        if not 0 <= self.pixel_shift_bits <= 7:
            raise TrainingError(f"model recipe: pixel_shift_bits={self.pixel_shift_bits}; use 0 to 7")
        if min(self.feature_shape()) < 1:
            raise TrainingError(
                f"model recipe: image {self.image_shape} shrinks to {self.feature_shape()} after "
                f"{len(self.convolutions)} stages; use fewer stages or a smaller kernel"
            )

    def feature_shape(self) -> tuple[int, int, int]:
        """Return channels, height, width after the convolution stages."""
        channels, height, width = self.image_shape
        for outputs, pool in zip(self.convolutions, self.pools, strict=True):
            height, width = ((side - self.kernel + 1) // pool for side in (height, width))
            channels = outputs
        return channels, height, width


@dataclass(frozen=True, kw_only=True)
class FitRecipe:
    """How to train.

    Parameters
    ----------
    epochs, batch : int
        Passes over the training images; images in one step.
    learning_rate : float
        Of Adam in the first step; it falls to nearly 0 along half a cosine, before the epochs of settling.
    settle_epochs : int
        Last of the epochs, in which weights that flip back and forth are frozen; the rate starts anew at
        ``settle_rate`` and falls along half a cosine again.
    settle_rate : float
        Learning rate at the begin of settling.
    settle_flip_rates : tuple[float, float]
        Share of the steps in which a weight must flip to be frozen, at the begin and at the end of settling.
    seed : int
        Of the initial weights, the order of the images and the augmentation.
    validation_images : int
        Last images of the official training set, held out to choose the best epoch and to compare recipes.
    shift_pixels : int
        Augmentation: largest random shift in each direction.
    flip : bool
        Augmentation: mirror half of the images left to right.
    temperature : float
        Divides the integer scores before the softmax, in training only.
    label_smoothing : float
        Share of the target spread over all classes.
    bfloat16 : bool
        Whether the training steps compute in bfloat16: a fifth faster on processors that have it, and exact for sums
        up to 256. Validation and export always compute in float32 or float64.

    Raises
    ------
    TrainingError
        If a value is out of its range.
    """

    epochs: int
    batch: int = 256
    learning_rate: float = 0.01
    settle_epochs: int = 0
    settle_rate: float = 3e-4
    settle_flip_rates: tuple[float, float] = (0.06, 0.008)
    seed: int = 1
    validation_images: int = 5000
    shift_pixels: int = 0
    flip: bool = False
    temperature: float = 16.0
    label_smoothing: float = 0.0
    bfloat16: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        lowest = {"epochs": 1, "batch": 2, "validation_images": 1, "shift_pixels": 0, "settle_epochs": 0}
        for field, low in lowest.items():
            if getattr(self, field) < low:
                raise TrainingError(f"fit recipe: {field}={getattr(self, field)}; use {low} or more")
        if self.settle_epochs > self.epochs:
            raise TrainingError(
                f"fit recipe: settle_epochs={self.settle_epochs} of epochs={self.epochs}; use at most as many"
            )
        if not min(self.settle_flip_rates) > 0:
            raise TrainingError(f"fit recipe: settle_flip_rates={self.settle_flip_rates}; use more than 0")
        for field in ("learning_rate", "settle_rate", "temperature"):
            if not getattr(self, field) > 0:
                raise TrainingError(f"fit recipe: {field}={getattr(self, field)}; use more than 0")
        if not 0 <= self.label_smoothing < 1:
            raise TrainingError(f"fit recipe: label_smoothing={self.label_smoothing}; use 0 to less than 1")


@dataclass(frozen=True, kw_only=True)
class SharingRecipe:
    """How few distinct kernels the convolutions are trained to have.

    From epoch to epoch each convolution may keep fewer distinct kernels, until after ``anneal_epochs`` it has what is
    asked for; its weights go on learning which of them to use.

    Parameters
    ----------
    codes : tuple[float, ...]
        Of each convolution, the distinct kernels up to inversion of an input channel, in the mean over its input
        channels; 0 for as many as there are. Empty for no constraint at all.
    anneal_epochs : int
        Epochs from all kernels down to these.

    Raises
    ------
    TrainingError
        If a value is out of its range.
    """

    codes: tuple[float, ...] = ()
    anneal_epochs: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        for codes in self.codes:
            if codes != 0 and not codes >= 1:
                raise TrainingError(f"sharing recipe: codes={self.codes}; use 1 or more, or 0 for no constraint")
        if self.anneal_epochs < 1:
            raise TrainingError(f"sharing recipe: anneal_epochs={self.anneal_epochs}; use 1 or more")


DataKind = Literal["fashion-mnist", "mnist", "cifar10", "npz", "folder"]


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Where the images are.

    Parameters
    ----------
    kind : str
        ``fashion-mnist`` and ``mnist``: a folder of four IDX files; ``cifar10``: the archive of its binary version, or
        its folder; ``npz``: two files; ``folder``: a folder with ``train`` and ``test``, and a folder for each class.
    path : str, optional
        Of all kinds but ``npz``; Fashion-MNIST has one of its own.
    train, test : str, optional
        Of ``npz``.
    classes : tuple[str, ...]
        Of ``npz``: names of the classes; their numbers where empty.

    Raises
    ------
    TrainingError
        If the kind is unknown, or lacks its paths.
    """

    kind: DataKind = "fashion-mnist"
    path: str | None = None
    train: str | None = None
    test: str | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the kind is known and has its paths."""
        if self.kind not in get_args(DataKind):
            raise TrainingError(f"data recipe: kind={self.kind!r}; use one of {', '.join(get_args(DataKind))}")
        needed = {"npz": ("train", "test"), "fashion-mnist": ()}.get(self.kind, ("path",))
        for field in needed:
            if getattr(self, field) is None:
                raise TrainingError(f"data recipe: kind={self.kind!r} without {field}; set it in the recipe's [data]")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named network, its shape, and how to train it.

    Parameters
    ----------
    name : str
        Of the network.
    model, fit, sharing : ModelRecipe, FitRecipe, SharingRecipe
        Its shape; how to train it; how few kernels it may have.
    start : str, optional
        Checkpoint of an equal model, whose best epoch is where training starts, instead of random weights.

    Raises
    ------
    TrainingError
        If the parts do not fit together.
    """

    name: str
    model: ModelRecipe
    fit: FitRecipe
    sharing: SharingRecipe = SharingRecipe()
    start: str | None = None

    def __post_init__(self) -> None:
        """Check that there are codes for every convolution or for none."""
        if self.sharing.codes and len(self.sharing.codes) != len(self.model.convolutions):
            raise TrainingError(
                f"sharing recipe: codes={self.sharing.codes} for {len(self.model.convolutions)} convolutions; give one "
                "number for each, 0 for no constraint"
            )
        if self.sharing.codes and self.sharing.anneal_epochs > self.fit.epochs:
            raise TrainingError(
                f"sharing recipe: anneal_epochs={self.sharing.anneal_epochs} of epochs={self.fit.epochs}; use at most "
                "as many"
            )

    def as_dict(self) -> dict[str, object]:
        """Return the recipe as values that JSON can hold; parts that are not used are absent."""
        whole = dataclasses.asdict(self)
        if not self.sharing.codes:
            del whole["sharing"]
        if self.start is None:
            del whole["start"]
        return whole
