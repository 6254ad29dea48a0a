import binascii

import pytest

from xnorweave.boards.bitstream import check_bitstream
from xnorweave.errors import ToolchainError


def ice40(content: bytes = bytes(range(200))) -> bytes:
    checked = b"\x92\0\x20\x62" + content + b"\x22"
    return (
        bytes.fromhex("ff0000ff7eaa997e5100") + b"\1\5" + checked
        + binascii.crc_hqx(checked, 0xFFFF).to_bytes(2, "big") + bytes.fromhex("010600")
    )  # fmt: skip


def ecp5() -> bytes:
    return b"\xff\0Part: LFE5U\0\xff\xff\xff\xbd\xb3" + bytes(300) + bytes.fromhex("5e000000ffffffff")


WHOLE = {"ice40": ice40(), "ecp5": ecp5()}


@pytest.mark.parametrize("family", WHOLE)
def test_whole_ones_are_taken(family, tmp_path):
    (tmp_path / "top").write_bytes(WHOLE[family])
    check_bitstream(tmp_path / "top", family, "")


@pytest.mark.parametrize("family", WHOLE)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-5],
        lambda whole: whole[20:],
        lambda whole: bytes(len(whole)),
        lambda whole: whole + b"more",
    ],
)
def test_others_are_refused(family, spoil, tmp_path):
    (tmp_path / "top").write_bytes(spoil(WHOLE[family]))
    with pytest.raises(ToolchainError, match=r"(ice|ecp)pack: top, \d+ bytes, is no whole bitstream; .* or reinstall"):
        check_bitstream(tmp_path / "top", family, "reinstall")


def test_a_changed_bit_of_an_ice40_is_seen(tmp_path):
    changed = bytearray(ice40())
    changed[100] ^= 4
    (tmp_path / "top.bin").write_bytes(changed)
    with pytest.raises(ToolchainError, match="no whole bitstream"):
        check_bitstream(tmp_path / "top.bin", "ice40", "")


def test_a_missing_file(tmp_path):
    with pytest.raises(ToolchainError, match=r"top\.bin, 0 bytes"):
        check_bitstream(tmp_path / "top.bin", "ice40", "")
