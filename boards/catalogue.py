"""The boards that designs are built for: every iCE40 and ECP5 board of amaranth-boards, as that defines them.

A board that has no serial port, but a connector, gets one on the connector's first free pins; the next ones, where
there are any, carry SPI.
"""

import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import amaranth_boards
from amaranth.build import Attrs, DiffPairs, Pins, Resource, Subsignal
from amaranth.vendor import LatticeECP5Platform, LatticeICE40Platform

from xnorweave.errors import DeviceError

__all__ = ["SPI_RESOURCE", "Board", "Family", "Platform", "board", "boards", "boards_that_fit"]

Family = Literal["ice40", "ecp5"]
Platform = LatticeICE40Platform | LatticeECP5Platform

SPI_RESOURCE = "spi_link"
"""The resource on whose pins a link over SPI is: ``sck``, ``mosi``, ``miso`` and ``cs_n``, as the host drives them."""

_ICE40_BLOCK_RAM_BITS = 4096
_ECP5_BLOCK_RAM_BITS = 18432
# LUTs and block RAMs as nextpnr offers them: HX4K and LP4K are 8K dies, the 12F is a 25F die.
_ICE40_CHIPS = {
    "LP1K": (1280, 16),
    "HX1K": (1280, 16),
    "LP4K": (7680, 32),
    "HX4K": (7680, 32),
    "LP8K": (7680, 32),
    "HX8K": (7680, 32),
    "UP5K": (5280, 30),
}
_ECP5_CHIPS = {"12F": (24288, 56), "25F": (24288, 56), "45F": (43848, 108), "85F": (83640, 208)}
# Its class cannot be given options of the toolchain (amaranth-boards 0.0.21).
_UNUSABLE = ("Supercon19BadgePlatform",)
# Connectors whose voltage is set by what is plugged in.
_OTHER_VOLTAGES = ("syzygy", "syzygy-txr")


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board and the limits of its chip.

    Parameters
    ----------
    name : str
        As in amaranth-boards, lower case with hyphens, e.g. ``ulx3s-85f``.
    title : str
        For people, e.g. ``ICEBreaker``.
    family : {"ice40", "ecp5"}
        What Yosys and nextpnr call the chip's family.
    device, package : str
        Chip, e.g. ``UP5K`` or ``LFE5U-85F``, and its package.
    luts : int
        Four-input LUTs, each with a flip-flop.
    block_rams, block_ram_bits : int
        Block RAMs of the chip, and bits in each of them.
    clock_mhz : float
        The board's own clock.
    clock_is_chips : bool
        Whether that is the chip's own oscillator, which is too inexact for a link.
    link : str
        What the serial port is on: ``uart`` where the board has one; else pins of a connector, e.g. ``pmod 0: rx 1,
        tx 2``, to which an adapter is wired. Empty where there is neither, or where the clock is the chip's own.
    spi : str
        What a link over SPI is on, such as ``pmod 0: sck 3, mosi 4, miso 7, cs_n 8``. Empty where connectors have too
        few free pins, or the clock is the chip's own.
    platform : callable
        Makes a new amaranth-boards platform, with the resources ``uart`` and `SPI_RESOURCE` as far as there are pins;
        one serves one build.
    """

    name: str
    title: str
    family: Family
    device: str
    package: str
    luts: int
    block_rams: int
    block_ram_bits: int
    clock_mhz: float
    clock_is_chips: bool
    link: str
    spi: str
    platform: Callable[[], Platform]


@dataclass(frozen=True, kw_only=True)
class _FreePin:
    """A pin of a connector that nothing else on the board uses."""

    connector: str
    number: str
    pin: str


@dataclass(frozen=True, kw_only=True)
class _Port:
    """A port on pins of connectors: each line's name and direction, as the chip sees it, and its pin."""

    resource_name: str
    lines: tuple[tuple[str, Literal["i", "o"]], ...]
    pins: tuple[_FreePin, ...]

    @property
    def place(self) -> str:
        """Connectors and their pins; a connector is named again only where it changes."""
        said, before = [], ""
        for (name, _), pin in zip(self.lines, self.pins, strict=True):
            said.append(f"{name} {pin.number}" if pin.connector == before else f"{pin.connector}: {name} {pin.number}")
            before = pin.connector
        return ", ".join(said)

    def resource(self, family: Family) -> Resource:
        attributes = Attrs(IO_STANDARD="SB_LVCMOS") if family == "ice40" else Attrs(IO_TYPE="LVCMOS33")
        lines = [
            Subsignal(name, Pins(pin.pin, dir=direction, assert_width=1))
            for (name, direction), pin in zip(self.lines, self.pins, strict=True)
        ]
        return Resource(self.resource_name, 0, *lines, attributes)


_UART: tuple[tuple[str, Literal["i", "o"]], ...] = (("rx", "i"), ("tx", "o"))
_SPI: tuple[tuple[str, Literal["i", "o"]], ...] = (("sck", "i"), ("mosi", "i"), ("miso", "o"), ("cs_n", "i"))


@functools.cache
def boards() -> tuple[Board, ...]:
    """All boards, in order of their names."""
    return tuple(_board_of(name) for name in sorted(_definitions()))


