"""Train a preset, export it, check it, and write its files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xnorweave.errors import MismatchError, TrainingError
from xnorweave.network_file import load_network, save_network
from xnorweave.training.datasets import Dataset
from xnorweave.training.export import Verification, export_network, verify
from xnorweave.training.fit import FitResult, Trainer
from xnorweave.training.recipe import Recipe

_SAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Files that a run writes.

    Parameters
    ----------
    network : Path
        The network file.
    samples : Path or None
        First 200 test images with labels and the model's classes: ``x``, ``y``, ``torch_class``.
    report : Path or None
        JSON with the recipe, the accuracy and the check; its ``comparisons`` are kept where it exists.
    """

    network: Path
    samples: Path | None = None
    report: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What a run computes on, and where it starts.

    Parameters
    ----------
    checkpoint : Path or None
        File that is written after every epoch, and gone on from.
    start : Path or None
        Checkpoint of an equal model with the first weights.
    device : {"auto", "cpu", "cuda"}
        ``auto``: a GPU where PyTorch sees one.
    threads : int
        Of PyTorch on the CPU.
    """

    checkpoint: Path | None = None
    start: Path | None = None
    device: str = "auto"
    threads: int = 1


def train_network(
    recipe: Recipe,
    data: Dataset,
    outputs: Outputs,
    engine: Engine = Engine(),
    *,
    progress: Callable[[str, int], None] = lambda line, epoch: None,
) -> dict[str, Any]:
    """Train, export, reload and check a network on every test image; return the report.

    Raises
    ------
    MismatchError
        If the written file and the PyTorch model disagree on any test image; the file is removed.
    TrainingError, DataError, NetworkError
        As the parts raise them.
    """
    torch.set_num_threads(engine.threads)
    trainer = Trainer(
        recipe,
        data.train,
        checkpoint=engine.checkpoint,
        start=engine.start,
        device=_device(engine.device),
        progress=progress,
    )
    result = trainer.run()
    history = _history(recipe)
    network = export_network(result.model, name=recipe.name, classes=data.classes, history=history)
    save_network(network, outputs.network)
    check = verify(load_network(outputs.network), result.model, data.test)
    if check.mismatches:
        outputs.network.unlink()
        raise MismatchError(
            f"{outputs.network}: {check.mismatches} of {check.images} test images differ from the trained model; "
            "this is a fault of the export, please report it"
        )
    report = _report(recipe, result, check)
    if outputs.samples is not None:
        _write_samples(outputs.samples, data, check)
    if outputs.report is not None:
        write_report(outputs.report, report)
    return report


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device 'cuda': PyTorch sees no GPU here; use cpu, or auto")
    return name


def _history(recipe: Recipe) -> tuple[str, ...]:
    lines = [f"trained as {recipe.name}, seed {recipe.fit.seed}, best of {recipe.fit.epochs} epochs"]
    if recipe.start is not None:
        lines.insert(0, f"started from {recipe.start}")
    if recipe.sharing.codes:
        codes = ", ".join(f"{codes:g}" for codes in recipe.sharing.codes)
        lines.append(f"sharing-aware: {codes} distinct kernels up to inversion in an input channel of each convolution")
    return tuple(lines)


def write_report(path: Path, changes: dict[str, Any]) -> None:
    """Write ``changes`` over the entries of the JSON object in ``path``, keeping its other entries."""
    report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(report | changes, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def _report(recipe: Recipe, result: FitResult, check: Verification) -> dict[str, Any]:
    return {
        "recipe": recipe.as_dict(),
        "best_epoch": result.best_epoch,
        "norms_estimated": result.norms_estimated,
        "validation": _accuracy(result.validation_images, result.validation_correct),
        "test": _accuracy(check.images, check.correct)
        | {
            "integer_differs_from_torch": check.mismatches,
            "integer_differs_from_torch_float32": check.mismatches_float32,
        },
        "seconds": round(result.seconds),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _accuracy(images: int, correct: int) -> dict[str, Any]:
    return {"images": images, "correct": correct, "percent": round(100 * correct / images, 2)}


def _write_samples(path: Path, data: Dataset, check: Verification) -> None:
    part = data.test.part(0, _SAMPLES)
    images = part.images[:, 0] if part.images.shape[1] == 1 else part.images
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp.npz")
    np.savez_compressed(temporary, x=images, y=part.labels, torch_class=check.classes[:_SAMPLES])
    temporary.replace(path)
