"""Network files: round trip, determinism, and files made to do harm."""

import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xnorweave.errors import NetworkError
from xnorweave.importers import load_any
from xnorweave.network import ArgMax, Conv2D, Dense, GlobalSum, InputSpec, MaxPool, Network, Scale, Threshold
from xnorweave.network_file import load_network, network_bytes, save_network

XNORWEAVE = Path(sys.executable).with_name("xnorweave")
LONGEST_S = 2.0


def small_network(name: str = "small") -> Network:
    rng = np.random.default_rng(1)

    def signs(*shape: int) -> np.ndarray:
        return rng.choice(np.array([-1, 1], np.int8), shape)

    return Network(
        name=name,
        input=InputSpec(kind="pixels", shape=(1, 8, 8), table=np.arange(-128, 128, dtype=np.int16)),
        layers=(
            Conv2D(name="conv", weights=signs(4, 1, 3, 3), padding=(1, 1, 1, 1)),
            Threshold(name="sign", thresholds=np.array([-3, 0, 2, 9], np.int32)),
            MaxPool(name="pool"),
            Dense(name="fc", weights=signs(3, 64)),
            ArgMax(name="classify", order=(2, 0, 1)),
        ),
        classes=("a", "b", "c"),
        history=("made for a test",),
    )


def entries_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def archive_of(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def raw_npy(shape: str, dtype: object = "|i1", body: bytes = b"\x01", version: int = 1) -> bytes:
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - len(header) % 64) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + body


def with_entry(name: str, data: bytes | None) -> bytes:
    """A valid file with one entry replaced, added, or removed."""
    entries = entries_of(network_bytes(small_network()))
    entries[name] = data or b""
    return archive_of([item for item in entries.items() if data is not None or item[0] != name])


def with_json(change: Callable[[dict[str, Any]], None]) -> bytes:
    entries = entries_of(network_bytes(small_network()))
    array = np.load(io.BytesIO(entries["network.npy"]))
    description = json.loads(array.tobytes())
    change(description)
    return with_text(json.dumps(description))


def with_text(text: str | bytes) -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    return with_entry("network.npy", npy(np.frombuffer(data, np.uint8)))


def layer(index: int, **fields: object) -> bytes:
    return with_json(lambda d: d["layers"][index].update(fields))


def without(index: int, field: str) -> bytes:
    return with_json(lambda d: d["layers"][index].pop(field))


def weights(array: np.ndarray) -> bytes:
    return with_entry("conv.weights.npy", npy(array))


def cut(fraction: float) -> bytes:
    data = network_bytes(small_network())
    return data[: int(len(data) * fraction)]


def tampered(offset: int) -> bytes:
    data = bytearray(network_bytes(small_network()))
    data[data.index(b"conv.weights.npy") + len(b"conv.weights.npy") + offset] ^= 0xFF
    return bytes(data)


def rename(index: int, name: object) -> bytes:
    """The chain's layer and its arrays under another name."""
    entries = entries_of(network_bytes(small_network()))
    description = json.loads(np.load(io.BytesIO(entries["network.npy"])).tobytes())
    old = description["layers"][index]["name"]
    description["layers"][index]["name"] = name
    entries["network.npy"] = npy(np.frombuffer(json.dumps(description).encode(), np.uint8))
    renamed = [(key.replace(f"{old}.", f"{name}.") if key != "network.npy" else key, v) for key, v in entries.items()]
    return archive_of(renamed)


def repeated() -> bytes:
    entries = list(entries_of(network_bytes(small_network())).items())
    with pytest.warns(UserWarning, match="Duplicate name"):
        return archive_of([*entries, entries[-1]])


def lying_size() -> bytes:
    """An archive whose directory says that an entry has 4 GiB."""
    data = bytearray(network_bytes(small_network()))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)
    return bytes(data)


