"""The plan of a network on a board: what boards offer, what was chosen, and the commands that show it."""

import json
from pathlib import Path
from typing import Any, cast

from xnorweave.boards.catalogue import Board, boards_that_fit
from xnorweave.boards.catalogue import board as find_board
from xnorweave.boards.catalogue import boards as all_boards
from xnorweave.boards.link import link_memory_bytes
from xnorweave.boards.link_format import bytes_per_word
from xnorweave.boards.pll import find_pll
from xnorweave.build_folder import REPORT_FORMAT
from xnorweave.commands.options import PlanOptions
from xnorweave.commands.source import Report, head
from xnorweave.console import Stages
from xnorweave.errors import DataError, DoesNotFitError
from xnorweave.folded_cost import Resources
from xnorweave.network import Network
from xnorweave.passes.choose_plan import Budget, PlanChoice, choose_plan
from xnorweave.passes.plan_types import Plan
from xnorweave.passes.schedule import Family, levels_for_clock
from xnorweave.plan_file import load_plan, plan_document
from xnorweave.stream_cost import link_resources

__all__ = [
    "board_budget",
    "board_levels",
    "boards",
    "choice_for",
    "core_clock",
    "estimate",
    "foreseen",
    "plan",
    "plan_for",
    "room_for",
]

# Share of the LUTs that a plan may take: place and route fails, misses its clock, or takes hours on a chip that is
# nearly full, and estimates are some percent off. On ECP5 designs of up to 66 % were routed in 20 minutes, and one of
# 75 % was far from it after 40; on iCE40 one of 92 % was placed and routed at 32.5 MHz.
_USABLE: dict[str, float] = {"ice40": 0.94, "ecp5": 0.7}
# Of the layers in bench/results/folded_cost.json none takes more block RAMs than estimated, and some one or two fewer:
# what is estimated beyond this many times the chip's cannot be placed.
_HOPELESS = 1.25


def boards(network: Network | None, stages: Stages) -> Report:
    """Every board with its limits and what its link is on; with a network, the plan that runs fastest on each.

    A network's columns are ``frames_per_second`` at the board's own clock, and what the whole design takes, all
    estimated; absent where it does not fit, or the board has no link.
    """
    rows = [
        {
            "name": each.name,
            "device": each.device,
            "luts": each.luts,
            "block_rams": each.block_rams,
            "clock_mhz": round(each.clock_mhz, 3),
            "link": each.link or None,
            "spi": each.spi or None,
        }
        for each in all_boards()
    ]
    if network is not None:
        planned: dict[tuple[str, float, bool], Report] = {}
        stages.start(f"planning {network.name}", len(rows))
        for number, each in enumerate(all_boards()):
            stages.note(each.name)
            # What a plan depends on; boards that differ in nothing else share it.
            alike = each.device, each.clock_mhz, bool(each.link)
            if alike not in planned:
                planned[alike] = _fastest(each, network) if each.link else _fits_not()
            rows[number] |= planned[alike]
            stages.advance(number + 1)
    return {"format": REPORT_FORMAT, "boards": rows}


def _fastest(board: Board, network: Network) -> Report:
    try:
        budget, levels = room_for(network, board, board.clock_mhz), board_levels(board)
        chosen = choose_plan(network, budget, levels_per_register=levels, free_running=board.family == "ecp5")
    except DoesNotFitError:
        return _fits_not()
    full = estimate(chosen.plan, board, network, board.clock_mhz)
    taken = {f"takes_{unit}": full[unit] for unit in ("luts", "block_rams")}
    return {"frames_per_second": full["frames_per_second"]} | taken


def _fits_not() -> Report:
    return dict.fromkeys(("frames_per_second", "takes_luts", "takes_block_rams"))


def board_levels(board: Board, clock_mhz: float | None = None) -> int:
    """Most adders between two registers at a clock, the board's own if not given.

    Raises
    ------
    DoesNotFitError
        If the clock is too fast for one.
    """
    family = "ecp5" if board.family == "ecp5" else f"ice40-{board.device[:2].lower()}"
    return levels_for_clock(cast(Family, family), board.clock_mhz if clock_mhz is None else clock_mhz)


