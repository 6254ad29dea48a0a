"""Packed BNN-PYNQ folders give the arrays that they were packed from, and the network of the decoded ``.npz`` beside them."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers import load_any
from xnorweave.importers.bnn_pynq_folder import decode
from xnorweave.network import Dense, Network, Threshold
from xnorweave.network_file import read_arrays

CNV_FOLDS = ((16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (4, 1))
LFC_FOLDS = ((32, 64), (64, 32), (32, 64), (16, 8))

Files = dict[str, bytes]


def packed(number: int, weights: np.ndarray, raw: np.ndarray | None, pe: int, simd: int, rows: int = 0) -> Files:
    """Files of one layer; rows up to ``rows``, and columns up to a multiple of ``simd``, are padded with 1."""
    if weights.ndim == 4:
        weights = weights.transpose(0, 2, 3, 1).reshape(len(weights), -1)
    outputs, inputs = weights.shape
    rows = max(rows, -(-outputs // pe) * pe)
    bits = np.ones((rows, -(-inputs // simd) * simd), bool)
    bits[:outputs, :inputs] = weights > 0
    files = {}
    for p in range(pe):
        folds = bits[p::pe].reshape(-1, simd)
        words = [sum(1 << int(bit) for bit in np.flatnonzero(fold)) for fold in folds]
        files[f"{number}-{p}-weights.bin"] = np.array(words, "<u8").tobytes()
        if raw is not None:
            own = np.full(rows, 2**16 - 1, "<i8")
            own[:outputs] = raw
            files[f"{number}-{p}-thres.bin"] = own[p::pe].tobytes()
    return files


def dense(rng: np.random.Generator, sizes, folds, *, last_raw: bool = True, rows: int = 0) -> tuple[Files, dict]:
    """Files and arrays of dense layers on 784 inputs."""
    files, arrays = {}, {}
    for n, (inputs, outputs, (pe, simd)) in enumerate(zip((784, *sizes), sizes, folds, strict=False)):
        last = n == len(sizes) - 1
        weights = rng.choice(np.array([-1, 1], np.int8), (outputs, inputs))
        raw = rng.integers(0, inputs, outputs) if last_raw or not last else None
        files |= packed(n, weights, raw, pe, simd, rows if last else 0)
        arrays[f"fc{n}_w"] = weights
        if raw is not None:
            arrays |= {f"fc{n}_traw": raw.astype(np.int32), f"fc{n}_t": (2 * raw + 2 - inputs).astype(np.int32)}
    return files, arrays


def unpack(path: Path) -> Files:
    with tarfile.open(path) as tar:
        return {m.name.split("/")[-1]: tar.extractfile(m).read() for m in tar}


def same(got: dict, want: dict) -> None:
    assert got.keys() == want.keys()
    for name, array in want.items():
        assert got[name].dtype == array.dtype, name
        assert np.array_equal(got[name], array), name


def same_network(one: Network, other: Network) -> None:
    assert [layer.kind for layer in one.layers] == [layer.kind for layer in other.layers]
    assert np.array_equal(one.input.table, other.input.table)
    for a, b in zip(one.layers, other.layers, strict=True):
        for field in ("weights", "thresholds"):
            assert np.array_equal(getattr(a, field, None), getattr(b, field, None)), a.name


def test_cnv_is_that_of_the_decoded_file(shared, tmp_path):
    nets = shared / "nets"
    files = unpack(nets / "cnvW1A1_cifar10_bin.tar.xz")
    labels = files.pop("classes.txt")
    want = read_arrays(nets / "cnvW1A1_cifar10.npz")
    same(decode(files, 10)[0], want)
    same(decode(files)[0], want)
    network = load_any(nets / "cnvW1A1_cifar10_bin.tar.xz")
    same_network(network, load_any(nets / "cnvW1A1_cifar10.npz"))
    assert network.name == "cnvW1A1_cifar10_bin"
    assert network.classes == tuple(labels.decode().split("\r\n"))
    assert "fc2: 54 of 64 rows are padding" in network.history
    assert [line for line in network.history if "PE" in line] == [
        f"{layer}: PE {pe}, SIMD {simd}"
        for layer, (pe, simd) in zip([f"conv{n}" for n in range(6)] + ["fc0", "fc1", "fc2"], CNV_FOLDS, strict=True)
    ]


def test_cnv_packed_again_is_the_shared_folder(shared):
    """The packing of these tests is that of the original files, to the byte."""
    nets = shared / "nets"
    arrays, files = read_arrays(nets / "cnvW1A1_cifar10.npz"), {}
    names = [name.removesuffix("_w") for name in arrays if name.endswith("_w")]
    for n, (name, (pe, simd)) in enumerate(zip(names, CNV_FOLDS, strict=True)):
        files |= packed(n, arrays[f"{name}_w"], arrays.get(f"{name}_traw"), pe, simd, rows=64 if n == 8 else 0)
    want = unpack(nets / "cnvW1A1_cifar10_bin.tar.xz")
    del want["classes.txt"]
    assert files == want


def test_lfc_packed_is_that_of_the_decoded_file(shared):
    want, files = read_arrays(shared / "nets" / "lfcW1A1_mnist.npz"), {}
    for n, (pe, simd) in enumerate(LFC_FOLDS):
        files |= packed(n, want[f"fc{n}_w"], want[f"fc{n}_traw"], pe, simd)
    got, notes = decode(files)
    same(got, want)
    assert notes == (
        "fc0: PE 32, SIMD 64", "fc1: PE 64, SIMD 32", "fc2: PE 32, SIMD 64", "fc3: 6 of 16 rows are padding", "fc3: PE 16, SIMD 8",
    )  # fmt: skip


@pytest.mark.parametrize("last_raw", [True, False])
@pytest.mark.parametrize(
    ("sizes", "folds"),
    [
        ((64, 64, 64, 10), ((16, 49), (8, 8), (1, 64), (10, 8))),
        ((16, 10), ((16, 64), (5, 4))),
        ((24, 6, 3), ((3, 1), (2, 24), (1, 1))),
        ((32, 12), ((32, 32), (4, 16))),
    ],
)
def test_dense_layers_round_trip(rng, sizes, folds, last_raw):
    files, want = dense(rng, sizes, folds, last_raw=last_raw, rows=20)
    same(decode(files, sizes[-1])[0], want)
    same(decode(files)[0], want)


@pytest.mark.parametrize("suffix", ["", ".tar", ".TAR", ".tar.xz", ".txz", ".tar.gz", ".tgz"])
@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_folders_and_archives(rng, tmp_path, suffix, style):
    files, want = dense(rng, (16, 4), ((8, 64), (4, 16)))
    folder = tmp_path / "net"
    folder.mkdir()
    for name, data in (files | {"classes.txt": b"a\nb\n\nc\nd\n", "README": b"not read"}).items():
        (folder / name).write_bytes(data)
    path = folder
    if suffix:
        path = tmp_path / f"packed{suffix}"
        # Extended headers with the times of files, and an entry for the folder itself.
        packer = {"xz": "w:xz", "gz": "w:gz"}.get(suffix[-2:], "w")
        with tarfile.open(path, packer, format=style) as tar:
            tar.add(folder, "net")
    network = load_any(path)
    assert network.name == ("packed" if suffix else "net")
    assert network.classes == ("a", "b", "c", "d")
    assert network.input.shape == (1, 28, 28)
    first, sign, second, _ = network.layers
    assert isinstance(first, Dense)
    assert isinstance(sign, Threshold)
    assert isinstance(second, Dense)
    assert np.array_equal(first.weights, want["fc0_w"])
    assert np.array_equal(sign.thresholds, want["fc0_t"])
    assert np.array_equal(second.weights, want["fc1_w"])


def test_without_labels_there_are_none(rng, tmp_path):
    files, _ = dense(rng, (16, 10), ((8, 64), (2, 16)))
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert load_any(tmp_path).classes == ()


def test_a_layer_of_which_every_weight_is_minus_1_keeps_its_width(rng):
    files, want = dense(rng, (16, 8, 4), ((8, 64), (4, 8), (4, 8)))
    weights = np.full((8, 16), -1, np.int8)
    files |= packed(1, weights, want["fc1_traw"], 4, 8)
    same(decode(files)[0], want | {"fc1_w": weights})


REFUSED = {
    "two thresholds for each neuron": (
        lambda f: f | {name: data * 2 for name, data in f.items() if "thres" in name}, UnsupportedError,
        r"layer 0 has 8 x 26 words of 64 bits in use and 32 thresholds, which is no layer on 784 inputs; .* as ONNX or \.npz"),
    "another fan-in": (lambda f: f | {name: data * 2 for name, data in f.items() if name[0] == "1" and "w" in name}, UnsupportedError,
        r"layer 1 has 4 x 2 words of 16 bits in use and 4 thresholds, which is no layer on 16 inputs"),
    "bits beyond the width": (lambda f: f | {"1-0-weights.bin": b"\xff" * 8}, UnsupportedError,
        r"layer 1 has 4 x 1 words of 64 bits in use and 4 thresholds, which is no layer on 16 inputs"),
    "padding that is none": (lambda f: f | {"0-7-weights.bin": bytes(26 * 8)}, NetworkError,
        r"layer 0 has 832 synapses, and those from 784 on are not all 1 as padding is; only 784 inputs"),
    "a threshold out of reach": (lambda f: f | {"0-3-thres.bin": np.array([1, 1 << 40]).tobytes()}, NetworkError,
        r"fc0: threshold 1099511627776 is beyond 536870912"),
    "the least threshold of all": (lambda f: f | {"0-3-thres.bin": np.array([1, -(1 << 63)]).tobytes()}, NetworkError,
        r"fc0: threshold -9223372036854775808 is beyond 536870912"),
    "a missing PE": (lambda f: {n: d for n, d in f.items() if not n.startswith("0-3-")}, NetworkError,
        r"layer 0 has weights of PEs 0, 1, 2, 4, 5, 6, 7, not of 0, 1, 2, \.\.\.; copy"),
    "a missing layer": (lambda f: {n.replace("1-", "2-", 1) if n[0] == "1" else n: d for n, d in f.items()}, NetworkError,
        r"has files of layers 0, 2, not of 0, 1, 2"),
    "missing thresholds": (lambda f: {n: d for n, d in f.items() if n != "0-5-thres.bin"}, NetworkError,
        r"layer 0 has weights or thresholds of PE 5, but not both"),
    "no thresholds within": (lambda f: {n: d for n, d in f.items() if not n.startswith("0") or "w" in n}, NetworkError,
        r"layer 0 has weights or thresholds of PE 0, but not both; .*only the last layer"),
    "thresholds alone": (lambda f: {n: d for n, d in f.items() if "thres" in n}, NetworkError, r"layer 0 has weights of PEs , not"),
    "half a word": (lambda f: f | {"0-1-weights.bin": f["0-1-weights.bin"][:-1]}, NetworkError,
        r"0-1-weights\.bin has 207 bytes, 0-0-weights\.bin has 208: not the same number"),
    "empty files": (lambda f: dict.fromkeys(f, b""), NetworkError, r"0-0-thres\.bin has 0 bytes"),
    "nothing": (lambda f: {}, NetworkError, r"holds no packed parameters; give the folder with 0-0-weights\.bin"),
    "a file twice": (lambda f: f | {"00-0-weights.bin": f["0-0-weights.bin"]}, NetworkError, r"are of one PE; remove one"),
    "more labels than rows": (lambda f: f | {"classes.txt": b"a\n" * 5}, NetworkError, r"classes\.txt has 5 labels, but the last layer 4 rows"),
    "fewer labels than rows": (lambda f: f | {"classes.txt": b"a\n" * 3}, NetworkError, r"of which 4 are no padding; mend or remove"),
    "more labels than rows that are all 1": (lambda f: f | {"classes.txt": b"a\n" * 5} | {f"1-{p}-weights.bin": b"\xff\xff" + bytes(6) for p in range(4)},
        NetworkError, r"classes\.txt has 5 labels, but the last layer 4 rows, of which 0 are no padding"),
    "labels that are no text": (lambda f: f | {"classes.txt": b"\xff\xfe"}, NetworkError, r"classes\.txt is no UTF-8 text"),
    "labels that do not print": (lambda f: f | {"classes.txt": b"a\x1b[31m\nb\nc\nd"}, NetworkError, r"no list of short printable labels"),
    "a long label": (lambda f: f | {"classes.txt": b"a" * 401}, NetworkError, r"no list of short printable labels"),
    "too many outputs": (lambda f: f | {f"0-{p}-thres.bin": bytes(8 * 8192) for p in range(8)}, NetworkError,
        r"a layer has 65536 thresholds, more than 16384"),
    "too many weights": (lambda f: f | {f"{n}-{p}-{kind}.bin": b"\xff" * 8 * size for p in range(8) for n, kind, size in (
        (0, "weights", 2048 * 13), (0, "thres", 2048), (1, "weights", 512 * 256), (1, "thres", 512))},
        NetworkError, r"has more than 67108864 weights"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_place_and_remedy(rng, tmp_path, change, error, message):
    files, _ = dense(rng, (16, 4), ((8, 64), (4, 16)))
    for name, data in change(files).items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=message) as caught:
        load_any(tmp_path)
    assert type(caught.value) is error
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_thresholds_of_pixels_and_of_bits(shared):
    """An odd and an even number of eight fraction bits: fires where twice the sum is larger."""
    files = unpack(shared / "nets" / "cnvW1A1_cifar10_bin.tar.xz")
    del files["classes.txt"]
    files["0-0-thres.bin"] = np.array([-3, -2, 3, 4], "<i8").tobytes()
    assert decode(files)[0]["conv0_t"][[0, 16, 32, 48]].tolist() == [-1, 0, 2, 3]


def test_archives_of_a_stream_of_files(rng, tmp_path):
    """As a pipe writes it: no entries of folders, names with ./ in front."""
    files, want = dense(rng, (16, 4), ((8, 64), (4, 16)))
    with tarfile.open(tmp_path / "net.tar", "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    layer = load_any(tmp_path / "net.tar").layers[0]
    assert isinstance(layer, Dense)
    assert np.array_equal(layer.weights, want["fc0_w"])
