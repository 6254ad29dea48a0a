"""Archives and folders made to do harm: each ends in one typed error, quickly, with nothing written beside it."""

import gzip
import io
import lzma
import os
import resource
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from xnorweave.errors import NetworkError, UnsupportedError, XnorweaveError
from xnorweave.importers import load_any

LONGEST_S = 2.0
MOST_KIB = 1_000_000


def tar(*members: tuple[str, bytes] | tarfile.TarInfo, style: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def special(kind: bytes, name: str = "n/0-0-weights.bin", target: str = "/etc/passwd") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return tar(info)


def sized(size: int) -> bytes:
    """A header that says a size, and nothing behind it."""
    info = tarfile.TarInfo("n/0-0-weights.bin")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def extended(records: dict[str, str]) -> bytes:
    info = tarfile.TarInfo("n/0-0-weights.bin")
    info.pax_headers = records
    return tar(info, style=tarfile.PAX_FORMAT)


WORD = bytes(8)
GOOD = tar(("n/0-0-weights.bin", WORD), ("n/0-0-thres.bin", WORD))

HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty": (".tar", lambda: b"", r"is damaged at byte 0 \(empty header\); copy or pack it again"),
    "text": (".tar", lambda: b"hello, world\n" * 99, r"is damaged at byte 0"),
    "zeros alone": (".tar", lambda: bytes(10240), r"holds no packed parameters"),
    "cut in a header": (".tar", lambda: GOOD[:300], r"is damaged at byte 0 \(truncated header\)"),
    "cut in a file": (".tar", lambda: tar(("n/0-0-weights.bin", bytes(4096)))[:1500], r"says 4096 bytes, and 988 follow"),
    "no end": (".tar", lambda: GOOD[:2048], r"is damaged at byte 2048 \(empty header\)"),
    "a wrong sum": (".tar", lambda: GOOD[:3] + b"x" + GOOD[4:], r"is damaged at byte 0 \(bad checksum\)"),
    "a symbolic link": (".tar", lambda: special(tarfile.SYMTYPE), r"'n/0-0-weights\.bin' is a link, a device or a sparse file \(type b'2'\)"),
    "a hard link": (".tar", lambda: special(tarfile.LNKTYPE), r"is a link, a device or a sparse file \(type b'1'\)"),
    "a character device": (".tar", lambda: special(tarfile.CHRTYPE), r"\(type b'3'\); pack plain files alone"),
    "a block device": (".tar", lambda: special(tarfile.BLKTYPE), r"\(type b'4'\)"),
    "a pipe": (".tar", lambda: special(tarfile.FIFOTYPE), r"\(type b'6'\)"),
    "a sparse file": (".tar", lambda: special(tarfile.GNUTYPE_SPARSE), r"\(type b'S'\)"),
    "an unknown type": (".tar", lambda: special(b"Q"), r"\(type b'Q'\)"),
    "a long name": (".tar", lambda: tar(("n" * 200 + "/0-0-weights.bin", WORD), style=tarfile.GNU_FORMAT), r"\(type b'L'\)"),
    "an absolute name": (".tar", lambda: tar(("/etc/0-0-weights.bin", WORD)), r"'/etc/0-0-weights\.bin' leads out of the archive; pack"),
    "a name that climbs": (".tar", lambda: tar(("a/../../0-0-weights.bin", WORD)), r"leads out of the archive"),
    "an unwanted name that climbs": (".tar", lambda: tar(("../evil", WORD)), r"'\.\./evil' leads out of the archive"),
    "a folder that climbs": (".tar", lambda: special(tarfile.DIRTYPE, "../..", ""), r"leads out of the archive"),
    "a name of control characters": (".tar", lambda: tar(("/a\x1b[31m\nb", WORD)), r"'/a\\x1b\[31m\\nb' leads out"),
    "a name that is no UTF-8": (".tar", lambda: tar(("/\udcff", WORD)), r"'/\\udcff' leads out"),
    "a link from an extended header": (".tar", lambda: extended({"linkpath": "/etc/passwd"}), r"fit no plain header; pack it with tar --format"),
    "a name from an extended header": (".tar", lambda: extended({"path": "../../evil"}), r"fit no plain header"),
    "a size from an extended header": (".tar", lambda: extended({"size": "1" * 30}), r"fit no plain header"),
    "a sparse extended header": (".tar", lambda: extended({"GNU.sparse.major": "1"}), r"fit no plain header"),
    "2 MB of digits in an extended header": (".tar", lambda: extended({"comment": "1" * 2_000_000}), r"holds no packed|has 0 bytes"),
    "8 GiB": (".tar", lambda: sized(8 << 30), r"says 8589934592 bytes, and 0 follow"),
    "an exabyte": (".tar", lambda: sized(1 << 60), r"says 1152921504606846976 bytes, and 0 follow"),
    "less than nothing": (".tar", lambda: sized(-512), r"says -512 bytes, and 0 follow"),
    "65 MiB": (".tar", lambda: bytes(65 << 20), r"is larger than 64 MiB"),
    "5,000 empty files": (".tar", lambda: tar(("x", b""))[:512] * 5_000, r"holds more than 4096 entries; pack one network alone"),
    "100,000 extended headers": (".tar", lambda: extended({"comment": "a"})[:1024] * 60_000, r"holds more than 4096 entries"),
    "a file twice": (".tar", lambda: tar(("n/0-0-weights.bin", WORD), ("n/0-0-weights.bin", WORD)), r"holds '0-0-weights\.bin' twice"),
    "two folders": (".tar", lambda: tar(("a/0-0-weights.bin", WORD), ("b/0-0-thres.bin", WORD)), r"holds parameters in 'a' and 'b'; pack one"),
    "no xz": (".tar.xz", lambda: GOOD, r"cannot be unpacked \(.*\); copy or pack it again"),
    "no gzip": (".tar.gz", lambda: GOOD, r"cannot be unpacked \(.*incorrect header check\)"),
    "an empty xz": (".tar.xz", lambda: b"", r"is cut short, or goes on behind its end"),
    "an empty gzip": (".tgz", lambda: b"", r"is cut short, or goes on behind its end"),
    "a cut xz": (".tar.xz", lambda: lzma.compress(GOOD)[:-40], r"is cut short"),
    "a cut gzip": (".tar.gz", lambda: gzip.compress(GOOD)[:-9], r"is cut short"),
    "a damaged xz": (".tar.xz", lambda: (d := bytearray(lzma.compress(GOOD))).__setitem__(60, d[60] ^ 255) or bytes(d), r"cannot be unpacked"),
    "two gzips": (".tar.gz", lambda: gzip.compress(GOOD) * 2, r"goes on behind its end"),
    "a million gzips": (".tar.gz", lambda: gzip.compress(b"") * 1_000_000, r"goes on behind its end"),
    "a bomb of xz": (".tar.xz", lambda: lzma.compress(bytes(100 << 20), preset=0), r"unpacks to more than 64 MiB"),
    "a bomb of gzip": (".tar.gz", lambda: gzip.compress(bytes(100 << 20), 1), r"unpacks to more than 64 MiB"),
    "an xz that wants gigabytes": (
        ".tar.xz", lambda: lzma.compress(GOOD, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]).replace(b"\x21\x01\x10", b"\x21\x01\x28"),
        r"cannot be unpacked"),
}  # fmt: skip


