"""The training loop: Adam at a falling rate, the best epoch by validation, checkpoints that survive a killed run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xnorweave.errors import TrainingError
from xnorweave.passes.kernels import count_kernels
from xnorweave.training.augment import augment
from xnorweave.training.binarize import BinaryConv2d, clip_weights
from xnorweave.training.codebook import codes_after
from xnorweave.training.datasets import LabelledImages
from xnorweave.training.freeze import Freezer
from xnorweave.training.models import BinaryNetwork
from xnorweave.training.recipe import FitRecipe, Recipe

_EVALUATION_BATCH = 1000
_NORM_IMAGES = 12_800


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """Outcome of a training run.

    Parameters
    ----------
    model : BinaryNetwork
        With the weights of the best epoch, in evaluation mode.
    best_epoch : int
        Counted from 1.
    norms_estimated : bool
        Whether its batch norm statistics are those of `estimate_norms`, not the running ones of the training.
    validation_correct, validation_images : int
        Of the best epoch.
    seconds : float
        Time spent in training, in all runs that the checkpoint saw.
    """

    model: BinaryNetwork
    best_epoch: int
    norms_estimated: bool
    validation_correct: int
    validation_images: int
    seconds: float


class Trainer:
    """One training run; `run` goes on from the checkpoint if there is one of the same recipe.

    Parameters
    ----------
    recipe : Recipe
        What to train and how.
    images : LabelledImages
        The official training images; the recipe's last ``validation_images`` are held out.
    checkpoint : Path or None
        File that is written after every epoch.
    start : Path or None
        Checkpoint of an equal model, whose best weights are the first ones here.
    device : str
        Of PyTorch, for the steps.
    progress : callable
        Receives one line after every epoch, and how many are done.

    Raises
    ------
    TrainingError
        If too few images remain for training, or a checkpoint is damaged or of another recipe or model.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: LabelledImages,
        *,
        checkpoint: Path | None = None,
        start: Path | None = None,
        device: str = "cpu",
        progress: Callable[[str, int], None] = lambda line, epoch: None,
    ) -> None:
        self._recipe, self._checkpoint, self._progress = recipe, checkpoint, progress
        fit = recipe.fit
        count = len(images) - fit.validation_images
        if count < fit.batch:
            raise TrainingError(
                f"{recipe.name}: {count} images remain after {fit.validation_images} for validation, "
                f"batch={fit.batch}; use a smaller batch or hold out fewer"
            )
        self._train, self._validation = images.part(0, count), images.part(count, len(images))
        self._generator = torch.Generator().manual_seed(fit.seed)
        torch.manual_seed(fit.seed)
        self._model = BinaryNetwork(recipe.model, recipe.sharing)
        if start is not None:
            load_start(self._model, start)
            self._limit_kernels(0)
        self._device = torch.device(device)
        self._model.to(self._device)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=fit.learning_rate)
        self._steps_per_epoch = count // fit.batch
        self._epoch, self._best_epoch, self._best_correct, self._seconds = 0, 0, -1, 0.0
        self._best_state: dict[str, Tensor] = {}
        self._freezer: Freezer | None = None
        if checkpoint is not None and checkpoint.exists():
            self._restore(load_checkpoint(checkpoint, recipe))

    def run(self) -> FitResult:
        """Train the epochs that are still to do and return the best."""
        images, labels = _tensors(self._train)
        while self._epoch < self._recipe.fit.epochs:
            start = time.monotonic()
            loss, correct = self._run_epoch(images, labels)
            self._epoch += 1
            self._limit_kernels(self._epoch)
            validation_correct = count_correct(self._model, self._validation)
            self._seconds += time.monotonic() - start
            if validation_correct > self._best_correct and self._annealed():
                self._best_epoch, self._best_correct = self._epoch, validation_correct
                self._best_state = {name: value.clone() for name, value in self._model.state_dict().items()}
            if self._checkpoint is not None:
                save_checkpoint(self._checkpoint, self._recipe, self._state())
            self._progress(
                f"{self._recipe.name}: epoch {self._epoch}/{self._recipe.fit.epochs} loss {loss:.4f} train "
                f"{correct:.4f} validation {validation_correct / len(self._validation):.4f} best "
                f"{self._best_correct / len(self._validation):.4f} ({self._seconds:.0f} s)",
                self._epoch,
            )
        return self._finish(images)

    def _finish(self, images: Tensor) -> FitResult:
        """Return the best epoch, or the last with its batch norm statistics estimated anew if that is better."""
        estimate_norms(self._model, images[:_NORM_IMAGES], self._recipe.fit.batch)
        validation_correct = count_correct(self._model, self._validation)
        estimated = validation_correct > self._best_correct
        if not estimated:
            self._model.load_state_dict(self._best_state)
        return FitResult(
            model=self._model.cpu().eval(),
            best_epoch=self._epoch if estimated else self._best_epoch,
            norms_estimated=estimated,
            validation_correct=max(validation_correct, self._best_correct),
            validation_images=len(self._validation),
            seconds=self._seconds,
        )

    def _run_epoch(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Train one epoch; return the mean loss and the share of training images that were right."""
        fit = self._recipe.fit
        self._model.train()
        order = torch.randperm(len(labels), generator=self._generator)
        loss_sum, correct = 0.0, 0
        for step in range(self._steps_per_epoch):
            chosen = order[step * fit.batch : (step + 1) * fit.batch]
            self._set_learning_rate(self._epoch * self._steps_per_epoch + step)
            batch = augment(images[chosen], shift_pixels=fit.shift_pixels, flip=fit.flip, generator=self._generator)
            loss, batch_correct = self._step(batch, labels[chosen])
            self._settle(self._epoch * self._steps_per_epoch + step)
            loss_sum += loss
            correct += batch_correct
        return loss_sum / self._steps_per_epoch, correct / (self._steps_per_epoch * fit.batch)

    def _step(self, images: Tensor, labels: Tensor) -> tuple[float, int]:
        fit = self._recipe.fit
        images, labels = images.to(self._device), labels.to(self._device)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=fit.bfloat16):
            scores = self._model(images).float()
        loss = functional.cross_entropy(scores / fit.temperature, labels, label_smoothing=fit.label_smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        clip_weights(self._model)
        return float(loss.detach()), int((scores.argmax(1) == labels).sum())

    def _annealed(self) -> bool:
        """Whether the convolutions have as few kernels as the recipe asks for."""
        return not self._recipe.sharing.codes or self._epoch >= self._recipe.sharing.anneal_epochs

    def _limit_kernels(self, epochs: int) -> None:
        """Choose the codebooks for what comes after so many epochs; once annealed they stay."""
        sharing = self._recipe.sharing
        if not sharing.codes or epochs > sharing.anneal_epochs:
            return
        for layer in range(len(sharing.codes)):
            module = self._model.layers.get_submodule(f"conv{layer + 1}")
            assert isinstance(module, BinaryConv2d)
            if module.sharing:
                inputs = module.in_channels
                distinct = count_kernels(module.weight.detach().sign().cpu().numpy()).distinct_mod_inverse
                codes = codes_after(sharing, layer, distinct / inputs, epochs)
                module.limit_kernels(round(inputs * codes))

    def _set_learning_rate(self, step: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._recipe.fit, step, self._steps_per_epoch)

    def _settle(self, step: int) -> None:
        """Freeze restless weights, once settling has begun."""
        fit = self._recipe.fit
        share = settling_share(fit, step, self._steps_per_epoch)
        if share < 0:
            return
        if self._freezer is None:
            self._freezer = Freezer(self._model)
        first, last = fit.settle_flip_rates
        self._freezer.step(first * (last / first) ** share)

    def _state(self) -> dict[str, Any]:
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "freezer": None if self._freezer is None else self._freezer.state_dict(),
            "generator": self._generator.get_state(),
            "best": self._best_state,
            "epoch": self._epoch,
            "best_epoch": self._best_epoch,
            "best_correct": self._best_correct,
            "seconds": self._seconds,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if state["freezer"] is not None:
            self._freezer = Freezer(self._model)
            self._freezer.load_state_dict(state["freezer"])
        self._generator.set_state(state["generator"])
        self._best_state = state["best"]
        self._epoch, self._best_epoch = state["epoch"], state["best_epoch"]
        self._best_correct, self._seconds = state["best_correct"], state["seconds"]


def settling_share(fit: FitRecipe, step: int, steps_per_epoch: int) -> float:
    """Return how far settling has come before ``step``: below 0 before it begins, towards 1 at its end."""
    settle_steps = fit.settle_epochs * steps_per_epoch
    return (step - fit.epochs * steps_per_epoch + settle_steps) / settle_steps if settle_steps else -1.0


def learning_rate(fit: FitRecipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of ``step``: half a cosine down to nearly 0, and another one for settling."""
    rate, share = fit.settle_rate, settling_share(fit, step, steps_per_epoch)
    if share < 0:
        rate, share = fit.learning_rate, step / ((fit.epochs - fit.settle_epochs) * steps_per_epoch)
    return float(rate * 0.5 * (1.0 + np.cos(np.pi * share)))


def estimate_norms(model: BinaryNetwork, images: Tensor, batch: int) -> None:
    """Set every batch norm's statistics to the mean over batches of ``images``, with the weights as they are.

    The running statistics of the training average over weights that still flip, which binary sums feel strongly.

    Parameters
    ----------
    model : BinaryNetwork
        Changed in place; left in evaluation mode.
    images : Tensor of uint8, shape [count, channels, height, width]
        Training images.
    batch : int
        Images at a time; a rest that does not fill a batch is left out.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta, device = [norm.momentum for norm in norms], next(model.parameters()).device
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's spelling of a plain average
    model.train()
    with torch.no_grad():
        for start in range(0, len(images) - batch + 1, batch):
            model(images[start : start + batch].to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def predict(model: BinaryNetwork, images: LabelledImages) -> np.ndarray:
    """Return the class of every image, uint8 [count], the lowest where scores tie; leaves evaluation mode on."""
    model.eval()
    pixels, _ = _tensors(images)
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [model(part.to(device)).argmax(1).cpu() for part in pixels.split(_EVALUATION_BATCH)]
    return torch.cat(parts).to(torch.uint8).numpy()


def count_correct(model: BinaryNetwork, images: LabelledImages) -> int:
    """Return how many images the model classifies right."""
    return int((predict(model, images) == images.labels).sum())


def save_checkpoint(path: Path, recipe: Recipe, state: dict[str, Any]) -> None:
    """Write ``state`` with its recipe; a killed run leaves the file before or the file after, never a part."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        torch.save({"recipe": json.dumps(recipe.as_dict(), sort_keys=True), "state": state}, temporary)
        temporary.replace(path)
    except OSError as error:
        raise TrainingError(f"{path}: cannot write the checkpoint ({error}); choose another --checkpoint") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, recipe: Recipe) -> dict[str, Any]:
    """Read the state that `save_checkpoint` wrote for the same recipe; runs no code from the file.

    Raises
    ------
    TrainingError
        If the file is damaged or of another recipe.
    """
    stored, state = _read_checkpoint(path, "delete it")
    if stored != json.dumps(recipe.as_dict(), sort_keys=True):
        raise TrainingError(f"{path}: checkpoint of another recipe; delete it or choose another --checkpoint")
    return state


