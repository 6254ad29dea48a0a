"""Similar kernels: what an accuracy budget buys, by replacement and by training; writes bench/results/compress.json.

Run as ``python bench/compress.py [PART ...]``. FINN's CNV and CIFAR-10 are in the folder that XNORWEAVE_SHARED names;
test images are only counted, never searched on. Parts, each kept in the file at once:

cnv
    CNV compressed without training, by each objective, on training images (which CNV was trained on: its losses there
    are no smaller than on new ones), beside the replacement by each channel's most frequent kernels, thresholds not
    refitted. Half an hour.
correction
    Similar kernels with the differing taps put right, which is exact, beside what the graph optimizer finds: additions.
trained
    The networks of examples/, trained plainly and sharing-aware, beside random weights: test accuracy, the four units,
    and LUTs of the convolutions after synthesis.
unshared
    LUTs of the plain network's convolutions after synthesis with nothing shared, each kept at once: an hour and a half.
    As a whole conv4 takes ABC more than an hour, so it is mapped in slices of its filters, and conv1 and conv2 both
    ways: what ABC finds between filters of two slices is lost.
"""

import argparse
import dataclasses
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree

from cifar10 import SHARED, test_images, train_images
from layers import map_graph, with_random_kernels
from xnorweave import load
from xnorweave.commands.compressing import compression_part
from xnorweave.commands.networks import sharing_part
from xnorweave.images import as_frames
from xnorweave.network import Conv2D, Network
from xnorweave.passes.compress import CompressOptions, Examples, Objective, compress
from xnorweave.passes.kernels import count_kernels
from xnorweave.passes.share import StrategyChoice, share_layer, share_network
from xnorweave.passes.streamline import ConvStage, streamline
from xnorweave.sim import golden

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench" / "results" / "compress.json"
FAMILY = "ecp5"
CALIBRATION, VALIDATION = 1000, 4000
OBJECTIVES: tuple[Objective, ...] = ("kernel-evaluations", "additions", "luts")

ONLY_SLICED, SLICED_TOO, SLICES = "conv4", ("conv1", "conv2"), 4
EDGE = 1e-6  # a unit of one tap costs no addition, but is an edge of the graph

Row = dict[str, Any]


def keep(part: str, row: Row) -> None:
    """Write a part's result over what the file has of it."""
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(kept | {part: row}, indent=1) + "\n", encoding="utf-8")
    print(part, json.dumps(row)[:2000], flush=True)


def examples(network: Network, images: np.ndarray, labels: np.ndarray) -> Examples:
    """Images as the first layer sees them."""
    frames = as_frames(network, images)
    return Examples(values=golden.input_values(network.input, frames).transpose(0, 2, 3, 1), labels=labels)


def accuracy(network: Network, data: Examples) -> Row:
    """Right answers on images."""
    classes = golden.run_layers(network, data.values, 0, len(network.layers))
    correct = int((classes == data.labels).sum())
    return {"images": len(data.labels), "correct": correct, "percent": round(100 * correct / len(data.labels), 2)}


def cnv() -> Network:
    """FINN's CNV for CIFAR-10."""
    return load(SHARED / "nets" / "cnvW1A1_cifar10.npz")


def most_frequent(network: Network, most: int) -> Network:
    """Every kernel behind the first convolution replaced by the nearest of its channel's ``most`` frequent ones."""
    layers = list(network.layers)
    for number, layer in enumerate(layers):
        if number and isinstance(layer, Conv2D):
            kernels = layer.weights.reshape(*layer.weights.shape[:2], -1).astype(np.int64)
            weights = np.stack([_nearest(kernels[:, c], most) for c in range(kernels.shape[1])], axis=1)
            layers[number] = dataclasses.replace(layer, weights=weights.reshape(layer.weights.shape).astype(np.int8))
    return dataclasses.replace(network, layers=tuple(layers))


def _nearest(kernels: np.ndarray, most: int) -> np.ndarray:
    distinct, uses = np.unique(kernels * kernels[:, :1], axis=0, return_counts=True)
    book = distinct[np.argsort(-uses, kind="stable")[:most]]
    agreement = kernels @ book.T
    best = np.abs(agreement).argmax(1)
    signs = np.where(agreement[np.arange(len(kernels)), best] < 0, -1, 1)
    return book[best] * signs[:, None]


def measure_cnv() -> None:
    """The part ``cnv``."""
    network = cnv()
    test, (images, labels) = examples(network, *test_images()), train_images()
    calibration = examples(network, images[:CALIBRATION], labels[:CALIBRATION])
    stop = CALIBRATION + VALIDATION
    validation = examples(network, images[CALIBRATION:stop], labels[CALIBRATION:stop])
    row: Row = {"test": accuracy(network, test), "most_frequent": {}}
    for most in (128, 64, 32):
        replaced = most_frequent(network, most)
        kernels = [count_kernels(layer.weights) for layer in replaced.layers if isinstance(layer, Conv2D)]
        row["most_frequent"][str(most)] = {
            "test": accuracy(replaced, test),
            "kernel_evaluations": sum(count.distinct_mod_inverse for count in kernels),
        }
        keep("cnv", row)
    for objective in OBJECTIVES:
        options = CompressOptions(objective=objective, family=FAMILY)
        found = compress(
            network,
            calibration,
            validation,
            options,
            run_layers=golden.run_layers,
            workers=os.cpu_count() or 1,
            progress=lambda what, done, total: print(what, flush=True),
        )
        part = compression_part(found, options, calibration_images=CALIBRATION)
        row[objective] = part | {"test": accuracy(found.network, test)}
        keep("cnv", row)


