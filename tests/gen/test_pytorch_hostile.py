"""Descriptions and tensors of PyTorch that do harm, or are damaged: each ends in one typed error, with nothing executed."""

import os
import struct
import sys
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from xnorweave.errors import NetworkError, ToolchainError, UnsupportedError, XnorweaveError
from xnorweave.importers import load_any

PIXELS = [{"kind": "affine", "scale": 2.0, "offset": -1.0}, {"kind": "sign", "zero": 1}]
SOUND = [*PIXELS, {"kind": "flatten"}, {"kind": "dense", "weight": "w"}]
FAULTS = {
    "no weights": (SOUND, {"weights": None}, r"names no file of weights; write: weights = "),
    "a path": (SOUND, {"weights": "/etc/passwd"}, r"weights = '/etc/passwd' is no name of a file in the same folder"),
    "a path upwards": (SOUND, {"weights": "../net.safetensors"}, r"is no name of a file in the same folder; put the file there"),
    "another format": (SOUND, {"weights": "net.ckpt"}, r"weights 'net.ckpt': is none of .safetensors, .pt, .pth; save it with"),
    "an absent file": (SOUND, {"weights": "a.pt"}, r"weights 'a.pt': cannot be read \(.*\); check the path"),
    "no input": (SOUND, {"input": None}, r"says no input; write: input = "),
    "a giant input": (SOUND, {"input": {"shape": [1, 1 << 40, 1]}}, r"is not channels, height and width of an image, up to"),
    "other pixels": (SOUND, {"input": {"shape": [1, 4, 4], "pixels": "cmyk"}}, r"pixels = 'cmyk' is neither 'unit'"),
    "an unknown key": (SOUND, {"code": "import os"}, r"key 'code' of the file is not known; known are: weights, input"),
    "classes of numbers": (SOUND, {"classes": [1, 2]}, r"classes is no list of texts"),
    "classes too few": (SOUND, {"classes": ["a"]}, r"1 class labels for 2 outputs"),
    "no layers": ([], {}, r"has no \[\[layers\]\]"),
    "an unknown kind": ([{"kind": "lstm"}], {}, r"layer 1: kind = 'lstm' is not supported; supported are: conv, dense"),
    "a key of another kind": ([{"kind": "flatten", "size": 2}], {}, r"key 'size' of layer 1 \(flatten\) is not known"),
    "a sign that does not say": ([{"kind": "sign"}], {}, r"layer 1 \(sign\): zero = 'None': say what the sign makes of 0"),
    "a true zero": ([{"kind": "sign", "zero": True}], {}, r"zero = 'True': say what the sign makes of 0"),
    "a sign of weights": ([*SOUND[:3], {"kind": "dense", "weight": "w", "sign": 1}], {}, r"sign = '1': write sign = \{ zero = 1 \}"),
    "name and weight": ([*SOUND[:3], {"kind": "dense", "weight": "w", "name": "w"}], {}, r"give either name, of the module, or weight"),
    "an absent tensor": ([*SOUND[:3], {"kind": "dense", "name": "fc"}], {}, r"tensor 'fc.weight' is not in 'net.safetensors'; there are: "),
    "a name that is a number": ([*SOUND[:3], {"kind": "dense", "weight": 7}], {}, r"weight = '7' is no name of a tensor"),
    "weights of another rank": ([{"kind": "conv", "weight": "w"}], {}, r"'w' has the shape \[2, 16\], not \[out, in, rows, columns\]"),
    "doubles": ([*SOUND[:3], {"kind": "dense", "weight": "d"}], {}, r"tensor 'd' is of type F64; save it in float32"),
    "NaN": ([*SOUND[:3], {"kind": "dense", "weight": "n"}], {}, r"tensor 'n' holds a value that is not finite"),
    "no flatten": ([*PIXELS, {"kind": "dense", "weight": "w"}], {}, r"takes a tensor of \[1, 1, 4, 4\]; put a flatten before it"),
    "stride 8": ([*PIXELS, {"kind": "conv", "weight": "c", "stride": 8}], {}, r"stride = 8 is not supported; nearest: 1 to 7"),
    "groups of other channels": ([*PIXELS, {"kind": "conv", "weight": "c", "groups": 2}], {}, r"weights take 2 groups of 1 channels, but the layer"),
    "groups that are text": ([*PIXELS, {"kind": "conv", "weight": "c", "groups": "2"}], {}, r"groups = '2' is no whole number from 1 to 65535"),
    "a residual connection": ([*SOUND, {"kind": "add", "from": 1}], {}, r"layer 5: kind = 'add' joins branches, as a residual .* train without"),
    "no levels": ([*PIXELS[:1], {"kind": "quantize", "high": 3}], {}, r"layer 2 \(quantize\): low = 'None', high = '3': give whole numbers"),
    "levels upside down": ([*PIXELS[:1], {"kind": "quantize", "low": 3, "high": 0}], {}, r"low = '3', high = '0': give whole numbers, low below"),
    "a scale of 0": ([*PIXELS[:1], {"kind": "quantize", "low": 0, "high": 3, "scale": 0.0}], {}, r"scale is not above 0; give a positive one"),
    "bits of sums": ([*SOUND, {"kind": "dorefa", "bits": 5}], {}, r"layer 5 \(dorefa\): bits = '5' is no whole number from 1 to 4"),
    "18 values of sums": ([*SOUND, {"kind": "quantize", "low": 0, "high": 17}], {}, r"gives 18 values; sums can be quantized to at most 16, 4 bits"),
    "an average of a vector": ([*PIXELS, {"kind": "flatten"}, {"kind": "global_average"}], {}, r"takes a tensor of \[1, 16\], not a map"),
    "an average of pixels": ([{"kind": "global_average"}], {}, r"averages pixels; only activations behind a quantizer"),
    "padding of 3 numbers": ([*PIXELS, {"kind": "conv", "weight": "c", "padding": [1, 1, 1]}], {}, r"padding = '\[1, 1, 1\]' is not"),
    "a pool of 4": ([*PIXELS, {"kind": "max_pool", "size": 4}], {}, r"layer 3 \(max_pool\): pool1: size=4"),
    "no mean": ([*PIXELS, {"kind": "batch_norm"}], {}, r"give name, of the module, or mean and variance, of the tensors"),
    "division by 0": ([{"kind": "normalize", "std": [0.0]}], {}, r"std is 0, by which it would divide"),
    "a text as a scale": ([{"kind": "affine", "scale": [[1]]}], {}, r"scale = '\[\[1\]\]' is no number, list of numbers or name"),
    "a layer behind the argmax": ([*SOUND, {"kind": "argmax"}, {"kind": "flatten"}], {}, r"layer 6 \(flatten\): follows the argmax"),
    "pixels at the end": (PIXELS[:1], {}, r"behind the last layer: gives pixels; there is no layer with weights"),
}  # fmt: skip