def board_budget(board: Board, network: Network, clock_mhz: float | None = None) -> Budget:
    """What a board offers to the core: the usable share of its LUTs, and its block RAMs, without the serial link."""
    link = _link(board, network)
    return Budget(
        family=board.family,
        luts=int(_USABLE[board.family] * board.luts) - link.luts,
        block_rams=max(0, board.block_rams - link.block_rams),
        clock_mhz=board.clock_mhz if clock_mhz is None else clock_mhz,
        name=board.name,
    )


def room_for(network: Network, board: Board, clock_mhz: float) -> Budget:
    """`board_budget` of a board that has any room beside its link.

    Raises
    ------
    DoesNotFitError
        Where it has none.
    """
    budget = board_budget(board, network, clock_mhz)
    if budget.luts <= 0:
        raise DoesNotFitError(f"{board.name}: the serial link alone fills its {board.luts} LUTs; choose a larger board")
    return budget


def _link(board: Board, network: Network) -> Resources:
    """What the board's serial link takes beside the core."""
    channels, height, width = network.input.shape
    word_bytes = bytes_per_word(channels * (8 if network.input.kind == "pixels" else 1))
    return link_resources(link_memory_bytes(word_bytes * height * width), 8 * word_bytes, board.family)


def plan_for(network: Network, board: Board, options: PlanOptions) -> Plan:
    """The plan that a build takes: that of the file, or the best one for the board.

    Raises
    ------
    DoesNotFitError
        Where none fits, or that of the file cannot.
    DeviceError
        Where the board cannot make the clock.
    DataError, UnsupportedError
        Where the file is no plan of this network.
    """
    return choice_for(network, board, options).plan


def choice_for(network: Network, board: Board, options: PlanOptions) -> PlanChoice:
    """As `plan_for`, with the neighbours of a plan that was not given."""
    if options.file is None:
        return _choose(network, board, options)
    made = _load(network, board, options.file, options)
    if _hopeless(made, board, network):
        raise DoesNotFitError(
            f"{board.name}: the plan of {options.file} wants about {_rams(made, board, network)} block RAMs, "
            f"the chip has {board.block_rams}; remedy: weights in logic, narrower folds, a larger board, or no --plan"
        )
    return PlanChoice(plan=made, smaller=None, larger=None)


def _rams(made: Plan, board: Board, network: Network) -> int:
    """Block RAMs of a board's whole design, estimated."""
    return made.block_rams + _link(board, network).block_rams


def _hopeless(made: Plan, board: Board, network: Network) -> bool:
    """Whether a plan takes so many block RAMs that it need not be tried."""
    return _rams(made, board, network) > _HOPELESS * board.block_rams


def _load(network: Network, board: Board, file: Path, options: PlanOptions) -> Plan:
    """The plan of a file, with no more levels per register than the clock leaves time for."""
    if options.fps is not None:
        raise DataError(f"fps={options.fps:g}: the plan of {file} has its rate; leave one of the two out")
    levels = board_levels(board, core_clock(board, options.clock_mhz))
    return load_plan(file, network, board.family, most_levels=levels)


def plan(
    network: Network, board_name: str, options: PlanOptions, output: Path | None = None, *, stages: Stages
) -> Report:
    """Choose a plan, and write it to ``output``; gives ``plan``, ``synthesis`` as estimated, and ``neighbours``."""
    board = find_board(board_name)
    clock_mhz = core_clock(board, options.clock_mhz)
    stages.start(f"planning {network.name} for {board.name}")
    if options.file is not None:
        chosen = PlanChoice(plan=_load(network, board, options.file, options), smaller=None, larger=None)
    else:
        chosen = _choose(network, board, options)
    made = chosen.plan
    document = plan_document(made, block_ram_bits=board.block_ram_bits)
    report = head(network) | {"plan": document | {"slowest": _slowest(made)}}
    report["synthesis"] = estimate(made, board, network, clock_mhz) | _fit(made, board, network)
    report["neighbours"] = _neighbours(chosen, board, network, clock_mhz)
    if output is not None:
        try:
            output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        except OSError as e:
            raise DataError(f"{output}: cannot be written ({e.strerror}); choose another path") from e
        report["written"] = str(output)
    return report


