"""Whether what configures a chip is whole: packers take a configuration whose end is missing, chips any bitstream."""

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


def check_configuration(path: Path, family: Family, block_rams: int, remedy: str) -> None:
    """Refuse the text that nextpnr wrote for the packer where its end is missing.

    An iCE40's ends with the names of its nets, behind everything that counts. An ECP5's has the content of each block
    RAM behind all tiles, and a group of tiles for each; without block RAM a cut between two tiles is not seen.

    Raises
    ------
    ToolchainError
        If the file is not whole.
    """
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        text = ""
    whole = _whole_asc(text) if family == "ice40" else _whole_config(text, block_rams)
    if not whole:
        raise ToolchainError(
            f"nextpnr-{family}: {path.name}, {len(text)} characters, is cut; "
            f"remedy: free some space on the disk, or {remedy}"
        )


def _whole_asc(text: str) -> bool:
    return text.endswith("\n") and text[text.rfind("\n", 0, -1) + 1 :].startswith(".sym ")


def _whole_config(text: str, block_rams: int) -> bool:
    counts = Counter(re.findall(r"^\.\w+", text, re.MULTILINE))
    return (
        text.endswith("\n\n")
        and counts[".tile"] > 0
        and counts[".bram_init"] == block_rams
        and counts[".tile_group"] >= block_rams
    )


def check_bitstream(path: Path, family: Family, remedy: str) -> None:
    """Refuse what is cut or changed: an iCE40's by its checksum, an ECP5's by how it begins and ends.

    Raises
    ------
    ToolchainError
        If the file is no whole bitstream.
    """
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    whole = _whole_ice40(content) if family == "ice40" else _whole_ecp5(content)
    if not whole:
        raise ToolchainError(
            f"{'icepack' if family == 'ice40' else 'ecppack'}: {path.name}, {len(content)} bytes, is no whole "
            f"bitstream; remedy: free some space on the disk, or {remedy}"
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
