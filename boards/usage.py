"""How to use a finished bitstream: pins, the command that loads it, and a program that talks to it."""

from typing import Any

from amaranth.build import DiffPairs, Pins, Resource, Subsignal

from xnorweave.boards.catalogue import SPI_RESOURCE, Board
from xnorweave.boards.link_format import LinkKind, bytes_per_word
from xnorweave.boards.loaders import loader_of
from xnorweave.design import Design

__all__ = ["usage_of"]

_MOST_CLASSES = 100
_LINES = ("rx", "tx", "sck", "mosi", "miso", "cs_n")
_PORTS: dict[LinkKind, str] = {"uart": "/dev/ttyUSB1", "spi": "/dev/spidev0.0"}


def usage_of(
    board: Board, design: Design, *, baud: int, bitstream: str, classes: tuple[str, ...], link: LinkKind = "uart"
) -> dict[str, Any]:
    """``usage`` of a report.

    Parameters
    ----------
    board : Board
        What the bitstream is for.
    design : Design
        The core in it.
    baud : int
        Bits a second of the link.
    bitstream : str
        File name in the build folder.
    classes : tuple of str
        What the answers mean, as far as the network says.
    link : {"uart", "spi"}
        What carries the link's bytes.

    Returns
    -------
    dict
        ``link``, ``pins``, ``baud``, ``frame_bytes``, ``answer_bytes``, ``ports`` of the core, ``host`` (lines of
        Python) and, where there are any, ``load`` (a command), ``place`` (of the link's lines on connectors) and
        ``classes`` (the first ones).
    """
    frame_bytes = design.input_words * bytes_per_word(design.input_bits)
    answer_bytes = bytes_per_word(design.output_bits)
    loader = loader_of(board.name)
    load = {} if loader is None else {"load": loader.line(bitstream)}
    place = board.spi if link == "spi" else board.link
    placed = {} if place == "uart" else {"place": place}
    named = {"classes": list(classes[:_MOST_CLASSES])} if classes else {}
    return {
        "board": board.title,
        "link": link,
        "pins": _pins(board, link),
        "baud": baud,
        "frame_bytes": frame_bytes,
        "answer_bytes": answer_bytes,
        "ports": {
            "clk": 1,
            "rst": 1,
            "i__payload": design.input_bits,
            "o__payload": design.output_bits,
        },
        "host": _host(baud, _PORTS[link]),
        **load,
        **placed,
        **named,
    }


def _pins(board: Board, link: LinkKind) -> dict[str, str]:
    """Pins of the chip: the clock, and the link's lines as the chip sees them."""
    platform: Any = board.platform()
    clock: Resource = platform.resources[platform.default_clk, 0]
    port: Resource = platform.resources[{"uart": "uart", "spi": SPI_RESOURCE}[link], 0]
    pins = {"clock": _first_pin(clock.ios[0])}
    for each in port.ios:
        if isinstance(each, Subsignal) and each.name in _LINES:
            pins[each.name] = _first_pin(each.ios[0])
    return {name: pin for name, pin in pins.items() if pin}


def _first_pin(ios: object) -> str:
    if isinstance(ios, Pins):
        return ios.names[0]
    return ios.p.names[0] if isinstance(ios, DiffPairs) else ""


def _host(baud: int, port: str) -> list[str]:
    """A program that asks the board for the classes of a file's images."""
    return [
        "import xnorweave",
        "from xnorweave.images import load_images",
        'network = xnorweave.load("NET.npz")',
        f'with xnorweave.Board("{port}", network, baud={baud}) as board:',
        '    print(board.classify(load_images("images.npz", network).frames).classes)',
    ]
