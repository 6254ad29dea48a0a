"""What the page says in words and numbers: all of it follows from ``report.json``."""

from typing import Any

__all__ = [
    "Report",
    "bottleneck",
    "checks",
    "count",
    "digests",
    "fits",
    "gates",
    "limiting",
    "next_steps",
    "part",
    "size",
    "slowness",
    "target",
    "tiles",
    "verdict",
]

Report = dict[str, Any]

_MISSING = "\u2013"
_SPACE = "\u00a0"
# A part of a chip beyond which place and route has been seen to fail.
_TIGHT_PERCENT = 90
_WORTH_SAYING = 1.1


def count(value: float | None) -> str:
    """A number with thousands separators, of a fraction two places at most; a dash for none."""
    if value is None:
        return _MISSING
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def size(value: int) -> str:
    """Bytes for people."""
    return f"{value:,} B" if value < 10_000 else f"{value / 1024:,.0f} KiB"


def part(report: Report, name: str) -> Report:
    """A part of the report, empty where it is absent."""
    return report.get(name) or {}


def slowness(plan: Report) -> str | None:
    """What to say of a plan whose frames take longer in simulation than planned."""
    if not plan.get("slower_than_planned"):
        return None
    measured, planned = plan["interval_cycles_measured"], plan["interval_cycles"]
    return f"slower than planned: a frame every {measured:,} cycles, {planned:,} planned"


def verdict(report: Report) -> str:
    """One sentence that says what the build came to."""
    simulation, synthesis, accuracy = (part(report, name) for name in ("simulation", "synthesis", "accuracy"))
    name = part(report, "network").get("name", "network")
    said = [_fit(name, synthesis)]
    if simulation:
        images = f"{simulation['images']:,} images"
        wrong = simulation["mismatches"]
        said.append(f"bit-exact on {images}" if not wrong else f"differs on {wrong:,} of {images}")
    if accuracy:
        said.append(f"{accuracy['percent']:.1f}{_SPACE}% of {accuracy['images']:,} images right")
    if slow := slowness(part(report, "plan")):
        said.append(slow)
    if synthesis.get("frames_per_second"):
        said.append(f"{synthesis['frames_per_second']:,.0f} frames per second in the core")
        if synthesis.get("link_frames_per_second"):
            said.append(f"{synthesis['link_frames_per_second']:,.0f} over the serial link")
    return "; ".join(said) + "." if said != [str(name)] else f"{name}: nothing measured, no board."


def _fit(name: object, synthesis: Report) -> str:
    if synthesis.get("fmax_mhz"):
        met = synthesis["fmax_mhz"] >= synthesis["clock_mhz"]
        return f"{name} fits {synthesis['board']} and {'meets its clock' if met else 'misses its clock'}"
    if "fits" in synthesis:
        does = "should fit" if synthesis["fits"] else "does not fit"
        return f"{name} {does} {synthesis['board']}, by estimates"
    return str(name)


_GATE_FACTS = {
    "area": "Area, in the library's unit",
    "sequential_area": "of it flip-flops",
    "combinational_area": "of it gates",
    "cells": "Cells",
    "flip_flops": "Flip-flops",
    "transistors": "Transistors",
    "critical_path_ps": "Critical path between registers, ps",
    "ram_bits_as_flip_flops": "Bits of RAM as flip-flops",
    "rom_bits_as_gates": "Bits of ROM as gates",
}


def target(synthesis: Report) -> str | None:
    """What the design is for: a board, or a library of cells; None where it was not synthesized."""
    return synthesis.get("board") or synthesis.get("cells_of")


def gates(synthesis: Report) -> list[tuple[str, str]]:
    """Title and number of what a core takes in standard cells; empty where it is on a board."""
    if "cells_of" not in synthesis:
        return []
    return [(title, count(synthesis[name])) for name, title in _GATE_FACTS.items() if name in synthesis]


def checks(report: Report) -> list[tuple[str, bool, str]]:
    """What was checked: name, whether it holds, and the numbers; only what the report tells of."""
    synthesis = part(report, "synthesis")
    found = [_fit_check(synthesis), _timing_check(synthesis), _exact_check(part(report, "simulation"))]
    certificate = part(report, "certificate")
    if certificate:
        graphs = "adder graph" if certificate["graphs"] == 1 else "adder graphs"
        proof = (
            f"{certificate['graphs']:,} {graphs} proven: all {certificate['coefficients']:,} coefficients follow from "
            "the structure and equal the weights"
        )
        found.append(("Certificate", True, proof))
    plan = part(report, "plan")
    if "interval_cycles_measured" in plan:
        as_planned = f"a frame every {plan['interval_cycles']:,} cycles, as planned; measured in simulation"
        slow = slowness(plan)
        found.append(("Rate", slow is None, slow or as_planned))
    return [check for check in found if check is not None]