@pytest.mark.parametrize(("suffix", "make", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_one_error(suffix, make, message, tmp_path, monkeypatch):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(make())
    monkeypatch.chdir(tmp_path)
    start, memory_kib = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(XnorweaveError, match=message) as caught:
        load_any(path)
    assert time.monotonic() - start < LONGEST_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kib < MOST_KIB
    assert type(caught.value) in (NetworkError, UnsupportedError)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < 900
    assert os.listdir(tmp_path) == [path.name]


def test_links_in_a_folder_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(WORD)
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "0-0-weights.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsupportedError, match=r"0-0-weights\.bin is a link or no file, which is not followed; copy"):
        load_any(folder)


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "0-0-weights.bin")
    with pytest.raises(UnsupportedError, match=r"0-0-weights\.bin is a link or no file"):
        load_any(tmp_path)


def test_a_folder_of_many_or_giant_files(tmp_path):
    big, many = tmp_path / "big", tmp_path / "many"
    big.mkdir()
    many.mkdir()
    with (big / "0-0-weights.bin").open("wb") as file:
        file.truncate(200 << 30)
    start = time.monotonic()
    with pytest.raises(NetworkError, match=r"its files have more than 64 MiB"):
        load_any(big)
    for n in range(4097):
        (many / str(n)).touch()
    with pytest.raises(NetworkError, match=r"holds more than 4096 files; give the folder of one network alone"):
        load_any(many)
    assert time.monotonic() - start < LONGEST_S


def test_archives_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "fifo.tar")
    for name in ("fifo.tar", "absent.tar", "x" * 300 + ".tar"):
        with pytest.raises(NetworkError, match=r"is a device or absent; give|cannot be read \(.*\); check the path"):
            load_any(tmp_path / name)


def test_the_command_line_ends_with_one_error_line(tmp_path):
    (tmp_path / "net.tar").write_bytes(special(tarfile.SYMTYPE))
    xnorweave = Path(sys.executable).with_name("xnorweave")
    done = subprocess.run(
        [xnorweave, "import", "net.tar", "-o", "out.npz"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert [line.startswith("error: net.tar: ") for line in done.stderr.splitlines()] == [True]
    assert os.listdir(tmp_path) == ["net.tar"]
