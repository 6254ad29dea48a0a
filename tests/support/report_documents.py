"""Documents in the shape of ``report.json`` for tests of the page, of as many layers as wanted."""

import random
from typing import Any

__all__ = ["HOSTILE", "document", "sharing_row"]

HOSTILE = "<script>alert('x')</script>\" onload=\"&amp;"
_FORMS = {"repeated": 0.6, "kernel": 0.45, "graph": 0.2, "units": 0.25}
_UNITS = {"kernel_evaluations": 256, "additions": 2_416, "adder_bits": 7_488, "luts": 3_783}


def document(layers: int = 4, *, name: str = "net", classes: tuple[str, ...] = ("zero", "one")) -> dict[str, Any]:
    """A finished build of a network with so many convolutions, the first wired and the others folded."""
    names = [f"conv{number}" for number in range(layers)]
    files = [
        {"name": each, "bytes": 123_456, "sha256": digit * 64} for each, digit in (("design.v", "d"), ("top.bin", "b"))
    ]
    return {
        "format": "xnorweave-report/1",
        "version": "9.8.7",
        "network": {"name": name, "weights": 54_928, "macs": 428_608},
        "strategy": "units",
        "certificate": {"graphs": 1, "coefficients": 2_448},
        "sharing": {"family": "ice40", "layers": [sharing_row("conv0")], "totals": sharing_row(None), "notes": []},
        "layers": [
            {"name": each, "kind": "conv2d", "input": [16, 28, 28], "output": [16, 26, 26], "kernel": [3, 3]}
            | {"padding": [0, 0, 0, 0]}
            for each in names
        ],
        "kernel_atlas": {"layers": [_kernels(each, number) for number, each in enumerate(names)]},
        "estimate": _estimate(names[-1]),
        "neighbours": [
            _plan("smaller", 1000, 3_048, 24),
            _plan("chosen", 784, 3_140, 24),
            _plan("larger", 700, 9_001, 31),
        ],
        "plan": _plan_part(names),
        "simulation": {"simulator": "verilator 5.48", "images": 1_050, "mismatches": 0, "cycles_per_image": 784},
        "accuracy": {"images": 2_000, "correct": 1_780, "percent": 89.0},
        "synthesis": _synthesis(names[0]),
        "build": {
            "command": "xnorweave build net --board icebreaker --output demo --strategy auto --seed 7",
            "seed": 7,
            "network_sha256": "a" * 64,
            "history": ["compressed for luts, 9 to 8 luts", "trained"],
        },
        "usage": _usage(classes),
        "compression": _compression(),
        "files": files,
    }


def sharing_row(name: str | None) -> dict[str, Any]:
    """A layer of ``sharing``, or its totals."""
    head = {"name": name, "inputs": 144, "outputs": 16, "engine": "spatial", "strategy": "units"} if name else {}
    counts: dict[str, Any] = {}
    for unit, whole in _UNITS.items():
        counts[f"{unit}_unshared"] = whole
        counts |= {f"{unit}_{form}": round(whole * share) for form, share in _FORMS.items()}
    del counts["kernel_evaluations_graph"]
    counts |= {"additions_built": counts["additions_units"], "luts_built": counts["luts_units"]}
    of_kernels = {key: value for key, value in counts.items() if key.endswith(("_unshared", "_repeated", "_kernel"))}
    before = {key: value if key.endswith("_unshared") else round(1.25 * value) for key, value in of_kernels.items()}
    return head | counts | {"random": {key: round(1.1 * value) for key, value in counts.items()}, "before": before}


def _kernels(name: str, seed: int, channels: int = 3, filters: int = 8) -> dict[str, Any]:
    draw = random.Random(seed)
    patterns = ["".join(f"{draw.randrange(512):03x}" for _ in range(filters)) for _ in range(channels)]
    counts = {"kernels": 128, "distinct": 121, "distinct_mod_inverse": 117}
    shape = {"name": name, "kernel": [3, 3], "channels": 16, "filters": filters, "groups": 1}
    return shape | counts | {"filters_shown": filters, "patterns": patterns}


def _plan(name: str, cycles: int, luts: int, block_rams: int) -> dict[str, Any]:
    rate = round(12e6 / cycles, 1)
    return {"plan": name, "interval_cycles": cycles, "frames_per_second": rate, "luts": luts, "block_rams": block_rams}


def _estimate(slowest: str) -> dict[str, Any]:
    costs = {"luts": 3_140, "block_rams": 24, "clock_mhz": 12.0, "frames_per_second": 15306.1, "luts_usable": 4_752}
    return {"slowest": slowest} | costs


def _plan_part(names: list[str]) -> dict[str, Any]:
    folded = {"engine": "folded", "pe": 13, "simd": 8, "storage": "block", "interval_cycles": 784}
    rows = [{"name": name, "luts_estimated": 331, "block_rams_estimated": 1} | folded for name in names]
    rows[0] |= {"engine": "spatial", "interval_cycles": 676, "latency_cycles": 3}
    for key in ("pe", "simd", "storage"):
        del rows[0][key]
    measured = {"latency_cycles": 1_347, "interval_cycles_measured": 784, "slower_than_planned": False}
    return {"format": "xnorweave-plan/1", "interval_cycles": 784, "layers": rows} | measured


def _synthesis(slow: str) -> dict[str, Any]:
    ends = {"from": "core.layer_conv0.window_LC", "to": "core.layer_conv0.sums_LC"}
    return {
        "board": "icebreaker",
        "device": "UP5K",
        "luts": 3_133,
        "luts_available": 5_280,
        "flip_flops": 1_298,
        "block_rams": 23,
        "block_rams_available": 30,
        "fmax_mhz": 27.0929,
        "clock_mhz": 12.0,
        "baud": 1_000_000,
        "bitstream": "top.bin",
        "tools": {"yosys": "0.70", "nextpnr-ice40": "0.11.1"},
        "frames_per_second": 15306.1,
        "link_frames_per_second": 127.6,
        "critical_path": {"layer": slow, "net_delay_ns": 23.562, "logic_delay_ns": 13.348, "steps": 13} | ends,
    }


def _usage(classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "board": "1BitSquared iCEBreaker",
        "link": "uart",
        "pins": {"clock": "35", "rx": "6", "tx": "9"},
        "baud": 1_000_000,
        "frame_bytes": 784,
        "answer_bytes": 1,
        "ports": {"clk": 1, "rst": 1, "i__payload": 8, "o__payload": 4},
        "host": ["import numpy, serial", "print(1)"],
        "load": "iceprog top.bin",
        "classes": list(classes),
    }


def _compression() -> dict[str, Any]:
    points = [{"correct": 3_500 - 9 * n * n, "percent": 87.5 - n, "luts": 41_000 - 3_000 * n} for n in range(5)]
    points = [point | {"kernel_evaluations": 99, "additions": 300, "adder_bits": 900} for point in points]
    asked = {"objective": "luts", "max_loss_percent": 1.0, "validation_images": 4_000}
    return asked | {"before": points[0], "after": points[1], "trajectory": points}
