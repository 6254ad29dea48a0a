"""A made-up exploration, as its page is given it."""

from typing import Any

from xnorweave.explore.candidate import Candidate, Space
from xnorweave.explore.document import EXPLORE_FORMAT, exploration
from xnorweave.explore.networks import Variant
from xnorweave.explore.search import designs_of, next_round, note_builds
from xnorweave.explore.work import Subject

HOSTILE = "<script>alert('x')</script>"
BOARDS = {"icebreaker": ("ice40", 5280, 30, 12.0), "ulx3s-85f": ("ecp5", 83640, 208, 25.0)}
MULTIPLES = (1, 2, 4, 8)
STRATEGIES = {"units": 1.0, "kernel": 1.4}


def explored(*, name: str = "fashion", built: bool = True, codes: tuple[int | None, ...] = (None,)) -> dict[str, Any]:
    """Two boards, four rates, two strategies and two seeds; figures follow from these by made-up rules."""
    digests = {f"{number:064x}": size for number, size in enumerate(codes)}
    space = Space(
        networks=tuple(digests), boards=tuple(BOARDS), strategies=tuple(STRATEGIES), clocks_mhz=(None,), seeds=(1, 2)
    )
    rates = (None, *(784 * multiple for multiple in MULTIPLES))
    candidates = list(space.candidates(lambda board, clock: rates))
    estimates = [(each, _estimate(each, digests[each.network])) for each in candidates]
    objectives = ("fps", "luts", "chip") if len(codes) == 1 else ("fps", "luts", "chip", "accuracy")
    designs, builds = designs_of(estimates), dict[Candidate, dict[str, Any]]()
    known = dict(estimates)
    while batch := next_round(designs, objectives, 16 - len(builds)):
        builds |= {each: _build(known[each], built) for each in batch}
        note_builds(designs, builds)
    made = [_variant(digest, size, name) for digest, size in digests.items()]
    part = exploration(
        made,
        estimates,
        designs,
        builds,
        objectives=objectives,
        budget={"builds": 16},
        versions={"xnorweave": "0.1.0", "yosys": "0.70"},
        failures=(),
    )
    network = {"name": name, "weights": 54928, "macs": 1000000}
    return {"format": EXPLORE_FORMAT, "version": "0.1.0", "network": network, "exploration": part}


def _variant(digest: str, codes: int | None, name: str) -> Variant:
    subject: Any = Subject(digest=digest, network=None)  # type: ignore[arg-type]
    file = f"{name}.npz" if codes is None else f"networks/codebook{codes}.npz"
    return Variant(subject=subject, codes=codes, file=file, images=400, correct=360 - (20 if codes else 0))


def _estimate(each: Candidate, codes: int | None) -> dict[str, Any]:
    family, luts, block_rams, clock_mhz = BOARDS[each.board]
    cycles = each.interval_cycles or 784
    if cycles > 784 * 4:
        return {"fits": False, "reason": f"{each.board}: too slow", "family": family}
    share = STRATEGIES[each.strategy] * (0.8 if codes else 1.0)
    return {
        "fits": True,
        "hardware": f"{each.board}{each.network}{each.strategy}{cycles}",
        "family": family,
        "luts": round((1200 + 2000 * 784 / cycles) * share) + len(each.board),
        "luts_available": luts,
        "block_rams": 22,
        "block_rams_available": block_rams,
        "clock_mhz": clock_mhz,
        "interval_cycles": cycles,
        "frames_per_second": round(clock_mhz * 1e6 / cycles, 1),
        "wired": {"conv1": each.strategy},
        "accuracy_percent": 85.0 if codes else 90.0,
    }


def _build(estimate: dict[str, Any], built: bool) -> dict[str, Any]:
    if not built or estimate["interval_cycles"] == 784 * 2:
        return {"met": False, "reason": "the clock of 12 MHz is missed, 11.40 MHz reached"}
    kept = {name: estimate[name] for name in ("block_rams", "clock_mhz", "interval_cycles", "frames_per_second")}
    more = {"luts": round(estimate["luts"] * 1.02), "flip_flops": 900, "fmax_mhz": 31.4, "critical_layer": "conv1"}
    return {"met": True} | more | kept