def load_start(model: BinaryNetwork, path: Path) -> None:
    """Take over the best weights of a checkpoint; runs no code from the file.

    Parameters
    ----------
    model : BinaryNetwork
        Changed in place; its codebooks, if it has any, stay.
    path : Path
        A checkpoint of a model of the same shape.

    Raises
    ------
    TrainingError
        If the file is absent or damaged, has no finished epoch, or is of a model of another shape.
    """
    if not path.exists():
        raise TrainingError(f"{path}: no such checkpoint to start from; train its recipe first with --checkpoint")
    _, state = _read_checkpoint(path, "train it again")
    best = {name: value for name, value in state.get("best", {}).items() if not name.endswith(".books")}
    own = {name: value for name, value in model.state_dict().items() if not name.endswith(".books")}
    if {name: value.shape for name, value in best.items()} != {name: value.shape for name, value in own.items()}:
        raise TrainingError(f"{path}: checkpoint of a model of another shape; start from one of the same [model]")
    model.load_state_dict(best, strict=False)


def _read_checkpoint(path: Path, remedy: str) -> tuple[str, dict[str, Any]]:
    """Return recipe and state of a file."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        stored, state = content["recipe"], content["state"]
    except Exception as error:  # torch.load documents no closed list of errors for damaged files
        raise TrainingError(f"{path}: not a whole checkpoint ({type(error).__name__}); {remedy}") from error
    return stored, state


def _tensors(images: LabelledImages) -> tuple[Tensor, Tensor]:
    return torch.tensor(images.images), torch.tensor(images.labels, dtype=torch.int64)
