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
    "fashion-mnist-8bit": Recipe(name="fashion_mnist_8bit", model=ModelRecipe(convolutions=(16, 16)), fit=_FIT),
    "fashion-mnist-8bit-12": Recipe(name="fashion_mnist_8bit_12", model=ModelRecipe(convolutions=(12, 16)), fit=_FIT),
    "fashion-mnist-2bit": Recipe(
        name="fashion_mnist_2bit", model=ModelRecipe(convolutions=(16, 16), pixel_shift_bits=6), fit=_FIT
    ),
}
"""Name on the command line to recipe. ``fashion-mnist`` is the shipped network."""


def preset(name: str, *, epochs: int | None = None) -> Recipe:
    """Return the recipe called ``name``, with another number of epochs where one is given.

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
    return dataclasses.replace(recipe, fit=dataclasses.replace(recipe.fit, epochs=epochs))