def _fit_check(synthesis: Report) -> tuple[str, bool, str] | None:
    if not synthesis.get("luts_available"):
        return None
    used = [(synthesis["luts"], synthesis["luts_available"], "LUT places")]
    if synthesis.get("block_rams_available"):
        used.append((synthesis["block_rams"], synthesis["block_rams_available"], "block RAMs"))
    text = ", ".join(f"{taken:,} of {available:,} {name}" for taken, available, name in used)
    holds = synthesis.get("fits", all(taken <= available for taken, available, _ in used))
    how = "estimated" if synthesis.get("estimated") else "placed and routed"
    return "Fits" if holds else "Fit", holds, f"{text}; {how}"


def _timing_check(synthesis: Report) -> tuple[str, bool, str] | None:
    if not synthesis.get("fmax_mhz"):
        return None
    reached, used = synthesis["fmax_mhz"], synthesis["clock_mhz"]
    slack = 1000 / used - 1000 / reached
    text = (
        f"{reached:,.1f} MHz reached, {used:g} MHz used; {abs(slack):,.1f} ns {'to spare' if slack >= 0 else 'short'}"
    )
    return "Timing", reached >= used, text


def _exact_check(simulation: Report) -> tuple[str, bool, str] | None:
    if not simulation:
        return None
    wrong, images = simulation["mismatches"], simulation["images"]
    text = f"{images:,} frames in {simulation['simulator']}, {wrong:,} differ from the golden model"
    return ("Differs" if wrong else "Bit-exact"), not wrong, text


def tiles(report: Report) -> list[tuple[str, str, str]]:
    """The few numbers that a reader looks for first: value, unit, meaning."""
    synthesis, accuracy, simulation = (part(report, name) for name in ("synthesis", "accuracy", "simulation"))
    found = []
    if accuracy:
        found.append((f"{accuracy['percent']:.1f}", "%", f"right, of {accuracy['images']:,} images"))
    if synthesis.get("frames_per_second"):
        how = ", estimated" if synthesis.get("estimated") else ""
        found.append((f"{synthesis['frames_per_second']:,.0f}", "/s", f"frames, in the core{how}"))
    if synthesis.get("fmax_mhz"):
        found.append((f"{synthesis['clock_mhz']:g}", "MHz", f"clock; {synthesis['fmax_mhz']:.1f} MHz reached"))
    if simulation:
        simulator = f"mismatches; {simulation['images']:,} images in {simulation['simulator']}"
        found.append((f"{simulation['mismatches']:,}", "", simulator))
    totals = part(report, "sharing").get("totals") or {}
    used = totals.get("additions_built")
    if used is not None and totals.get("additions_unshared"):
        saved = 100 * (1 - used / totals["additions_unshared"])
        found.append((f"{saved:.0f}", "%", "fewer additions by sharing"))
    return found


def digests(report: Report) -> list[tuple[str, str]]:
    """SHA-256 of what went in and of what came out, where the report has them."""
    found = [("network", part(report, "build").get("network_sha256"))]
    wanted = ("design.v", "plan.json", part(report, "synthesis").get("bitstream"))
    by_name = {each["name"]: each["sha256"] for each in report.get("files") or []}
    found += [(name, by_name[name]) for name in wanted if name in by_name]
    return [(str(name), digest) for name, digest in found if digest]


def next_steps(report: Report) -> list[str]:
    """What limits this build, and what could be changed: the largest effects first."""
    return [
        step
        for step in (
            _link_step(report),
            _interval_step(report),
            *_plan_steps(report),
            _clock_step(report),
            _room_step(report),
            _slow_step(report),
        )
        if step
    ]


def _link_step(report: Report) -> str | None:
    synthesis = part(report, "synthesis")
    link, core = synthesis.get("link_frames_per_second"), synthesis.get("frames_per_second")
    if not link or not core or core <= link:
        return None
    return (
        f"The serial link limits a bench to {link:,.1f} frames/s, {100 * link / core:.1f}{_SPACE}% of what the core "
        "does: a faster link comes before a faster core."
    )