def corrupt_lzma() -> bytes:
    data = bytearray(archive_of([("network.npy", raw_npy("(1,)") * 50)], zipfile.ZIP_LZMA))
    data[60:70] = b"\xff" * 10
    return bytes(data)


class Trap:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("unpickled",))


ONES = np.ones((4, 1, 3, 3), np.int8)
METACHARACTERS = [
    "a b", "a;b", "a$(touch pwned)", "`touch pwned`", "a[exec touch pwned]", "a\\b", 'a"b', "a'b", "a\nendmodule", "a.b",
    "../../etc", "a/b", "-rf", "", "9a", "a" * 41, "\u00e4", "a\x1b[31m", "$display", "a\u202eb", 7, None, ["a"], {"a": 1},
]  # fmt: skip

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", r"not a readable \.npz archive"),
    "no zip": (lambda: b"hello, world\n" * 99, r"not a readable \.npz archive"),
    "a bare npy": (lambda: npy(ONES), r"not a readable \.npz archive"),
    "a bare pickle": (lambda: pickle.dumps(Trap()), r"not a readable \.npz archive"),
    "an empty zip": (lambda: archive_of([]), r"no entry 'network'"),
    **{f"cut at {f}": (lambda f=f: cut(f), r"not a readable") for f in (0.01, 0.25, 0.5, 0.75, 0.9, 0.99)},
    **{f"crc of byte {n}": (lambda n=n: tampered(n), r"not a readable|no valid \.npy") for n in (2, 20, 40)},
    "a pickle as entry": (
        lambda: with_entry("conv.weights.npy", pickle.dumps(Trap())), r"conv\.weights has no valid \.npy header"),
    "an object array": (
        lambda: with_entry("conv.weights.npy", npy(np.array([Trap()], object))), r"object, which is not allowed"),
    "a structured array": (
        lambda: with_entry("conv.weights.npy", raw_npy("(1,)", [("a", "<i4")], b"aaaa")), r"is of dtype .* not allowed"),
    "an object in a structure": (
        lambda: with_entry("network.npy", raw_npy("(1,)", [("a", "|O")], b"a" * 8)), r"is of dtype .* not allowed"),
    "float weights": (lambda: weights(ONES.astype(float)), r"float64, which is not allowed here"),
    "NaN weights": (lambda: weights(np.full(ONES.shape, np.nan, np.float32)), r"float32, which is not allowed here"),
    "complex weights": (lambda: weights(ONES.astype(complex)), r"complex128, which is not allowed"),
    "text weights": (lambda: weights(ONES.astype(str)), r"conv: weights are <U\d+, not integers; binarize"),
    "bool weights": (lambda: weights(ONES > 0), r"conv: weights are bool, not integers"),
    "zero weights": (lambda: weights(ONES * 0), r"conv: weights contain 0, not only -1 and \+1; binarize"),
    "large weights": (lambda: weights(ONES * np.int64(2**62)), r"conv: weights contain 4611686018427387904"),
    "weights of 3 dimensions": (lambda: weights(ONES[0]), r"conv: weights have shape \(1, 3, 3\), not a non-empty \[out"),
    "weights without filters": (lambda: weights(ONES[:0]), r"conv: weights have shape \(0, 1, 3, 3\)"),
    "a kernel of 9x9": (lambda: weights(np.ones((4, 1, 9, 9), np.int8)), r"kernel 9x9 is not within 1x1 to 7x7"),
    "weights for 2 channels": (lambda: weights(np.ones((4, 2, 3, 3), np.int8)), r"conv: weights take 2 channels"),
    "weights for 5 filters": (lambda: weights(np.ones((5, 1, 3, 3), np.int8)), r"sign: 4 thresholds for 5 channels"),
    "dense of 63 inputs": (
        lambda: with_entry("fc.weights.npy", npy(np.ones((3, 63), np.int8))), r"fc: weights take 63 inputs, .* 64"),
    "a threshold too few": (
        lambda: with_entry("sign.thresholds.npy", npy(np.zeros(3, np.int32))), r"sign: 3 thresholds for 4 channels"),
    "thresholds of 3 dimensions": (
        lambda: with_entry("sign.thresholds.npy", npy(np.zeros((4, 1, 1), np.int32))), r"sign: thresholds have shape"),
    "levels that fall": (
        lambda: with_entry("sign.thresholds.npy", npy(np.tile(np.int32([2, 1]), (4, 1)))), r"sign: .* do not ascend"),
    "a thousand levels": (
        lambda: with_entry("sign.thresholds.npy", npy(np.zeros((4, 1000), np.int32))), r"sign: 1000 levels"),
    "no thresholds": (
        lambda: with_entry("sign.thresholds.npy", npy(np.zeros(0, np.int32))), r"sign: thresholds have shape"),
    "thresholds beyond int32": (
        lambda: with_entry("sign.thresholds.npy", npy(np.full(4, 2**40))), r"sign: a threshold is beyond int32"),
    "a table of 255": (
        lambda: with_entry("input.table.npy", npy(np.zeros(255, np.int16))), r"input: table is .* not 256 integers"),
    "a huge shape": (lambda: with_entry("conv.weights.npy", raw_npy("(1000000000, 1000000000)")), r"but holds 1 bytes"),
    "a shape beyond 64 bits": (lambda: with_entry("conv.weights.npy", raw_npy(f"(0, {10**30})", body=b"")), r"dimension"),
    "a negative shape": (lambda: with_entry("conv.weights.npy", raw_npy("(-1, -1)")), r"says shape \(-1, -1\)"),
    "a shape of truths": (lambda: with_entry("conv.weights.npy", raw_npy("(True,)")), r"conv\.weights"),
    "100 dimensions": (lambda: with_entry("conv.weights.npy", raw_npy("(" + "1," * 100 + ")")), r"dimension"),
    "a header of code": (lambda: with_entry("conv.weights.npy", raw_npy("__import__('os').mkdir('unpickled')")), r"header"),
    "a header of 60 kB": (lambda: with_entry("conv.weights.npy", raw_npy("(1," + " " * 60_000 + ")")), r"header"),
    "a nested header": (lambda: with_entry("conv.weights.npy", raw_npy("(" * 3000 + ")" * 3000)), r"header"),
    "an unknown npy version": (lambda: with_entry("conv.weights.npy", raw_npy("(1,)", version=9)), r"npy (version|header)"),
    "no items": (lambda: with_entry("conv.weights.npy", raw_npy("()", "<U0", b"")), r"itemsize"),
    "a zip bomb": (
        lambda: with_entry("bomb.npy", raw_npy("(300000000,)", body=bytes(300_000_000))), r"more than \d+ entries or"),
    "a bomb in the JSON": (lambda: with_text(b" " * 20_000_000), r"entry 'network' has 20000000 bytes, more than"),
    "a size that lies": (lying_size, r"entries of \d+ bytes, more than"),
    "5,000 entries": (lambda: archive_of([(f"a{n}.npy", b"") for n in range(5000)]), r"5000 entries of"),
    "a repeated entry": (repeated, r"is repeated"),
    "an entry that is no array": (lambda: with_entry("readme.txt", b"hello"), r"entry 'readme.txt' is repeated or no \.npy"),
    "an entry that climbs out": (lambda: with_entry("../../evil.npy", npy(ONES)), r"array '\.\./\.\./evil' belongs to no"),
    "bad LZMA": (corrupt_lzma, r"packed by method 14"),
    "a surplus array": (lambda: with_entry("other.weights.npy", npy(ONES)), r"array 'other.weights' belongs to no layer"),
    "no network entry": (lambda: with_entry("network.npy", None), r"no entry 'network'.*xnorweave import"),
    "no weights": (lambda: with_entry("conv.weights.npy", None), r"conv: array 'conv.weights' is missing"),
    "no thresholds entry": (lambda: with_entry("sign.thresholds.npy", None), r"array 'sign.thresholds' is missing"),
    "JSON cut": (lambda: with_text('{"format": "xnorweave/1", '), r"not valid UTF-8 JSON"),
    "JSON not UTF-8": (lambda: with_text(b'{"format": "\xff"}'), r"not valid UTF-8 JSON"),
    "JSON deep": (lambda: with_text("[" * 500_000), r"not valid UTF-8 JSON"),
    "JSON deep objects": (lambda: with_text('{"a":' * 150_000), r"not valid UTF-8 JSON"),
    "JSON NaN": (lambda: with_text('{"format": NaN}'), r"NaN is no number here"),
    "JSON number of 9,000 digits": (lambda: with_text("9" * 9000), r"not valid UTF-8 JSON"),
    "JSON list": (lambda: with_text("[]"), r"format is 'list', not 'xnorweave/1'"),
    "JSON null": (lambda: with_text("null"), r"format is 'NoneType'"),
    "another format": (lambda: with_json(lambda d: d.update(format="xnorweave/99")), r"format is 'xnorweave/99', not"),
    "no name": (lambda: with_json(lambda d: d.pop("name")), r"network: field 'name' is missing"),
    "no layers": (lambda: with_json(lambda d: d.update(layers=[])), r"belongs to no layer"),
    "layers an object": (lambda: with_json(lambda d: d.update(layers={})), r"layers is not a list"),
    "10,000 layers": (lambda: with_json(lambda d: d.update(layers=d["layers"] * 2000)), r"layers is not a list of at most"),
    "an unknown field": (lambda: with_json(lambda d: d.update(extra=1)), r"field 'extra' is unknown.*remove it or upgrade"),
    "an unknown layer field": (lambda: layer(0, dilation=2), r"layers\[0\]: field 'dilation' is unknown"),
    "an unknown layer": (lambda: layer(0, kind="softmax"), r"layers\[0\]: kind 'softmax' is unknown; known kinds: conv2d"),
    "a kind of list": (lambda: layer(0, kind=["conv2d"]), r"layers\[0\]: kind \['conv2d'\] is unknown"),
    "a layer of null": (lambda: with_json(lambda d: d["layers"].insert(0, None)), r"layers\[0\]: kind None"),
    "a layer without a name": (lambda: without(0, "name"), r"layers\[0\]: field 'name' is missing"),
    "stride 8": (lambda: layer(0, stride=8), r"conv: stride=8 is not a whole number from 1 to 7"),
    "groups 3": (lambda: layer(0, groups=3), r"conv: groups=3 do not divide the 4 filters"),
    "groups of text": (lambda: layer(0, groups="2"), r"conv: groups='2' is not a whole number"),
    "stride true": (lambda: layer(0, stride=True), r"conv: stride=True"),
    "stride 1.5": (lambda: layer(0, stride=1.5), r"conv: stride=1.5"),
    "padding of 3": (lambda: layer(0, padding=[1, 1, 1]), r"conv: padding=.* is not \(top, bottom, left, right\)"),
    "padding of the kernel": (lambda: layer(0, padding=[3, 0, 0, 0]), r"conv: padding top=3"),
    "padding text": (lambda: layer(0, padding="1111"), r"conv: padding='1111'"),
    "pool of 9": (lambda: layer(2, size=9), r"pool: size=9 is not a whole number from 2 to 3"),
    "input of 4 dimensions": (lambda: with_json(lambda d: d["input"].update(shape=[1, 1, 8, 8])), r"input: shape="),
    "a huge input": (lambda: with_json(lambda d: d["input"].update(shape=[1, 10**9, 8])), r"input: height=1000000000"),
    "a negative input": (lambda: with_json(lambda d: d["input"].update(shape=[1, -8, 8])), r"input: height=-8"),
    "an input of text": (lambda: with_json(lambda d: d["input"].update(shape="188")), r"input: shape='188'"),
    "an input of sound": (lambda: with_json(lambda d: d["input"].update(kind="sound")), r"input: kind='sound'"),
    "an input of list": (lambda: with_json(lambda d: d.update(input=[1, 8, 8])), r"input is list, not an object"),
    "classes too few": (lambda: with_json(lambda d: d.update(classes=["a"])), r"1 class labels for 3 outputs"),
    "classes of numbers": (lambda: with_json(lambda d: d.update(classes=[1, 2, 3])), r"classes is not a list of strings"),
    "a chain without a threshold": (lambda: with_json(lambda d: d["layers"].pop(1)), r"sums; put|belongs to no layer"),
    "two layers of one name": (lambda: rename(1, "CONV"), r"CONV: two layers have this name"),
    **{f"layer name {n!r}"[:40]: (lambda n=n: rename(0, n), r"layer name|array .* is missing") for n in METACHARACTERS},
    **{f"network name {n!r}"[:40]: (lambda n=n: with_json(lambda d: d.update(name=n)), r"network name")
       for n in ("", "a\nb", "a\x1b[31m", "a" * 81, 7, None)},
}  # fmt: skip


