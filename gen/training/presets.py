"""The recipes that ship with the package, by name. Needs no PyTorch."""

from __future__ import annotations

import dataclasses

from xnorweave.errors import TrainingError
from xnorweave.training.recipe import FitRecipe, ModelRecipe, Recipe

_FIT = FitRecipe(epochs=20, learning_rate=0.003)

PRESETS = {
    "fashion-mnist": Recipe(
        name="fashion_mnist", model=ModelRecipe(convolutions=(16, 16), pixel_shift_bits=4), fit=_FIT
    ),
    "fashion-mnist-fast": Recipe(
        name="fashion_mnist_fast",
        model=ModelRecipe(convolutions=(24, 28), dense=(96,), pixel_shift_bits=4),
        fit=FitRecipe(epochs=90, settle_epochs=25, learning_rate=0.01),
    ),
    "fashion-mnist-8bit": Recipe(name="fashion_mnist_8bit", model=ModelRecipe(convolutions=(16, 16)), fit=_FIT),
    "fashion-mnist-8bit-12": Recipe(name="fashion_mnist_8bit_12", model=ModelRecipe(convolutions=(12, 16)), fit=_FIT),
    "fashion-mnist-2bit": Recipe(
        name="fashion_mnist_2bit", model=ModelRecipe(convolutions=(16, 16), pixel_shift_bits=6), fit=_FIT
    ),
}
"""Name on the command line to recipe.

``fashion-mnist`` is the shipped network; ``fashion-mnist-fast`` fills an iCE40 UP5K with wired and folded layers. The
others are small enough to wire their convolutions.
"""


def preset(name: str, *, epochs: int | None = None) -> Recipe:
    """Return the recipe called ``name``, with another number of epochs, divided alike, where one is given.

    Raises
    ------
    TrainingError
        If there is no such recipe.
    """
    if name not in PRESETS:
        raise TrainingError(f"preset {name!r}: unknown; choose {', '.join(PRESETS)}")
    recipe = PRESETS[name]
    if epochs is None:
        return recipe
    settle_epochs = epochs * recipe.fit.settle_epochs // recipe.fit.epochs
    return dataclasses.replace(recipe, fit=dataclasses.replace(recipe.fit, epochs=epochs, settle_epochs=settle_epochs))
