"""Train: a recipe to a checked network file."""

import dataclasses
import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from xnorweave.commands.source import Report, head
from xnorweave.console import Stages
from xnorweave.errors import TrainingError
from xnorweave.network_file import load_network
from xnorweave.training.presets import PRESETS, preset
from xnorweave.training.recipe import DataRecipe, Recipe
from xnorweave.training.recipe_file import read_recipe
from xnorweave.training.sources import load_data

__all__ = ["TrainOptions", "recipe_to_train", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train, beside the recipe.

    Parameters
    ----------
    data : Path, optional
        Where the images are, instead of the recipe's ``data.path``.
    checkpoint : Path, optional
        File to keep after each epoch, and to go on from.
    epochs : int, optional
        Other number of epochs than the preset's, divided alike.
    threads : int
        Of PyTorch; results repeat for equal numbers.
    device : {"auto", "cpu", "cuda"}
        Where the steps are computed; ``auto``: a GPU where PyTorch sees one.
    samples : Path, optional
        File for 200 test images with their labels and the model's classes.
    report : Path, optional
        File for recipe and accuracy.
    """

    data: Path | None = None
    checkpoint: Path | None = None
    epochs: int | None = None
    threads: int = 1
    device: str = "auto"
    samples: Path | None = None
    report: Path | None = None


def train(text: str, output: Path, options: TrainOptions, stages: Stages) -> Report:
    """Train a network, export it, and check the file against the model on every test image.

    Parameters
    ----------
    text : str
        The word of a preset, or a recipe file.
    output : Path
        Network file to write.
    options : TrainOptions
        How to train.
    stages : Stages
        Told how far it is.

    Raises
    ------
    TrainingError
        If the recipe is not sound, PyTorch is absent, or training cannot go on.
    DataError
        If the images are missing or damaged.
    MismatchError
        If the written file and the model disagree; the file is removed.
    """
    recipe, data = recipe_to_train(text, options)
    folder = Path() if text in PRESETS or options.data is not None else Path(text).parent
    run = importlib.import_module("xnorweave.training.run")
    images = load_data(data, recipe.model.image_shape, folder)
    stages.start(f"training {recipe.name}", recipe.fit.epochs)

    def told(line: str, epoch: int) -> None:
        stages.advance(epoch)
        stages.note(line)

    report = run.train_network(
        recipe,
        images,
        run.Outputs(network=output, samples=options.samples, report=options.report),
        run.Engine(
            checkpoint=options.checkpoint,
            start=None if recipe.start is None else Path(text).parent / recipe.start,
            device=options.device,
            threads=options.threads,
        ),
        progress=told,
    )
    return head(load_network(output)) | {"training": report, "written": str(output)}


def recipe_to_train(text: str, options: TrainOptions) -> tuple[Recipe, DataRecipe]:
    """The recipe that ``text`` names, and where its images are.

    Raises
    ------
    TrainingError
        Where it is no recipe, the options do not go with it, or PyTorch is absent.
    """
    recipe, data = _recipe(text, options)
    if importlib.util.find_spec("torch") is None:
        raise TrainingError("training: PyTorch is not installed; run `pip install xnorweave[train]`")
    return recipe, data


def _recipe(text: str, options: TrainOptions) -> tuple[Recipe, DataRecipe]:
    if text in PRESETS:
        recipe, data = preset(text, epochs=options.epochs), DataRecipe()
    elif options.epochs is not None:
        raise TrainingError(f"{text}: --epochs is for presets ({', '.join(PRESETS)}); set epochs in the file's [fit]")
    elif not Path(text).suffix:
        raise TrainingError(f"{text!r} is no preset ({', '.join(PRESETS)}); name one, or a recipe file .toml")
    else:
        recipe, data = read_recipe(Path(text))
    if options.data is None:
        return recipe, data
    if data.kind == "npz":
        raise TrainingError(f"{text}: its data are two .npz files, which --data cannot name; set them in its [data]")
    return recipe, dataclasses.replace(data, path=str(options.data))