@pytest.fixture(name="hostile", params=HOSTILE.values(), ids=HOSTILE)
def _hostile(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    make, message = request.param
    path = tmp_path / "net.npz"
    path.write_bytes(make())
    return path, message


def test_a_hostile_file_is_one_error_with_place_and_remedy(
    hostile: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, message = hostile
    monkeypatch.chdir(path.parent)
    start = time.monotonic()
    with pytest.raises(NetworkError, match=message) as caught:
        load_network(path)
    assert time.monotonic() - start < LONGEST_S
    assert str(caught.value).startswith(f"{path}: ")
    assert os.listdir(path.parent) == ["net.npz"]


def test_a_hostile_file_is_refused_by_the_importers_too(hostile: tuple[Path, str]) -> None:
    with pytest.raises(NetworkError):
        load_any(hostile[0])


def test_more_than_forty_hostile_files() -> None:
    assert len(HOSTILE) > 100


@pytest.mark.parametrize(
    "case", ["empty", "cut at 0.5", "a pickle as entry", "NaN weights", "JSON deep", "layer name 'a\\nendmodule'"]
)
@pytest.mark.parametrize(
    "arguments",
    [["inspect"], ["share"], ["import", "-o", "out.npz"], ["generate", "-o", "out"]],
    ids=lambda arguments: arguments[0],
)
def test_the_command_line_ends_with_one_error_line(case: str, arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    path.write_bytes(HOSTILE[case][0]())
    command, *options = arguments
    done = subprocess.run(
        [XNORWEAVE, command, str(path), *options, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert [line.startswith(f"error: {path}: ") for line in done.stderr.splitlines()] == [True]
    assert os.listdir(tmp_path) == ["net.npz"]


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    for place in (tmp_path / "absent.npz", tmp_path, tmp_path / ("x" * 400), Path(os.devnull)):
        with pytest.raises(NetworkError, match=r".+: .+; (check|copy|give)"):
            load_any(place)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = subprocess.run(
        [XNORWEAVE, "inspect", "fifo"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: fifo: ")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "net.npz"
    path.write_bytes(network_bytes(small_network()))
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(NetworkError, match=r"net\.npz: .*Permission denied"):
        load_network(path)


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_never_escapes_as_another_error(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    data = network_bytes(small_network())
    path = tmp_path / "net.npz"
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 2, 20))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            load_network(path)
        except NetworkError:
            pass
        except Exception as e:  # pragma: no cover
            raise AssertionError(f"seed {seed}: {e!r}") from e


def test_a_network_comes_back_as_it_was(tmp_path: Path) -> None:
    network = small_network()
    save_network(network, tmp_path / "net.npz")
    again = load_network(tmp_path / "net.npz")
    assert network_bytes(again) == network_bytes(network)
    assert again.shapes == network.shapes
    assert again.history == network.history
    for before, after in zip(network.layers, again.layers, strict=True):
        assert type(before) is type(after)
        assert not isinstance(after, Conv2D) or not after.weights.flags.writeable
    assert os.listdir(tmp_path) == ["net.npz"]


def test_levels_come_back_as_they_were(tmp_path: Path) -> None:
    layers = (
        Conv2D(name="conv", weights=np.ones((2, 1, 3, 3), np.int8), stride=3),
        Threshold(name="levels", thresholds=np.array([[-3, 0, 2], [1, 1, 5]], np.int32)),
        Conv2D(name="depthwise", weights=np.ones((4, 1, 1, 1), np.int8), groups=2),
        Threshold(name="sign", thresholds=np.zeros(4, np.int32)),
        GlobalSum(name="total"),
    )
    network = Network(name="n", input=InputSpec(kind="bits", shape=(1, 8, 8)), layers=layers)
    save_network(network, tmp_path / "n.npz")
    again = load_network(tmp_path / "n.npz").layers
    assert isinstance(again[0], Conv2D)
    assert isinstance(again[1], Threshold)
    assert again[0].stride == 3
    assert again[1].thresholds.tolist() == [[-3, 0, 2], [1, 1, 5]]
    assert isinstance(again[2], Conv2D)
    assert again[2].groups == 2
    assert isinstance(again[4], GlobalSum)


def test_factors_and_offsets_come_back_as_they_were(tmp_path: Path) -> None:
    factors, offsets = np.array([-(2**31) + 1, 0, 2**31 - 1]), np.array([5, -(2**40), 0])
    layers = (
        Dense(name="fc", weights=np.ones((3, 4), np.int8)),
        Scale(name="norm", factors=factors, offsets=offsets),
        ArgMax(name="class", order=(1, 0, 2)),
    )
    network = Network(name="n", input=InputSpec(kind="bits", shape=(1, 2, 2)), layers=layers)
    save_network(network, tmp_path / "n.npz")
    again = load_network(tmp_path / "n.npz").layers[1]
    assert isinstance(again, Scale)
    assert (again.factors.dtype, again.offsets.dtype) == (np.int32, np.int64)
    assert (again.factors.tolist(), again.offsets.tolist()) == (factors.tolist(), offsets.tolist())
    entries = entries_of(network_bytes(network))
    del entries["norm.offsets.npy"]
    (tmp_path / "n.npz").write_bytes(archive_of(list(entries.items())))
    with pytest.raises(NetworkError, match=r"norm: array 'norm.offsets' is missing"):
        load_network(tmp_path / "n.npz")


def test_layers_without_groups_are_written_as_before_there_were_any() -> None:
    assert b"groups" not in entries_of(network_bytes(small_network()))["network.npy"]


def test_equal_networks_are_equal_bytes() -> None:
    assert network_bytes(small_network()) == network_bytes(small_network())
    assert network_bytes(small_network()) != network_bytes(small_network("other"))


def test_an_unwritable_place_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"absent/net\.npz: cannot be written .*choose another path"):
        save_network(small_network(), tmp_path / "absent" / "net.npz")
    assert not os.listdir(tmp_path)


def test_a_size_that_lies_costs_no_memory(tmp_path):
    """The archive says 1,000 bytes, the data inflate to 300 MB: reading stops at what was said."""
    import resource
    import struct
    import zipfile

    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("network.npy", "w") as entry:
        for _ in range(300):
            entry.write(bytes(1 << 20))
    data = path.read_bytes()
    said, true = struct.pack("<L", 1000), struct.pack("<L", 300 << 20)
    assert true in data
    path.write_bytes(data.replace(true, said))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NetworkError, match=r"bomb\.npz"):
        load_network(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