def board(name: str) -> Board:
    """The board of that name.

    Raises
    ------
    DeviceError
        If there is none; tells the nearest names.
    """
    known = _definitions()
    if name in known:
        return _board_of(name)
    near = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"boards: {', '.join(sorted(known))}"
    raise DeviceError(f"unknown board {name!r}; {remedy}")


def boards_that_fit(*, luts: int, block_ram_bits: int, headroom: float = 1.1) -> tuple[Board, ...]:
    """Boards with a link that hold so much, smallest first, and those with a serial port of their own before others.

    Parameters
    ----------
    luts, block_ram_bits : int
        What the design takes; block RAM in whole blocks' bits.
    headroom : float
        Factor on ``luts``: place and route fails on a chip that is full.
    """
    fitting = [
        each
        for each in boards()
        if each.link and each.luts >= luts * headroom and each.block_rams * each.block_ram_bits >= block_ram_bits
    ]
    return tuple(sorted(fitting, key=lambda each: (each.luts, each.link != "uart", each.name)))


@functools.cache
def _definitions() -> dict[str, type[Any]]:
    """The classes of amaranth-boards that are boards with a chip and a clock that we know, by our names for them."""
    found: dict[str, type[Any]] = {}
    for info in pkgutil.iter_modules(amaranth_boards.__path__):
        if info.ispkg:
            continue
        module = importlib.import_module(f"{amaranth_boards.__name__}.{info.name}")
        classes = [each for _, each in inspect.getmembers(module, inspect.isclass) if _is_board(each, module.__name__)]
        for each in classes:
            found[_name_of(info.name, each.__name__, alone=len(classes) == 1)] = each
    return found


def _is_board(found: Any, module: str) -> bool:
    if found.__module__ != module or found.__name__ in _UNUSABLE:
        return False
    if not issubclass(found, LatticeICE40Platform | LatticeECP5Platform):
        return False
    device, clock = (getattr(found, name, None) for name in ("device", "default_clk"))
    return not inspect.isabstract(found) and _limits(device) is not None and isinstance(clock, str)


def _name_of(module: str, name: str, *, alone: bool) -> str:
    """The module's name; where it has several boards, with what the class's name says beyond it."""
    base = module.strip("_").replace("_", "-").lower()
    if alone:
        return base
    letters = name.removesuffix("Platform").replace("_", "").lower()
    variant = letters.removeprefix(base.replace("-", ""))
    return f"{base}-{variant}" if variant else base


def _limits(device: object) -> tuple[Family, int, int, int] | None:
    """Family, LUTs, block RAMs and the bits of one; None for a chip of another kind."""
    if not isinstance(device, str):
        return None
    if device.removeprefix("iCE40") in _ICE40_CHIPS:
        return "ice40", *_ICE40_CHIPS[device.removeprefix("iCE40")], _ICE40_BLOCK_RAM_BITS
    series, _, size = device.rpartition("-")
    if series.startswith("LFE5U") and size in _ECP5_CHIPS:
        return "ecp5", *_ECP5_CHIPS[size], _ECP5_BLOCK_RAM_BITS
    return None


@functools.cache
def _board_of(name: str) -> Board:
    definition = _definitions()[name]
    platform = definition()
    limits = _limits(platform.device)
    assert limits is not None
    family, luts, block_rams, ram_bits = limits
    exact = (platform.default_clk, 0) in platform.resources
    wired = ("uart", 0) in platform.resources
    free = _free_pins(platform)
    ports, places = [], {"uart": "uart" if exact and wired else "", SPI_RESOURCE: ""}
    for resource, lines, wanted in (("uart", _UART, exact and not wired), (SPI_RESOURCE, _SPI, exact)):
        if wanted and len(free) >= len(lines):
            port = _Port(resource_name=resource, lines=lines, pins=tuple(free[: len(lines)]))
            free = free[len(lines) :]
            ports.append(port)
            places[resource] = port.place

    def make() -> Platform:
        made = definition()
        made.add_resources([port.resource(family) for port in ports])
        return made

    return Board(
        name=name,
        title=definition.__name__.removesuffix("Platform").replace("_", " "),
        family=family,
        device=str(platform.device).removeprefix("iCE40"),
        package=platform.package,
        luts=luts,
        block_rams=block_rams,
        block_ram_bits=ram_bits,
        clock_mhz=platform.default_clk_frequency / 1e6,
        clock_is_chips=not exact,
        link=places["uart"],
        spi=places[SPI_RESOURCE],
        platform=make,
    )


def _free_pins(platform: Any) -> list[_FreePin]:
    """Pins of connectors that nothing else on the board uses, in the order of the connectors."""
    taken = {pin for resource in platform.resources.values() for pin in _pins(resource.ios)}
    free: dict[str, _FreePin] = {}  # a pin may be on several connectors
    for (kind, place), connector in platform.connectors.items():
        for number, pin in connector.mapping.items():
            if kind not in _OTHER_VOLTAGES and pin not in taken and f"{kind}_{place}:{number}" not in taken:
                free.setdefault(pin, _FreePin(connector=f"{kind} {place}", number=number, pin=pin))
    return list(free.values())


def _pins(ios: Any) -> Iterator[str]:
    """Names of the pins of a resource's parts."""
    for each in ios:
        if isinstance(each, Subsignal):
            yield from _pins(each.ios)
        elif isinstance(each, DiffPairs):
            yield from (*each.p.names, *each.n.names)
        elif isinstance(each, Pins):
            yield from each.names
