"""Command line of the training: ``python -m xnorweave.training fashion-mnist --out NET.npz``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from xnorweave.errors import TrainingError, XnorweaveError
from xnorweave.training.datasets import FASHION_MNIST_FOLDER, load_fashion_mnist
from xnorweave.training.presets import PRESETS, preset


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except XnorweaveError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m xnorweave.training", description="Train a binarized network.")
    parser.add_argument("preset", choices=[*PRESETS, "compare"], help="what to train; compare: every preset, no files")
    parser.add_argument("--out", type=Path, help="network file to write")
    parser.add_argument("--samples", type=Path, help="file for 200 test images with the model's classes")
    parser.add_argument("--report", type=Path, help="JSON file for recipe and accuracy")
    parser.add_argument("--checkpoint", type=Path, help="file to keep after each epoch, and to go on from")
    parser.add_argument("--data", type=Path, default=FASHION_MNIST_FOLDER, help="folder with the four .gz files")
    parser.add_argument("--epochs", type=int, help="other number of epochs than the preset's")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch; results repeat for equal numbers")
    return parser


def _run(options: argparse.Namespace) -> None:
    try:
        import torch

        from xnorweave.training import run
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise TrainingError("training: PyTorch is not installed; run `pip install xnorweave[train]`") from error
    torch.set_num_threads(options.threads)
    data = load_fashion_mnist(options.data)
    if options.preset == "compare":
        recipes = [preset(name, epochs=options.epochs) for name in PRESETS]
        comparisons = run.compare_recipes(recipes, data, progress=_progress)
        if options.report is not None:
            run.write_report(options.report, {"comparisons": comparisons})
        return
    if options.out is None:
        raise TrainingError(f"{options.preset}: no network file named; add --out NET.npz")
    report = run.train_network(
        preset(options.preset, epochs=options.epochs),
        data,
        run.Outputs(network=options.out, samples=options.samples, report=options.report),
        checkpoint=options.checkpoint,
        progress=_progress,
    )
    _progress(f"{options.out}: test {report['test']['percent']} % of {report['test']['images']} images")


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
