"""How far the tools are, by lines of their real logs."""

import pytest

from xnorweave.boards.progress import GATES, LINKING, MAPPING, Follower, PlaceFollower, routing_share

YOSYS_ICE40 = """\
1. Executing Verilog-2005 frontend: design.v
2. Executing SYNTH_ICE40 pass.
2.1. Executing Verilog-2005 frontend: ice40/cells_sim.v
2.2.1. Analyzing design hierarchy..
2.3. Executing PROC pass (convert processes to netlists).
2.3.1. Executing PROC_CLEAN pass (remove empty switches from decision trees).
2.11. Executing OPT pass (performing simple optimizations).
2.21. Executing ALUMACC pass (create $alu and $macc cells).
2.23. Executing MEMORY pass.
2.23.4. Executing OPT_MEM_WIDEN pass (optimize memories where all ports are wide).
2.25. Executing MEMORY_LIBMAP pass (mapping memories to cells).
2.35. Executing DFFLEGALIZE pass (convert FFs to types supported by the target).
3. Executing FLATTEN pass (flatten design).
5. Executing SYNTH_ICE40 pass.
5.4. Executing ABC9 pass.
5.4.1. Executing ABC9_OPS pass (helper functions for ABC9).
5.7. Executing OPT_LUT pass (optimize LUTs).
10. Executing SYNTH_ICE40 pass.
10.2. Executing AUTONAME pass.
13. Executing Verilog backend.
"""
YOSYS_ECP5 = YOSYS_ICE40.replace("SYNTH_ICE40", "SYNTH_LATTICE").replace("OPT_LUT pass", "OPT_LUT_INS pass")
ROUTER1 = """\
Info: constrained 'uart_0__rx__io' to bel 'X13/Y0/io1'
Info: Packing constants..
Info: Packing IOs..
Info: Creating initial analytic placement for 2288 cells, random placement wirelen = 81277.
Info:     at initial placer iter 0, wirelen = 194
Info: Running main analytical placer, max placement attempts per cell = 1254528.
Info:     at iteration #1, type ALL: wirelen solved = 234, spread = 20787, legal = 22798; time = 1.05s
Info: Running simulated annealing placer for refinement.
Info:   at iteration #1: temp = 0.000000, timing cost = 1517, wirelen = 16328
Info: Routing..
Info: Setting up routing queue.
Info: Routing 16000 arcs.
Info:            |   (re-)routed arcs  |   delta    | remaining|       time spent     |
Info:    IterCnt |  w/ripup   wo/ripup |  w/r  wo/r |      arcs| batch(sec) total(sec)|
Info:       8000 |     6394      12905 |  413   555 |      8000|       2.14      77.76|
Info:      12000 |     6394      12905 |  413   555 |     12000|       2.14      77.76|
Info:      21846 |     7048      14014 |  253   550 |         0|       5.95      87.69|
Info: Routing complete.
Info: Critical path report for clock 'cd_sync.clk' (posedge -> posedge):
"""
ROUTER2 = """\
Info: Packing constants..
Info: Routing..
Info: Running router2...
Info: Setting up routing resources...
Info:     iter=1 wires=525650 overused=35692 overuse=41901 archfail=NA
Info:     iter=5 wires=547586 overused=3102 overuse=3124 archfail=NA
Info:     iter=12 wires=549680 overused=0 overuse=0 archfail=0
Info: Critical path report for clock 'clk' (posedge -> posedge):
"""


def told(make, log: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    follow = make(lambda stage, share: found.append((stage, share)))
    for line in log.splitlines():
        follow(line)
    shares = [share for _, share in found]
    assert shares == sorted(shares)
    return found


@pytest.mark.parametrize("log", [YOSYS_ICE40, YOSYS_ECP5], ids=["ice40", "ecp5"])
def test_every_milestone_of_mapping_is_told_once(log: str) -> None:
    found = told(lambda tell: Follower(tell, MAPPING, begin=0.2, end=0.7), log)
    assert [stage for stage, _ in found] == [milestone.stage for milestone in MAPPING]
    assert found[0] == ("mapping: reading", 0.2)
    assert found[-1] == ("mapping: names", pytest.approx(0.2 + 0.5 * MAPPING[-1].share))


def test_a_log_that_leaves_passes_out_goes_on_behind_them() -> None:
    log = "2. Executing SYNTH_ICE40 pass.\n2.9. Executing ABC9 pass.\n8. Executing JSON backend.\n"
    assert [stage for stage, _ in told(lambda tell: Follower(tell, LINKING, begin=0, end=1), log)] == [
        "linking",
        "linking: LUTs",
        "linking: writing",
    ]
    log = "4.3. Executing PROC pass (x).\n4.30. Executing ABC pass (technology mapping using ABC).\n"
    assert told(lambda tell: Follower(tell, GATES, begin=0, end=1), log) == [
        ("processes", 0.02),
        ("choosing cells", 0.4),
    ]


def test_other_lines_say_nothing() -> None:
    log = "Executing PROC pass\n[2.3. Executing PROC pass]\nInfo: Routed\nWarning: Packing\n\x00\n"
    assert told(lambda tell: Follower(tell, MAPPING, begin=0, end=1), log) == []
    assert told(lambda tell: PlaceFollower(tell, begin=0, end=1), log) == []


def test_nextpnr_with_router1() -> None:
    found = told(lambda tell: PlaceFollower(tell, begin=0, end=1), ROUTER1)
    assert [stage for stage, _ in found] == [
        "packing",
        "placing",
        "refining the placement",
        *["routing"] * 4,
        "analysing timing",
    ]
    half, again, whole = (share for stage, share in found[4:7])
    assert half == again == pytest.approx((0.6 + 0.95) / 2)  # what was ripped up again is no step back
    assert whole == pytest.approx(0.95)


def test_nextpnr_with_router2() -> None:
    found = told(lambda tell: PlaceFollower(tell, begin=0.4, end=1), ROUTER2)
    assert [stage for stage, _ in found] == ["packing", *["routing"] * 4, "analysing timing"]
    assert found[1][1] == found[2][1] < found[3][1] < found[4][1] == pytest.approx(0.4 + 0.6 * 0.95)


@pytest.mark.parametrize(
    ("left", "most", "straight", "share"),
    [(5, 0, True, 0.0), (12, 10, True, 0.0), (10, 10, False, 0.0), (2, 8, True, 0.75), (0, 8, False, 1.0)],
)
def test_the_share_of_the_routing(left: int, most: int, straight: bool, share: float) -> None:
    assert routing_share(left, most, straight=straight) == share
