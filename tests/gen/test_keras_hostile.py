"""Keras files made to do harm, or damaged: each ends in one typed error, quickly, with nothing read or written beside it."""

import contextlib
import io
import os
import random
import resource
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest

from xnorweave.errors import NetworkError, ToolchainError, UnsupportedError, XnorweaveError
from xnorweave.importers import load_any
from xnorweave.importers.keras import extract

LONGEST_S = 10.0


@pytest.fixture(name="small")
def _small(keras_chain):
    """A valid model of one layer with weights."""
    rng = np.random.default_rng(0)
    return keras_chain(9).add("Rescaling", scale=2.0, offset=-1.0).dense(rng.normal(size=(9, 4)))


def layer(index, **options):
    """Change options of a layer."""

    def change(config):
        config["config"]["layers"][index]["config"] |= options

    return change


def kind(index, name, **entry):
    def change(config):
        config["config"]["layers"][index] |= {"class_name": name, **entry}

    return change


def model(**entries):
    return lambda config: config.update(entries)


SIGN = {"class_name": "SteSign", "config": {"clip_value": 0.0}}
DESCRIPTIONS = {
    "a subclassed model": (model(class_name="MyModel"), r"model of the class 'MyModel'; only Sequential"),
    "no layers": (model(config={"layers": []}), r"no list of layers"),
    "a list of numbers": (model(config={"layers": [1, 2]}), r"2 layers are more than 512, or no objects"),
    "5,000 layers": (lambda c: c["config"]["layers"].extend([c["config"]["layers"][0]] * 5000), r"5003 layers are more"),
    "a Lambda": (kind(1, "Lambda"), r"layer Lambda 'rescaling_1': class Lambda is not supported; build the model of: InputLayer"),
    "another module": (kind(1, "Rescaling", module="os"), r"is of the module 'os'; only layers of Keras and Larq"),
    "a class of two lines": (kind(1, "a\nendmodule"), r"layer a\\nendmodule 'rescaling_1': class a\\nendmodule is not"),
    "one name twice": (layer(1, name="inputlayer_0"), r"layer name 'inputlayer_0' is there twice"),
    "no name": (layer(1, name=None), r"layer name 'None' is there twice, or no text"),
    "an open image": (layer(0, batch_input_shape=[None, None]), r"shape \[None, None\] is not fixed"),
    "a giant image": (layer(0, batch_input_shape=[None, 2**20, 2**20, 3]), r"more than 4194304 values"),
    "an image of text": (layer(0, batch_input_shape="x" * 10**5), r"the input's shape xxx.* is not fixed"),
    "a batch of 7": (layer(0, batch_input_shape=[7, 9]), r"leave the batch open"),
    "complex pixels": (layer(0, dtype="complex64"), r"type complex64 is not supported; use float32 or uint8"),
    "half precision": (layer(2, dtype="mixed_float16"), r"quantdense_2': computes in 'mixed_float16'; train it in float32"),
    "a policy": (layer(2, dtype={"config": {"name": "bfloat16"}}), r"computes in 'bfloat16'"),
    "an unknown option": (layer(2, lora_rank=4), r"option 'lora_rank' = '4' is not known here"),
    "units that are text": (layer(2, units="4"), r"units=4 is no whole number above 0"),
    "units that lie": (layer(2, units=5), r"kernel \[9, 4\] does not have 5 units"),
    "a huge number": (layer(1, scale=1e300), r"scale=1e\+300 is no number that float32 holds"),
    "a true scale": (layer(1, scale=True), r"scale=True is no number"),
    "an unknown quantizer": (layer(2, kernel_quantizer="lsq"), r"kernel_quantizer=lsq is not supported; use ste_sign, .*DoReFa of 1 to 4 bits"),
    "ternary weights": (layer(2, kernel_quantizer="ste_tern"), r"its kernel_quantizer does not give -1 and \+1; use ste_sign"),
    "a threshold of the image": (layer(2, input_quantizer={"class_name": "SteTern", "config": {"ternary_weight_networks": True}}),
                                 r"input_quantizer=ste_tern computes its threshold for each image"),
    "a threshold out of reach": (layer(2, input_quantizer={"class_name": "SteTern", "config": {"threshold_value": 2.0}}),
                                 r"threshold_value=2.0 of input_quantizer is not from 0 to below its clip_value"),
    "DoReFa on weights": (layer(2, kernel_quantizer={"class_name": "DoReFa", "config": {"k_bit": 2, "mode": "weights"}}),
                          r"kernel_quantizer=DoReFa has mode=weights; use it on activations, and ste_sign on kernels"),
    "DoReFa of 5 bits": (layer(2, input_quantizer={"class_name": "DoReFaQuantizer", "config": {"k_bit": 5}}),
                         r"k_bit=5 of input_quantizer is not supported; nearest: 1 to 4"),
    "0 and 1 as weights": (layer(2, kernel_quantizer="ste_heaviside"), r"does not give -1 and \+1; use ste_sign"),
    "weights that are not binary": (layer(2, kernel_quantizer=None), r"not one above 0; binarize them with kernel_quantizer="),
    "a clip of 0": (layer(2, input_quantizer=SIGN), r"clip_value=0.0 of input_quantizer leaves nothing"),
    "a quantizer's module": (layer(2, input_quantizer={"module": "evil", "class_name": "SteSign"}), r"is of the module 'evil'"),
    "a rectifier": (layer(2, activation="relu"), r"activation=relu is not supported; use ste_sign"),
    "a softmax in front": (layer(1, activation="softmax"), r"layer QuantDense 'quantdense_2': follows a softmax"),
    "a bias that is missing": (layer(2, use_bias=True), r"its array 'bias' is missing in the file; save the whole model"),
    "a bias that is text": (layer(2, use_bias="no"), r"use_bias=no is neither true nor false"),
    "average pooling": (kind(1, "AveragePooling2D"), r"class AveragePooling2D is not supported; .*GlobalAveragePooling2D"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_description_that_is_not_sound_is_one_error(small, change, message, tmp_path):
    config = small.config()
    change(config)
    refused(small.save(tmp_path / "net.h5", config), message)


CONVOLUTIONS = {
    "a kernel that lies": ({"kernel_size": [3, 3]}, r"kernel \[2, 2, 1, 3\] does not fit kernel_size and filters"),
    "padding with ones": ({"padding": "same", "pad_values": 1.0}, r"pad_values=1.0 is not supported; nearest: 0"),
    "causal padding": ({"padding": "causal"}, r"padding=causal is not supported; nearest: valid or same"),
    "channels first": ({"data_format": "channels_first"}, r"data_format=channels_first is not supported"),
    "groups": ({"groups": 2}, r"conv: groups=2 do not divide the 3 filters; give a divisor"),
    "groups of other channels": (
        {"groups": 3},
        r"conv: weights take 3 groups of 1 channels, but the layer before gives 1",
    ),
    "dilation": ({"dilation_rate": [2, 2]}, r"dilation_rate=\[2, 2\] is not supported; nearest: 1"),
    "two strides": ({"strides": [1, 2]}, r"strides=\[1, 2\] is not supported; nearest: the same from 1 to 7 in both"),
    "stride 8": ({"strides": 8}, r"strides=\[8, 8\] is not supported; nearest: the same from 1 to 7"),
    "stride 0": ({"strides": 0}, r"strides=0 is not one or two whole numbers above 0"),
}


@pytest.mark.parametrize(("options", "message"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_convolution_that_is_not_exact_is_refused(keras_chain, options, message, tmp_path):
    chain = keras_chain(4, 4, 1).add("Rescaling", scale=2.0, offset=-1.0).conv(np.ones((2, 2, 1, 3)), **options)
    refused(
        chain.save(tmp_path / "net.keras"), r"layer QuantConv2D 'quantconv2d_2': its " * ("kernel" in message) + message
    )


def branch(config):
    config["config"]["layers"][2]["inbound_nodes"] = [[["rescaling_1", 0, 0, {}], ["inputlayer_0", 0, 0, {}]]]


def circle(config):
    config["config"]["layers"][1]["inbound_nodes"] = [[["quantdense_2", 0, 0, {}]]]


def shortcut(config):
    config["config"]["layers"][2]["inbound_nodes"] = [[["inputlayer_0", 0, 0, {}]]]


@pytest.mark.parametrize(("change", "message"), [
    (branch, r"layer QuantDense 'quantdense_2': joins 2 branches, as a residual connection does; only chains"),
    (circle, r"layer 'quantdense_2' is missing, or behind itself"),
    (shortcut, r"layer Rescaling 'rescaling_1': is not on the one chain from input to output"),
    (lambda c: c["config"].update(output_layers=[["rescaling_1", 0, 0]] * 2), r"its output_layers are 2, not one"),
    (lambda c: c["config"].update(output_layers=[["absent", 0, 0]]), r"layer 'absent' is missing"),
])  # fmt: skip
def test_only_chains_are_followed(small, change, message, tmp_path):
    config = small.config(functional=True)
    change(config)
    refused(small.save(tmp_path / "net.h5", config), message)


def soft(file, path):
    del file[path]
    file[path] = h5py.SoftLink("/" + path)


def external(file, path):
    del file[path]
    file[path] = h5py.ExternalLink("/etc/passwd", "/")


def stored_outside(file, path):
    del file[path]
    file.create_dataset(path, (9, 4), np.float32, external=[("secret.bin", 0, 144)])


def virtual(file, path):
    del file[path]
    layout = h5py.VirtualLayout((9, 4), np.float32)
    layout[:] = h5py.VirtualSource("secret.h5", "w", (9, 4))
    file.create_virtual_dataset(path, layout)


def replaced(array=None, **options):
    def change(file, path):
        del file[path]
        file.create_dataset(path, data=array, **options)

    return change


KERNELS = {
    "a soft link to itself": (soft, r"is a link to another place, which is not followed"),
    "an external link": (external, r"is a link to another place, which is not followed"),
    "external storage": (stored_outside, r"has its data in another file, which is not followed"),
    "a virtual data set": (virtual, r"has its data in another file, which is not followed"),
    "a giant": (replaced(shape=(1 << 40, 1 << 20), dtype="f4", chunks=(1, 1)), r"shape \(1099511627776, 1048576\): more than"),
    "a bomb": (replaced(shape=(1 << 15, 1 << 15), dtype="f4", compression="gzip", chunks=(64, 64)), r"more than 67108864 values"),
    "another filter": (replaced(np.ones((9, 4), "f4"), compression="lzf"), r"is packed by filter 32000"),
    "NaN": (replaced(np.full((9, 4), np.nan, "f4")), r"holds a value that is not finite"),
    "infinity": (replaced(np.full((9, 4), np.inf, "f4")), r"holds a value that is not finite"),
    "doubles": (replaced(np.ones((9, 4))), r"is of type float64; save the model in float32"),
    "texts": (replaced(np.full((9, 4), b"x" * 9)), r"is of type \|S9; save the model in float32"),
    "objects": (replaced(np.full((9, 4), "x", object), dtype=h5py.string_dtype()), r"is of type object; save the model in"),
    "another fan-in": (replaced(np.ones((8, 4), "f4")), r"weights take 8 inputs, but the tensor has 9"),
    "rank 1": (replaced(np.ones(4, "f4")), r"kernel has the shape \[4\], not rank 2"),
    "nothing": (replaced(h5py.Empty("f4")), r"has the shape None"),
    "a second kernel": (lambda file, path: file.create_dataset(path.replace("/kernel", "/x/kernel"), data=0), r"two arrays 'kernel'"),
    "no kernel": (lambda file, path: file.__delitem__(path), r"its array 'kernel' is missing in the file"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), KERNELS.values(), ids=KERNELS)
def test_arrays_that_are_not_plain_are_refused(small, change, message, tmp_path):
    path = small.save(tmp_path / "net.h5")
    with h5py.File(path, "a") as file:
        change(file, "model_weights/quantdense_2/quantdense_2/kernel:0")
    refused(path, message)


def test_groups_within_themselves_end(small, tmp_path):
    path = small.save(tmp_path / "net.h5")
    with h5py.File(path, "a") as file:
        for name in "abc":
            file[f"model_weights/{name}"] = file["model_weights"]
    refused(path, r"has more than 20000 arrays and groups, or deeper than 12; save it again")


TEXTS = {
    "empty": ("", r"no valid JSON"), "a list": ("[]", r"is list, not an object"), "NaN": ('{"a": NaN}', r"NaN is no number here"),
    "a name twice": ('{"a": 1, "a": 2}', r"a name is there twice"), "no JSON": ("\x80\x04\x95cos\nsystem", r"no valid JSON"),
    "deep": ("[" * 10**5, r"no valid JSON"), "nested": ('{"a":' * 200 + "1" + "}" * 200, r"is nested deeper than 64"),
    "a long number": ('{"a": ' + "9" * 9999 + "}", r"no valid JSON"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize(("text", "message"), TEXTS.values(), ids=TEXTS)
def test_descriptions_that_are_no_json(small, text, message, suffix, tmp_path):
    refused(small.save(tmp_path / f"net{suffix}", text or " "), message)


def archive(**entries):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries.items():
            made.writestr(name.replace("_", "."), content)
    return data.getvalue()


@pytest.mark.parametrize(("data", "message"), [
    (b"", r"is empty"), (b"PK\x03\x04" + bytes(99), r"no readable .keras archive"),
    (archive(config_json="{}"), r"entry 'model.weights.h5' is missing"), (archive(a_b="1"), r"entry 'config.json' is missing"),
    (archive(config_json=bytes(5 << 20)), r"entry 'config.json' has 5242880 bytes"),
    (archive(config_json="{}", model_weights_h5=bytes(257 << 20)), r"entries of 269484034 bytes"),
    (archive(config_json="{}", model_weights_h5=b"no"), r"is no HDF5 file; give a whole model"),
], ids=range(7))  # fmt: skip
def test_archives_that_are_no_model(data, message, tmp_path):
    (tmp_path / "net.keras").write_bytes(data)
    refused(tmp_path / "net.keras", message)


def test_weights_alone_are_refused(small, tmp_path):
    path = small.save(tmp_path / "net.h5")
    with h5py.File(path, "a") as file:
        del file.attrs["model_config"]
    refused(path, r"holds no description of the layers; save the whole model: model.save")


@pytest.mark.parametrize("name", ["a b", "a;b", "$(touch pwned)", "a\nendmodule", "\u202eb", "x" * 10_000])
def test_names_of_the_file_never_become_names_of_layers(small, name, tmp_path):
    for index in range(3):
        small.layers[index]["config"]["name"] = f"{name}{index}"
    network = load_any(small.save(tmp_path / "net.h5"))
    assert [layer.name for layer in network.layers] == ["fc1", "classify"]
    assert all(line.isprintable() and name not in line for line in network.history)


def test_a_library_that_loops_is_ended(small, tmp_path, monkeypatch):
    script = tmp_path / "loop.py"
    script.write_text("while True: pass")
    monkeypatch.setattr(extract, "__file__", str(script))
    monkeypatch.setattr("xnorweave.importers.keras.hdf5.LONGEST_S", 0.5)
    refused(small.save(tmp_path / "net.h5"), r"not a readable HDF5 file \(cut short or damaged\)")


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_random_damage_never_escapes_as_another_error(small, suffix, tmp_path, rng):
    path = small.save(tmp_path / f"net{suffix}")
    data, draw = path.read_bytes(), random.Random(int(rng.integers(1 << 30)))
    for _ in range(12):
        damaged = bytearray(data)
        for _ in range(draw.choice((1, 2, 20))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(XnorweaveError):
            load_any(path)


def test_without_the_package_the_error_names_it(small, tmp_path, monkeypatch):
    path = small.save(tmp_path / "net.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ToolchainError, match=r"needs the package h5py: pip install 'xnorweave\[keras\]'"):
        load_any(path)


def refused(path, message):
    """One error of ours, quickly, without much memory or other files."""
    beside = sorted(os.listdir(path.parent))
    start, memory_kib = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(XnorweaveError, match=message) as caught:
        load_any(path)
    assert time.monotonic() - start < LONGEST_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kib < 1_000_000
    assert type(caught.value) in (NetworkError, UnsupportedError)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < 700
    assert sorted(os.listdir(path.parent)) == beside
