import binascii

import pytest

from xnorweave.boards.bitstream import check_bitstream, check_configuration
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


ASC = """.comment from next-pnr
.device 1k
.io_tile 1 0
0000
0000

.ram_data 3 1
0000

.extra_bit 1 330 142
.sym 12 core.o
.sym 13 $PACKER_VCC_NET
"""
CONFIG = """.device LFE5U-25F

.comment Part: LFE5U-25F-6CABGA381

.tile CIB_R10C1:CIB_LR
arc: A1 H00L0000

.tile TAP_R9C4:TAP_DRIVE
arc: R_HPBX0000 G_HPBX0000

.bram_init 0
000 000

.bram_init 1
000 000

.tile_group MIB_R10C5:MIB_EBR0 MIB_R10C6:MIB_EBR1
enum: EBR0.WID 0

.tile_group MIB_R10C5:MIB_EBR0 MIB_R10C6:MIB_EBR1
enum: EBR1.WID 1

.tile_group MIB_R50C2:PLL0_LL MIB_R50C3:BANKREF8
word: CLKI_DIV 0000100

"""
CONFIGURATIONS = {"ice40": ASC, "ecp5": CONFIG}


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_whole_configurations_are_taken(family, tmp_path):
    (tmp_path / "top").write_text(CONFIGURATIONS[family])
    check_configuration(tmp_path / "top", family, block_rams=2, plls=1, remedy="")


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_configurations_without_their_end_are_refused(family, tmp_path):
    whole = CONFIGURATIONS[family]
    # Names of nets configure nothing: a cut between two of them is none.
    harmless = {whole.rindex(".sym")} if family == "ice40" else set()
    for length in set(range(len(whole))) - harmless:
        (tmp_path / "top").write_text(whole[:length])
        said = rf"nextpnr-{family}: top, {length} bytes, is no whole configuration; .* or reinstall"
        with pytest.raises(ToolchainError, match=said):
            check_configuration(tmp_path / "top", family, block_rams=2, plls=1, remedy="reinstall")


@pytest.mark.parametrize(("block_rams", "plls"), [(3, 1), (1, 1), (2, 0), (2, 2)])
def test_a_configuration_with_other_block_rams_or_plls_than_placed_is_refused(tmp_path, block_rams, plls):
    (tmp_path / "top.config").write_text(CONFIG)
    with pytest.raises(ToolchainError, match="no whole configuration"):
        check_configuration(tmp_path / "top.config", "ecp5", block_rams=block_rams, plls=plls, remedy="")


def test_a_missing_configuration(tmp_path):
    with pytest.raises(ToolchainError, match=r"top\.asc, 0 bytes"):
        check_configuration(tmp_path / "top.asc", "ice40", block_rams=0, plls=0, remedy="")
