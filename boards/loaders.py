"""The program that brings a bitstream onto each board: openFPGALoader where it knows the board, else the board's own.

Board names are openFPGALoader's; the other programs, and their arguments, are those that amaranth-boards calls.
"""

import shlex
from dataclasses import dataclass

__all__ = ["Loader", "loader_of"]


@dataclass(frozen=True, kw_only=True)
class Loader:
    """How one board is loaded.

    Parameters
    ----------
    to_ram : tuple of str
        Program and arguments that configure the chip until it loses power, ``{}`` being the bitstream; empty where the
        board is loaded through its flash only.
    to_flash : tuple of str
        The same for the flash from which the chip configures itself at power-up; empty where that is not known.
    remedy : str
        How to get the program.
    """

    to_ram: tuple[str, ...]
    to_flash: tuple[str, ...]
    remedy: str

    def command(self, bitstream: str, *, permanent: bool = False) -> tuple[str, ...]:
        """Program and arguments for a bitstream: into the chip if that is possible and not ``permanent``.

        Empty if ``permanent`` and the way into the flash is not known.
        """
        chosen = self.to_flash if permanent or not self.to_ram else self.to_ram
        return tuple(part.replace("{}", bitstream) for part in chosen)

    def line(self, bitstream: str) -> str:
        """The command for a shell."""
        return shlex.join(self.command(bitstream))


_OPEN_REMEDY = "install openFPGALoader, from a package of the same name or https://github.com/trabucayre/openFPGALoader"


def _jtag(*target: str) -> Loader:
    program = ("openFPGALoader", *target)
    return Loader(to_ram=(*program, "-m", "{}"), to_flash=(*program, "-f", "{}"), remedy=_OPEN_REMEDY)


def _flash(*arguments: str, remedy: str = _OPEN_REMEDY) -> Loader:
    return Loader(to_ram=(), to_flash=arguments, remedy=remedy)


def _dfu(*device: str) -> Loader:
    return _flash("dfu-util", *device, "-D", "{}", remedy="install dfu-util, and start the board in its boot loader")


_ICE40_FTDI = _flash("openFPGALoader", "-b", "ice40_generic", "{}")
_LOGICBONE = _dfu("-d", "1d50:615d", "-a", "0", "-R")
_ORANGECRAB = _dfu("-a", "0")
_ICESPROG = _flash("icesprog", "{}", remedy="install icesprog, https://github.com/wuxx/icesugar")
_BLACKICE = _flash("cp", "{}", "/dev/ttyACM0", remedy="connect the board; its firmware takes the file from the port")
_LOADERS = {
    "blackice": _BLACKICE,
    "blackice-ii": _BLACKICE,
    "colorlight-5a75b-r7-0": _jtag("-c", "ft232"),
    "ecp5-5g-evn": _jtag("-b", "ecp5_evn"),
    "ecpix5-45": _jtag("-b", "ecpix5"),
    "ecpix5-85": _jtag("-b", "ecpix5"),
    "fomu-hacker": _dfu(),
    "fomu-pvt": _dfu(),
    "ice40-hx1k-blink-evn": _flash("iCEburn", "-evw", "{}", remedy="install iCEburn"),
    "ice40-hx8k-b-evn": _ICE40_FTDI,
    "ice40-up5k-b-evn": _ICE40_FTDI,
    "icebreaker": _ICE40_FTDI,
    "icebreaker-bitsy": _dfu("-d", ",1d50:6146", "-a", "0", "-R"),
    "icepi-zero": _jtag("-b", "icepi-zero"),
    "icestick": _ICE40_FTDI,
    "icesugar": _ICESPROG,
    "icesugar-nano": _ICESPROG,
    "icesugar-pro": _ICESPROG,
    "logicbone": _LOGICBONE,
    "logicbone-85f": _LOGICBONE,
    "nandland-go": _ICE40_FTDI,
    "orangecrab-r0-1": _ORANGECRAB,
    "orangecrab-r0-2": _ORANGECRAB,
    "orangecrab-r0-2-25f": _ORANGECRAB,
    "orangecrab-r0-2-85f": _ORANGECRAB,
    "tinyfpga-bx": _flash("tinyprog", "-p", "{}", remedy="pip install tinyprog"),
    "ulx3s-12f": _jtag("-b", "ulx3s"),
    "ulx3s-25f": _jtag("-b", "ulx3s"),
    "ulx3s-45f": _jtag("-b", "ulx3s"),
    "ulx3s-85f": _jtag("-b", "ulx3s"),
}


def loader_of(board_name: str) -> Loader | None:
    """The loader of a board of `xnorweave.boards.catalogue`; None where it is not known."""
    return _LOADERS.get(board_name)
