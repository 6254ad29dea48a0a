"""How to use a bitstream: commands, pins, and a program that sends what the link takes."""

import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import xnorweave
from xnorweave.boards.catalogue import board, boards
from xnorweave.boards.host import frame_payloads
from xnorweave.boards.usage import usage_of
from xnorweave.design import Design
from xnorweave.network import ArgMax, Dense, InputSpec, Network
from xnorweave.network_file import network_bytes, save_network

WITH_UART = [each.name for each in boards() if each.link]
WITHOUT_LOADER = {"versa-ecp5", "versa-ecp5-5g"}


def design(input_bits: int, words: int = 6, output_bits: int = 4) -> Design:
    return Design(
        verilog="", input_bits=input_bits, output_bits=output_bits, input_words=words, output_words=1, taps=()
    )


def usage(name: str = "icebreaker", input_bits: int = 8, **changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"baud": 10**6, "bitstream": "top.bin", "classes": ()} | changes
    return usage_of(board(name), design(input_bits), **facts)


@pytest.mark.parametrize("name", WITH_UART)
def test_every_board_with_a_serial_port_has_pins_and_most_a_loader(name: str) -> None:
    found = usage(name)
    assert found["pins"].keys() == {"clock", "rx", "tx"}
    assert ("load" in found) == (name not in WITHOUT_LOADER)
    assert "top.bin" in found.get("load", "top.bin")


def test_the_icebreakers_pins_are_those_of_its_schematic() -> None:
    assert usage()["pins"] == {"clock": "35", "rx": "6", "tx": "9"}
    assert usage()["load"] == "openFPGALoader -b ice40_generic top.bin"


def test_a_port_on_a_connector_has_the_connectors_pins() -> None:
    assert usage("orangecrab-r0-2-25f")["pins"] == {"clock": "A9", "rx": "N17", "tx": "M18"}


def test_spi_has_its_pins_on_connector_and_chip_and_a_port_of_its_own() -> None:
    found = usage("icebreaker", link="spi", baud=2_000_000)
    assert found["pins"] == {"clock": "35", "sck": "4", "mosi": "2", "miso": "47", "cs_n": "45"}
    assert found["place"] == "pmod 0: sck 1, mosi 2, miso 3, cs_n 4"
    assert 'xnorweave.Board("/dev/spidev0.0", network, baud=2000000)' in found["host"][3]
    assert "place" not in usage("icebreaker")
    assert usage("tinyfpga-bx")["place"] == "gpio 0: rx 1, tx 2"


def test_classes_are_named_as_far_as_the_network_names_them() -> None:
    assert usage(classes=("cat", "dog"))["classes"] == ["cat", "dog"]
    assert "classes" not in usage()
    assert len(usage(classes=tuple(map(str, range(1000))))["classes"]) == 100


@pytest.mark.parametrize(("kind", "channels"), [("pixels", 3), ("bits", 1)], ids=str)
def test_the_program_asks_the_board_for_the_images_classes(kind: Any, channels: int, tmp_path, monkeypatch) -> None:
    """Run it beside its two files, on a board that keeps what it is asked."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256 if kind == "pixels" else 2, (2, 3, 2, channels)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=images)
    layers = (Dense(name="d", weights=np.ones((2, channels * 6), np.int8)), ArgMax(name="a"))
    network = Network(name="n", input=InputSpec(kind=kind, shape=(channels, 3, 2)), layers=layers)
    save_network(network, tmp_path / "NET.npz")
    asked: list[Any] = []

    class Kept:
        def __init__(self, port: str, held: Network, *, baud: int):
            asked.extend([port, network_bytes(held), baud])

        def __enter__(self) -> "Kept":
            return self

        def __exit__(self, *_: object) -> None:
            asked.append("closed")

        def classify(self, frames: np.ndarray) -> SimpleNamespace:
            asked.append(frames)
            return SimpleNamespace(classes=[7, 7])

    monkeypatch.setattr(xnorweave, "Board", Kept, raising=False)
    monkeypatch.chdir(tmp_path)
    found = usage(input_bits=channels * (8 if kind == "pixels" else 1), baud=115_200)
    printed: list[Any] = []
    exec("\n".join(found["host"]), {"print": printed.append})
    port, held, baud, frames, closed = asked
    assert (port, held, baud, closed) == ("/dev/ttyUSB1", network_bytes(network), 115_200, "closed")
    assert np.array_equal(frames, images.transpose(0, 3, 1, 2))
    assert printed == [[7, 7]]
    assert len(found["host"]) == 5
    assert {len(frame) for frame in frame_payloads(network, frames)} == {found["frame_bytes"]}


def test_loaders_are_programs_by_name() -> None:
    loaders = {usage(name)["load"].split()[0] for name in WITH_UART if name not in WITHOUT_LOADER}
    assert loaders == {"openFPGALoader", "icesprog", "dfu-util", "iCEburn", "tinyprog", "cp"}
    assert all(shutil.which(name) or "/" not in name for name in loaders)
