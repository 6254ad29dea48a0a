"""Whether what configures a chip is whole: packers take a text without its end, and only the chip reads bitstreams."""

import binascii
import re
from collections import Counter
from pathlib import Path

from xnorweave.boards.catalogue import Family
from xnorweave.errors import ToolchainError

__all__ = ["check_bitstream", "check_configuration"]

# Commands of the iCE40's configuration (Project IceStorm, "Bitstream File Format"), and of the ECP5's (FPGA-TN-02039).
_ICE40_PREAMBLE, _ICE40_CRC_RESET, _ICE40_WAKE_UP = bytes.fromhex("7eaa997e"), bytes.fromhex("0105"), b"\1\6"
_ICE40_CRC_START = 0xFFFF
_ECP5_COMMENT, _ECP5_PREAMBLE, _ECP5_END = b"\xff\0", bytes.fromhex("ffffbdb3"), bytes.fromhex("5e000000ffffffff")


def check_configuration(path: Path, family: Family, *, block_rams: int, plls: int, remedy: str) -> None:
    """Refuse the text that nextpnr wrote for the packer where its end is missing.

    An iCE40's ends with the names of its nets, behind everything that counts. An ECP5's has, behind all tiles, the
    content of each block RAM, then a group of tiles for each block RAM and PLL; a cut between two tiles of a design
    that has neither is not seen.

    Raises
    ------
    ToolchainError
        If the file is not whole.
    """
    content = _content(path)
    whole = _whole_asc(content) if family == "ice40" else _whole_config(content, block_rams, plls)
    if not whole:
        raise _not_whole(f"nextpnr-{family}", path, content, "configuration", remedy)


def _whole_asc(content: bytes) -> bool:
    return content.endswith(b"\n") and content[content.rfind(b"\n", 0, -1) + 1 :].startswith(b".sym ")


def _whole_config(content: bytes, block_rams: int, plls: int) -> bool:
    counts = Counter(re.findall(rb"^\.\w+", content, re.MULTILINE))
    return (
        content.endswith(b"\n\n")
        and counts[b".tile"] > 0
        and counts[b".bram_init"] == block_rams
        and counts[b".tile_group"] == block_rams + plls
    )


def check_bitstream(path: Path, family: Family, remedy: str) -> None:
    """Refuse what is cut or changed: an iCE40's by its checksum, an ECP5's by how it begins and ends.

    Raises
    ------
    ToolchainError
        If the file is no whole bitstream.
    """
    content = _content(path)
    whole = _whole_ice40(content) if family == "ice40" else _whole_ecp5(content)
    if not whole:
        raise _not_whole("icepack" if family == "ice40" else "ecppack", path, content, "bitstream", remedy)


def _content(path: Path) -> bytes:
    """Nothing where there is no file."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _not_whole(tool: str, path: Path, content: bytes, what: str, remedy: str) -> ToolchainError:
    return ToolchainError(
        f"{tool}: {path.name}, {len(content)} bytes, is no whole {what}; "
        f"remedy: free some space on the disk, or {remedy}"
    )


def _whole_ice40(content: bytes) -> bool:
    start = content.find(_ICE40_CRC_RESET, content.find(_ICE40_PREAMBLE))
    end = content.rfind(_ICE40_WAKE_UP)
    return (
        _ICE40_PREAMBLE in content
        and 0 <= start < end
        and not content[end + len(_ICE40_WAKE_UP) :].strip(b"\0")
        # A checksum over its own value as well is zero.
        and binascii.crc_hqx(content[start + len(_ICE40_CRC_RESET) : end], _ICE40_CRC_START) == 0
    )


def _whole_ecp5(content: bytes) -> bool:
    return content.startswith(_ECP5_COMMENT) and _ECP5_PREAMBLE in content[:1000] and content.endswith(_ECP5_END)