def foreseen(chosen: PlanChoice, board: Board, network: Network, options: PlanOptions) -> Report:
    """``estimate`` and ``neighbours`` of a build's report: what its plan was thought to take, and the next plans."""
    made, clock_mhz = chosen.plan, core_clock(board, options.clock_mhz)
    names = ("luts", "block_rams", "clock_mhz", "frames_per_second")
    full = estimate(made, board, network, clock_mhz)
    part = {"slowest": _slowest(made)} | {name: full[name] for name in names}
    part["luts_usable"] = int(_USABLE[board.family] * board.luts)
    return {"estimate": part, "neighbours": _neighbours(chosen, board, network, clock_mhz)}


def _neighbours(chosen: PlanChoice, board: Board, network: Network, clock_mhz: float) -> list[dict[str, Any]]:
    plans = (("smaller", chosen.smaller), ("chosen", chosen.plan), ("larger", chosen.larger))
    return [{"plan": name} | _totals(each, board, network, clock_mhz) for name, each in plans if each is not None]


def core_clock(board: Board, clock_mhz: float | None) -> float:
    """The clock that the board gives where one is asked for."""
    return board.clock_mhz if clock_mhz in (None, board.clock_mhz) else find_pll(board, clock_mhz).output_mhz


def _choose(network: Network, board: Board, options: PlanOptions) -> PlanChoice:
    clock_mhz = core_clock(board, options.clock_mhz)
    budget = room_for(network, board, clock_mhz)
    larger = boards_that_fit(luts=0, block_ram_bits=0)
    return choose_plan(
        network,
        budget,
        fps=options.fps,
        levels_per_register=board_levels(board, clock_mhz),
        free_running=board.family == "ecp5",
        alternatives={each.name: board_budget(each, network) for each in larger if each.name != board.name},
    )


def _slowest(made: Plan) -> str:
    """The layer that sets the frame rate; the input where it is the slowest."""
    layer = max(made.layers, key=lambda each: each.interval_cycles)
    return layer.name if layer.interval_cycles > made.input_cycles else "input"


def _totals(made: Plan, board: Board, network: Network, clock_mhz: float) -> dict[str, Any]:
    full = estimate(made, board, network, clock_mhz)
    names = ("frames_per_second", "luts", "block_rams")
    return {"interval_cycles": made.interval_cycles} | {name: full[name] for name in names}


def estimate(made: Plan, board: Board, network: Network, clock_mhz: float) -> dict[str, Any]:
    """``synthesis`` of a report, with the serial link, as far as it can be told beforehand."""
    link = _link(board, network)
    return {
        "estimated": True,
        "board": board.name,
        "device": board.device,
        "luts": made.luts + link.luts,
        "luts_available": board.luts,
        "block_rams": _rams(made, board, network),
        "block_rams_available": board.block_rams,
        "clock_mhz": clock_mhz,
        "frames_per_second": round(clock_mhz * 1e6 / made.interval_cycles, 1),
    }


def _fit(made: Plan, board: Board, network: Network) -> dict[str, Any]:
    """Whether a plan fits by its estimates; else what it wants, what is free for it, and what a build makes of it."""
    budget = board_budget(board, network)
    if budget.holds(made):
        return {"fits": True}
    hopeless = _hopeless(made, board, network)
    message = (
        f"{board.name}: the plan does not fit by its estimates: it wants {made.luts:,} LUTs and {made.block_rams} "
        f"block RAMs, and {max(0, budget.luts):,} and {budget.block_rams} are free for it; "
        f"{'a build refuses it' if hopeless else 'a build tries it all the same, since estimates are some percent off'}"
    )
    return {"fits": False, "message": message}