def bottleneck(report: Report) -> str | None:
    """The layer that sets the interval, or ``input``."""
    return part(report, "plan").get("slowest") or part(report, "estimate").get("slowest")


def limiting(report: Report) -> list[Report]:
    """The plan's layers that are as slow as its slowest; none where the input is."""
    plan = part(report, "plan")
    if bottleneck(report) in (None, "input"):
        return []
    return [layer for layer in plan.get("layers", []) if layer.get("interval_cycles") == plan.get("interval_cycles")]


def _interval_step(report: Report) -> str | None:
    layers, cycles = limiting(report), part(report, "plan").get("interval_cycles")
    if bottleneck(report) == "input" and cycles:
        return f"The input sets the interval of {cycles:,} cycles, a pixel each: only a faster clock raises the rate."
    if not layers:
        return None
    names = layers[0]["name"] + (f" and {len(layers) - 1:,} more set" if len(layers) > 1 else " sets")
    folded = all(layer["engine"] == "folded" for layer in layers)
    remedy = "a wider fold raises the rate, until the next layer limits" if folded else "a faster clock raises the rate"
    return f"{names} the interval of {cycles:,} cycles: {remedy}."


def _plan_steps(report: Report) -> list[str]:
    """The next faster and the next slower plan, beside the one chosen."""
    plans = {row["plan"]: row for row in report.get("neighbours") or []}
    if "chosen" not in plans:
        return []
    words = (("larger", "faster"), ("smaller", "slower"))
    return [_plan_step(report, plans["chosen"], plans[name], word) for name, word in words if name in plans]


def _plan_step(report: Report, chosen: Report, other: Report, word: str) -> str:
    rate = 100 * (other["frames_per_second"] / chosen["frames_per_second"] - 1)
    luts, block_rams = _change(chosen, other, "luts", "LUTs"), _change(chosen, other, "block_rams", "block RAMs")
    outcome = "" if fits(report, other) else "; it does not fit"
    return (
        f"The next {word} plan, by estimates: {other['frames_per_second']:,.0f} frames/s "
        f"({_signed(round(rate))}{_SPACE}%) for {luts} and {block_rams}{outcome}."
    )


def fits(report: Report, plan: Report) -> bool:
    """Whether a neighbouring plan is within what a plan may take, as far as the report tells."""
    luts = part(report, "estimate").get("luts_usable", float("inf"))
    block_rams = part(report, "synthesis").get("block_rams_available", float("inf"))
    return plan["luts"] <= luts and plan["block_rams"] <= block_rams


def _change(chosen: Report, other: Report, key: str, what: str) -> str:
    change = other[key] - chosen[key]
    return f"{_signed(change)} {what}" if change else f"as many {what}"


def _signed(number: int) -> str:
    return f"{number:+,}".replace("-", "\u2212")


def _clock_step(report: Report) -> str | None:
    synthesis = part(report, "synthesis")
    reached, used = synthesis.get("fmax_mhz"), synthesis.get("clock_mhz")
    if not reached or not used or reached < _WORTH_SAYING * used:
        return None
    return (
        f"The routed logic would run at {reached:,.1f} MHz and gets {used:g}: the option --clock, up to that, raises "
        f"the core's rate by at most {100 * (reached / used - 1):,.0f}{_SPACE}%; a new clock places registers anew."
    )


def _room_step(report: Report) -> str | None:
    synthesis = part(report, "synthesis")
    for name, what in (("luts", "LUT places"), ("block_rams", "block RAMs")):
        used, available = synthesis.get(name), synthesis.get(f"{name}_available")
        if used and available and 100 * used > _TIGHT_PERCENT * available:
            return f"{100 * used / available:.0f}{_SPACE}% of the {what} are taken: little more fits this chip."
    return None


def _slow_step(report: Report) -> str | None:
    path = part(report, "synthesis").get("critical_path")
    if not path:
        return None
    where = f"in {path['layer']}" if path["layer"] else "in no layer that its names tell"
    total = path["net_delay_ns"] + path["logic_delay_ns"]
    share = 100 * path["net_delay_ns"] / total
    return f"The slowest path is {where}: {total:.1f} ns, {share:.0f}{_SPACE}% of it on wires."