@pytest.mark.parametrize(("layers", "more", "message"), FAULTS.values(), ids=FAULTS)
def test_a_description_that_is_not_sound_is_one_error(tmp_path, describe, layers, more, message):
    tensors = {"w": np.ones((2, 16), np.float32), "c": np.ones((2, 1, 3, 3), np.float32), "d": np.ones((2, 16)),
               "n": np.full((2, 16), np.nan, np.float32)}  # fmt: skip
    save_file(tensors, tmp_path / "net.safetensors")
    path = describe(layers, **more)
    with pytest.raises(XnorweaveError, match=message) as caught:
        load_any(path)
    assert type(caught.value) in (NetworkError, UnsupportedError)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < 700


@pytest.mark.parametrize(("text", "message"), [
    ("weights = ", r"is no valid TOML"), ("a = " + "[" * 10**5, r"is no valid TOML"), ("a = " + "9" * 9999, r"is no valid TOML"),
    ("\x00", r"is no valid TOML"), ("", r"is empty"), ("#" * (1 << 21), r"is larger than 1 MiB"),
], ids=range(6))  # fmt: skip
def test_what_is_no_description(tmp_path, text, message):
    (tmp_path / "net.toml").write_text(text)
    with pytest.raises(NetworkError, match=message):
        load_any(tmp_path / "net.toml")