def measure_correction() -> None:
    """The part ``correction``: kernel units as a spanning tree of differences, against one shared graph."""
    network, rows = cnv(), {}
    for layer in network.layers[1:]:
        if not isinstance(layer, Conv2D):
            continue
        units = trees = 0
        for channel in range(layer.weights.shape[1]):
            kernels = layer.weights[:, channel].reshape(len(layer.weights), -1).astype(np.int64)
            distinct = np.unique(kernels * kernels[:, :1], axis=0)
            taps = distinct.shape[1]
            apart = (taps - np.abs(distinct @ distinct.T)) // 2
            # A unit from scratch adds the taps under its rarer sign; a corrected one adds or subtracts each tap apart.
            scratch = np.maximum(np.minimum((distinct > 0).sum(1), (distinct < 0).sum(1)) - 1, 0)
            units += int(scratch.sum())
            costs = np.zeros((len(scratch) + 1,) * 2)
            costs[0, 1:], costs[1:, 1:] = scratch + EDGE, apart
            trees += round(minimum_spanning_tree(costs).sum())
        (row,) = share_network(network, ("none", "kernel", "graph"), layers={layer.name})
        rows[layer.name] = {
            "unit_additions": units,
            "unit_additions_corrected": trees,
            "additions_none": row.additions["none"],
            "additions_kernel": row.additions["kernel"],
            "additions_kernel_corrected": row.additions["kernel"] - units + trees,
            "additions_graph": row.additions["graph"],
        }
    keep("correction", rows)


def four_units(network: Network) -> Row:
    """The units of all convolutions in every form, per frame too, beside random weights of their shapes."""
    convolutions = {layer.name for layer in network.layers if isinstance(layer, Conv2D)}
    rows = share_network(network, layers=convolutions, control=True, family=FAMILY, workers=os.cpu_count() or 1)
    return sharing_part(rows, FAMILY)["totals"]


def mapped_luts(network: Network, strategy: StrategyChoice) -> Row:
    """LUT4s, carries and places of every convolution with its thresholds after synthesis, and of all together."""
    rows = {}
    for stage in streamline(network):
        if isinstance(stage, ConvStage):
            rows[stage.name] = _mapped(stage, strategy)
            print(network.name, strategy, stage.name, rows[stage.name], flush=True)
    return rows | {"total": _total(list(rows.values()))}


def _mapped(stage: ConvStage, strategy: StrategyChoice) -> Row:
    mapped = map_graph(stage, share_layer(stage, strategy, FAMILY), FAMILY)
    return {"luts": mapped.cells.luts, "carries": mapped.cells.carries, "places": mapped.places}


def _total(rows: list[Row]) -> Row:
    return {unit: sum(row[unit] for row in rows) for unit in ("luts", "carries", "places")}


def slices(stage: ConvStage, count: int) -> list[ConvStage]:
    """The layer as so many layers with some of its filters each."""
    limits = np.linspace(0, len(stage.weights), count + 1).astype(int)
    return [
        dataclasses.replace(
            stage,
            weights=stage.weights[first:last],
            output_shape=(last - first, *stage.output_shape[1:]),
            thresholds={
                border: values[first * stage.levels : last * stage.levels]
                for border, values in stage.thresholds.items()
            },
        )
        for first, last in itertools.pairwise(limits.tolist())
    ]


def measure_trained() -> None:
    """The part ``trained``."""
    row: Row = {"family": FAMILY}
    plain, shared = (load(ROOT / "examples" / f"{name}.npz") for name in ("cifar10", "cifar10_shared"))
    for name, network in (("plain", plain), ("shared", shared)):
        row[name] = {
            "test": accuracy(network, examples(network, *test_images())),
            "units": four_units(network),
            "mapped": mapped_luts(network, "auto"),
        }
        keep("trained", row)
    row["plain"]["mapped_random"] = mapped_luts(with_random_kernels(plain), "auto")
    keep("trained", row)


def measure_unshared() -> None:
    """The part ``unshared``; what the file has of it is not mapped again."""
    kept = json.loads(RESULT.read_text(encoding="utf-8")).get("unshared", {})
    whole, sliced = kept.get("layers", {}), kept.get("in_slices", {})
    network = load(ROOT / "examples" / "cifar10.npz")
    stages = {stage.name: stage for stage in streamline(network) if isinstance(stage, ConvStage)}
    for name in sorted(stages.keys() - whole.keys() - {ONLY_SLICED}):
        whole[name] = _mapped(stages[name], "none")
        _keep_unshared(whole, sliced)
    for name in (ONLY_SLICED, *SLICED_TOO):
        rows = sliced.setdefault(name, [])
        for each in slices(stages[name], SLICES)[len(rows) :]:
            rows.append(_mapped(each, "none"))
            _keep_unshared(whole, sliced)


def _keep_unshared(whole: Row, sliced: dict[str, list[Row]]) -> None:
    """Keep what is there, and its total once every convolution is."""
    row: Row = {"layers": whole, "in_slices": sliced}
    if len(sliced.get(ONLY_SLICED, [])) == SLICES:
        row["total"] = _total([*whole.values(), *sliced[ONLY_SLICED]])
    keep("unshared", row)


PARTS = {
    "cnv": measure_cnv,
    "correction": measure_correction,
    "trained": measure_trained,
    "unshared": measure_unshared,
}


def main() -> None:
    """Measure the parts named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=list(PARTS), default=list(PARTS), metavar="PART")
    for part in parser.parse_args().parts:
        PARTS[part]()


if __name__ == "__main__":
    main()
