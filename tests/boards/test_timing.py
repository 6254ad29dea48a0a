"""The slowest path in nextpnr's report, told by layer."""

from typing import Any

import pytest

from xnorweave.boards.timing import critical_path


def step(kind: str, delay: float, source: str, target: str, net: str | None = None) -> dict[str, Any]:
    named = {"net": net} if net else {}
    return {"type": kind, "delay": delay, "from": {"cell": source}, "to": {"cell": target}} | named


def report(*steps: dict[str, Any], source: str = "posedge clk", target: str = "posedge clk") -> dict[str, Any]:
    return {"critical_paths": [{"from": source, "to": target, "path": list(steps)}]}


def test_delays_are_divided_into_wires_and_logic() -> None:
    found = critical_path(
        report(
            step("clk-to-q", 1.0, "core.layer_a.x_LC", "core.layer_a.x_LC"),
            step("routing", 2.5, "core.layer_a.x_LC", "core.layer_b.y_LC", "core.layer_a.x"),
            step("logic", 0.5, "core.layer_b.y_LC", "core.layer_b.y_LC"),
            step("routing", 0.75, "core.layer_b.y_LC", "core.layer_b.z_LC", "core.layer_b.y"),
            step("setup", 0.25, "core.layer_b.z_LC", "core.layer_b.z_LC"),
        )
    )
    ends = {"from": "core.layer_a.x_LC", "to": "core.layer_b.z_LC"}
    assert found == {"layer": "a", "net_delay_ns": 3.25, "logic_delay_ns": 1.75, "steps": 2} | ends


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("core.layer_conv1_pool.window", "conv1_pool"),
        ("core.layer_fc__o__payload[3]", "fc"),
        ("core.pixel_table.x", "table"),
        ("link.buffer.x", "link"),
        ("receiver.rx", "link"),
        ("core.$14_LC", None),
        ("$nextpnr_LC_4", None),
    ],
)
def test_layers_are_told_by_names(name: str, layer: str | None) -> None:
    found = critical_path(report(step("routing", 1.0, name, name)))
    assert found is not None
    assert found["layer"] == layer


def test_cells_tell_the_layer_where_a_net_does_not() -> None:
    found = critical_path(report(step("routing", 1.0, "$cell", "core.layer_a.x", "$net")))
    assert found is not None
    assert found["layer"] == "a"


def test_the_slowest_path_between_registers_is_taken() -> None:
    document = report(step("routing", 9.0, "slow", "slow"), source="<async>")
    document["critical_paths"] += report(step("routing", 1.0, "fast", "fast"))["critical_paths"]
    document["critical_paths"] += report(step("routing", 2.0, "right", "right"))["critical_paths"]
    found = critical_path(document)
    assert found is not None
    assert found["from"] == "right"


def test_long_names_are_cut() -> None:
    found = critical_path(report(step("routing", 1.0, "x" * 500, "y")))
    assert found is not None
    assert len(found["from"]) == 80


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"critical_paths": []},
        report(source="<async>"),
        report(),
        report({"type": "routing"}),
        {"critical_paths": [3]},
    ],
    ids=["no paths", "none", "async", "empty", "strange step", "strange path"],
)
def test_what_tells_of_no_path_gives_none(document: dict[str, Any]) -> None:
    assert critical_path(document) is None