def test_links_out_of_the_folder_are_not_followed(tmp_path, describe):
    (tmp_path / "inner").mkdir()
    save_file({"w": np.ones((2, 16), np.float32)}, tmp_path / "secret.safetensors")
    (tmp_path / "inner" / "net.safetensors").symlink_to(tmp_path / "secret.safetensors")
    describe(SOUND).rename(tmp_path / "inner" / "net.toml")
    with pytest.raises(NetworkError, match=r"is a link out of the folder, which is not followed; copy the file"):
        load_any(tmp_path / "inner" / "net.toml")


def header(text: str, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + body


@pytest.mark.parametrize("data", [
    b"\0" * 8, header("{"), struct.pack("<Q", 1 << 60) + b"{}", header('{"w":{"dtype":"F32","shape":[2,16],"data_offsets":[0,128]}}'),
    header('{"w":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}', bytes(4)),
    header('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
], ids=range(6))  # fmt: skip
def test_tensors_that_are_damaged(tmp_path, describe, data):
    (tmp_path / "net.safetensors").write_bytes(data)
    with pytest.raises(
        NetworkError, match=r"weights 'net.safetensors': is no readable .safetensors file \(.*\); copy or save"
    ):
        load_any(describe(SOUND))


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_nothing_but_tensors_is_loaded_of_a_pickle(tmp_path, describe, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    path = describe(SOUND, weights="net.pt")
    for state, message in (
        (
            Evil(),
            r"asks for '(posix|nt) system', which is no tensor and is never loaded; save it with torch.save\(model.state",
        ),
        (torch.nn.Linear(16, 2), r"asks for '__builtin__ set'|asks for 'torch.nn.modules.linear Linear'|asks for '_"),
        ([1, 2], r"holds 'list', not tensors by name"),
        ({"w": torch.ones(1).expand(1 << 20, 1 << 20)}, r"tensor 'w' has the shape \[1048576, 1048576\], more than"),
        ({"w": torch.ones(2, 16, dtype=torch.bfloat16)}, r"tensor 'w' is of type torch.bfloat16; save it in float32"),
    ):
        torch.save(state, tmp_path / "net.pt")
        with pytest.raises(XnorweaveError, match=message):
            load_any(path)
    torch.save({"w": torch.ones(2, 16)}, tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(UnsupportedError, match=r"is no archive of torch.save since PyTorch 1.6"):
        load_any(path)
    with zipfile.ZipFile(tmp_path / "net.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", bytes(1 << 20))
    with pytest.raises(UnsupportedError, match=r"is packed, as torch.save never does"):
        load_any(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_tensors_alone_tell_what_to_write(tmp_path, suffix):
    with pytest.raises(
        NetworkError, match=r"holds tensors without the layers .* write NET.toml beside it with `weights = 'net\."
    ):
        load_any(tmp_path / f"net{suffix}")


@pytest.mark.parametrize(("suffix", "package"), [(".pt", "torch"), (".safetensors", "safetensors")])
def test_without_the_package_the_error_names_it(tmp_path, describe, monkeypatch, suffix, package):
    with zipfile.ZipFile(tmp_path / f"net{suffix}", "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}q\x00.")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ToolchainError, match=r"pip install 'xnorweave\[(pytorch|safetensors)\]'"):
        load_any(describe(SOUND, weights=f"net{suffix}"))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_random_damage_never_escapes_as_another_error(tmp_path, describe, rng, suffix):
    if suffix == ".pt":
        torch = pytest.importorskip("torch")
        torch.save({"w": torch.ones(2, 16)}, tmp_path / "net.pt")
    else:
        save_file({"w": np.ones((2, 16), np.float32)}, tmp_path / "net.safetensors")
    path, file = describe(SOUND, weights=f"net{suffix}"), tmp_path / f"net{suffix}"
    assert load_any(path).layers[-1].kind == "arg_max"
    data = np.frombuffer(file.read_bytes(), np.uint8)
    refused = 0
    for _ in range(150):
        damaged = data.copy()
        count = rng.choice([1, 2, 20])
        damaged[rng.integers(0, len(data), count)] = rng.integers(0, 256, count)
        file.write_bytes(damaged.tobytes())
        try:
            load_any(path)
        except XnorweaveError:
            refused += 1
    assert refused > 50
