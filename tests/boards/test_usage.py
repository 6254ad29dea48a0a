"""How to use a bitstream: commands, pins, and a program that sends what the link takes."""

import shutil
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from xnorweave.boards.catalogue import board, boards
from xnorweave.boards.link import Link
from xnorweave.boards.usage import usage_of
from xnorweave.design import Design
from xnorweave.network import ArgMax, Dense, InputSpec, Network
from xnorweave.sim.vectors import input_words

WITH_UART = [each.name for each in boards() if each.has_uart]
WITHOUT_LOADER = {"versa-ecp5", "versa-ecp5-5g"}


def design(input_bits: int, words: int = 6, output_bits: int = 4) -> Design:
    return Design(
        verilog="", input_bits=input_bits, output_bits=output_bits, input_words=words, output_words=1, taps=()
    )


def usage(name: str = "icebreaker", input_bits: int = 8, **changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"kind": "pixels", "baud": 10**6, "bitstream": "top.bin", "classes": ()} | changes
    return usage_of(board(name), design(input_bits), **facts)


@pytest.mark.parametrize("name", WITH_UART)
def test_every_board_with_a_serial_port_has_pins_and_most_a_loader(name: str) -> None:
    found = usage(name)
    assert found["pins"].keys() == {"clock", "rx", "tx"}
    assert ("load" in found) == (name not in WITHOUT_LOADER)
    assert "top.bin" in found.get("load", "top.bin")


def test_the_icebreakers_pins_are_those_of_its_schematic() -> None:
    assert usage()["pins"] == {"clock": "35", "rx": "6", "tx": "9"}
    assert usage()["load"] == "iceprog top.bin"


def test_classes_are_named_as_far_as_the_network_names_them() -> None:
    assert usage(classes=("cat", "dog"))["classes"] == ["cat", "dog"]
    assert "classes" not in usage()
    assert len(usage(classes=tuple(map(str, range(1000))))["classes"]) == 100


@pytest.mark.parametrize(
    ("kind", "channels"), [("pixels", 1), ("pixels", 3), ("bits", 1), ("bits", 3), ("bits", 11)], ids=str
)
def test_the_program_sends_what_the_link_takes(kind: Any, channels: int, tmp_path, monkeypatch) -> None:
    """Run it on a port that keeps what is written."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256 if kind == "pixels" else 2, (2, 3, 2, channels)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=images[..., 0] if channels == 1 else images)
    sent, opened = [], []

    class Port:
        def __init__(self, *where: Any, **how: Any):
            opened.append((where, how))

        def write(self, data: bytes) -> None:
            sent.append(data)

        def read(self, count: int) -> bytes:
            return bytes([7]) * count

    serial = ModuleType("serial")
    serial.Serial = Port  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "serial", serial)
    monkeypatch.chdir(tmp_path)
    input_bits = channels * (8 if kind == "pixels" else 1)
    found = usage(input_bits=input_bits, kind=kind, baud=115_200)
    printed: list[int] = []
    exec("\n".join(found["host"]), {"print": printed.append})

    weights = np.ones((2, channels * 6), np.int8)
    layers = (Dense(name="d", weights=weights), ArgMax(name="a"))
    network = Network(name="n", input=InputSpec(kind=kind, shape=(channels, 3, 2)), layers=layers)
    link = Link(input_bits=input_bits, output_bits=4, input_words=6, timeout_cycles=9, reset_cycles=9)
    words = input_words(network, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    assert sent == [b"".join(word.to_bytes(link.word_bytes, "little") for word in frame) for frame in words]
    assert {len(frame) for frame in sent} == {found["frame_bytes"]} == {link.frame_bytes}
    assert found["answer_bytes"] == link.answer_bytes
    assert printed == [7, 7]
    assert opened[0][0][1] == 115_200
    assert len(found["host"]) == 5


def test_loaders_are_programs_by_name() -> None:
    loaders = {usage(name)["load"].split()[0] for name in WITH_UART if name not in WITHOUT_LOADER}
    assert loaders == {"iceprog", "icesprog", "openFPGALoader", "cp"}
    assert all(shutil.which(name) or "/" not in name for name in loaders)
