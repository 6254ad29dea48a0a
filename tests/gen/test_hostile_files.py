"""Files made to do harm, through ``xnorweave import``: one error line each, quickly, with nothing executed or written."""

import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_chains import Chain, bits
from safetensors.numpy import save, save_file

from xnorweave.network import ArgMax, Dense, InputSpec, Network, Threshold
from xnorweave.network_file import network_bytes

LONGEST_CPU_S = 2.0
LONGEST_WALL_S = 30.0  # other processes take the same cores
MOST_BYTES = 1_000_000_000
SECRET = "d0nt-tell"
SHELL, VERILOG, TCL = "$(touch ../canary/run)", "a;\nendmodule //", "[exec touch ../canary/run]"

# Imports each file in turn in one process, the first few without a limit of memory and again at the end, and tells of
# each: exit code, error text, times, and what it wrote or ran.
DRIVER = r"""
import json, os, resource, sys, time

from xnorweave import cli
from xnorweave.importers.keras import extract

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
DEEDS = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "socket.connect", "os.mkdir", "os.rename",
         "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
deeds = None


def watch(event, given):
    if deeds is None:
        return
    reader = event == "subprocess.Popen" and list(given[1])[:3] == [sys.executable, "-P", extract.__file__]
    written = event == "open" and not isinstance(given[0], int) and given[2] & WRITES
    if event in DEEDS or written or (event == "subprocess.Popen" and not reader):
        deeds.append(f"{event} {given!r}"[:200])


def run(path, output):
    global deeds
    pipe = os.memfd_create("errors")
    os.dup2(pipe, 2)
    before, start, deeds = os.times(), time.monotonic(), []
    try:
        code = cli.main(["import", path, "-o", output])
    except BaseException as error:
        code = repr(error)
    done, after, deeds = deeds, os.times(), None
    sys.stderr.flush()
    text = os.pread(pipe, 1 << 20, 0).decode("utf-8", "replace")
    os.close(pipe)
    return {"path": path, "code": code, "text": text, "wall": time.monotonic() - start,
            "cpu": sum(after[:4]) - sum(before[:4]), "deeds": done}


sys.addaudithook(watch)
folder, most, sound, *files = sys.argv[1:]
results = [run(path, os.path.join(folder, f"{n}.npz")) for n, path in enumerate(files[:int(sound)])]
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * os.sysconf("SC_PAGE_SIZE") + int(most)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
results += [run(path, os.path.join(folder, "net.npz")) for path in files[int(sound):]]
peaks = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
again = [run(path, os.path.join(folder, f"again{n}.npz")) for n, path in enumerate(files[:int(sound)])]
print(json.dumps({"results": results, "again": again, "peak_kib": max(peaks)}))
"""


class Trap:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("../canary/run",)


class Case(NamedTuple):
    """A file: what is hostile about it, and what makes it in its own folder under the name of its format."""

    kind: str
    what: str
    make: Callable[[Path], object]
    file: str


CASES: list[Case] = []


def hostile(file: str, kind: str, what: str, make: Callable[[Path], object]) -> None:
    CASES.append(Case(kind, what, make, file))


def content(file: str, kind: str, what: str, make: Callable[[], bytes]) -> None:
    hostile(file, kind, what, lambda path: path.write_bytes(make()))


# Networks of ours.


def zipped(entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def npy_of_shape(shape: str, body: bytes = b"\x01") -> bytes:
    header = f"{{'descr': '|i1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def ours() -> dict[str, bytes]:
    network = Network(
        name="small",
        input=InputSpec(kind="pixels", shape=(1, 3, 3)),
        layers=(
            Dense(name="fc", weights=np.ones((4, 9), np.int8)),
            Threshold(name="sign", thresholds=np.zeros(4, np.int32)),
            Dense(name="last", weights=np.ones((3, 4), np.int8)),
            ArgMax(name="classify"),
        ),
    )
    with zipfile.ZipFile(io.BytesIO(network_bytes(network))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_entry(name: str, data: bytes) -> Callable[[], bytes]:
    return lambda: zipped([*(ours() | {name: data}).items()])


def described(change: Callable[[dict[str, Any]], object]) -> Callable[[], bytes]:
    def make() -> bytes:
        entries = ours()
        description = json.loads(np.load(io.BytesIO(entries["network.npy"])).tobytes())
        change(description)
        entries["network.npy"] = npy(np.frombuffer(json.dumps(description).encode(), np.uint8))
        return zipped([*entries.items()])

    return make


def renamed(name: str) -> Callable[[], bytes]:
    def make() -> bytes:
        change = described(lambda d: d["layers"][0].update(name=name))
        with zipfile.ZipFile(io.BytesIO(change())) as archive:
            entries = {entry.replace("fc.", f"{name}."): archive.read(entry) for entry in archive.namelist()}
        return zipped([*entries.items()])

    return make


def lying() -> bytes:
    data = bytearray(zipped([*ours().items()]))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)
    return bytes(data)


def arrays(**given: np.ndarray) -> Callable[[], bytes]:
    return lambda: zipped([(f"{name}.npy", npy(array)) for name, array in given.items()])


ONES = np.ones((4, 9), np.int8)
content("net.npz", "sound", "", lambda: zipped([*ours().items()]))
content("net.npz", "pickle", "alone", lambda: pickle.dumps(Trap()))
content("net.npz", "pickle", "as an entry", with_entry("fc.weights.npy", pickle.dumps(Trap())))
content("net.npz", "pickle", "in an array of objects", with_entry("fc.weights.npy", npy(np.array([Trap()], object))))
content(
    "net.npz",
    "pickle",
    "code as a shape",
    with_entry("fc.weights.npy", npy_of_shape("__import__('os').mkdir('../canary/run')")),
)
content(
    "net.npz", "bomb", "300 MB of zeros", with_entry("fc.weights.npy", npy_of_shape("(300000000,)", bytes(300_000_000)))
)
content("net.npz", "bomb", "a size that lies", lying)
content("net.npz", "bomb", "lists in lists", with_entry("network.npy", npy(np.frombuffer(b"[" * 500_000, np.uint8))))
content("net.npz", "traversal", "an entry that climbs", with_entry("../../canary/run.npy", npy(ONES)))
content("net.npz", "traversal", "an absolute entry", with_entry("/tmp/run.npy", npy(ONES)))
content("net.npz", "rank", "weights of rank 3", with_entry("fc.weights.npy", npy(ONES[None])))
content("net.npz", "rank", "100 dimensions", with_entry("fc.weights.npy", npy_of_shape("(" + "1," * 100 + ")")))
content("net.npz", "rank", "decoded weights of rank 3", arrays(fc0_w=ONES[None], fc0_t=np.zeros(4, np.int32)))
content("net.npz", "giant", "10^18 weights", with_entry("fc.weights.npy", npy_of_shape("(1000000000, 1000000000)")))
content("net.npz", "giant", "an image of 10^18 pixels", described(lambda d: d["input"].update(shape=[1, 10**9, 10**9])))
content("net.npz", "not finite", "NaN weights", with_entry("fc.weights.npy", npy(np.full((4, 9), np.nan, np.float32))))
content("net.npz", "not finite", "infinite thresholds", with_entry("sign.thresholds.npy", npy(np.full(4, np.inf))))
content("net.npz", "not finite", "NaN in the description", described(lambda d: d.update(name=float("nan"))))
content("net.npz", "duplicate", "an entry", lambda: zipped([*ours().items(), ("fc.weights.npy", npy(ONES))]))
content("net.npz", "duplicate", "a layer's name", renamed("LAST"))
for word, name in (("shell", SHELL), ("Verilog", VERILOG), ("Tcl", TCL)):
    content("net.npz", "name", f"a layer called as {word}", renamed(name))
content("net.npz", "name", "a network called as Verilog", described(lambda d: d.update(name=VERILOG)))


# ONNX.


def graph(change: Callable[[onnx.GraphProto], object]) -> Callable[[], bytes]:
    """A model of one layer, changed: nodes n0 to n2 make bits of the image, n3 and n4 are the layer."""

    def make() -> bytes:
        model = bits(1, 9).weights("MatMul", np.ones((9, 4), np.float32)).model()
        change(model.graph)
        return model.SerializeToString()

    return make


def tensor(change: Callable[[TensorProto], object]) -> Callable[[], bytes]:
    """The same with the weights changed."""
    return graph(lambda g: change(next(t for t in g.initializer if list(t.dims) == [9, 4])))


def valued(array: np.ndarray) -> Callable[[], bytes]:
    return tensor(lambda t: t.CopyFrom(numpy_helper.from_array(array, t.name)))


def sized(*dims: int) -> Callable[[], bytes]:
    return tensor(lambda t: (t.ClearField("dims"), t.dims.extend(dims)))


def elsewhere(location: str) -> Callable[[], bytes]:
    def change(t: TensorProto) -> None:
        t.ClearField("raw_data")
        t.data_location = TensorProto.EXTERNAL
        t.external_data.add(key="location", value=location)

    return tensor(change)


def image(*shape: int) -> Callable[[], bytes]:
    return graph(lambda g: g.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)))


def doubling() -> bytes:
    chain = Chain(1, 9)
    image_, chain.last = chain.last, chain.constant(np.ones((9, 4), np.float32))
    for _ in range(40):
        chain.add("Concat", chain.last, axis=0)
    doubled, chain.last = chain.last, image_
    return chain.add("MatMul", doubled).model().SerializeToString()


def varint(value: int) -> bytes:
    return (bytes([value & 127 | 128]) + varint(value >> 7)) if value > 127 else bytes([value])


def field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(body)) + body


content("net.onnx", "sound", "", graph(lambda g: None))
content("net.onnx", "pickle", "alone", lambda: pickle.dumps(Trap()))
content("net.onnx", "bomb", "a constant that doubles 40 times", doubling)
content("net.onnx", "bomb", "30 million empty nodes", lambda: field(7, field(1, b"") * (30 << 20)))
content("net.onnx", "traversal", "weights beside the folder", elsewhere("../../canary/secret"))
content("net.onnx", "traversal", "weights of the system", elsewhere("/etc/passwd"))
content("net.onnx", "cycle", "of all nodes", graph(lambda g: g.node[0].input.__setitem__(1, g.output[0].name)))
content("net.onnx", "cycle", "of one node", graph(lambda g: g.node[4].input.__setitem__(0, g.node[4].output[0])))
content("net.onnx", "rank", "weights of rank 3", sized(9, 2, 2))
content("net.onnx", "rank", "weights of 100 dimensions", sized(9, 4, *[1] * 98))
content("net.onnx", "rank", "an image of rank 5", image(1, 1, 1, 3, 3))
content("net.onnx", "giant", "2^80 weights", sized(1 << 40, 1 << 40))
content("net.onnx", "giant", "an image of 2^40 pixels", image(1, 1 << 20, 1 << 20))
content("net.onnx", "not finite", "NaN", valued(np.full((9, 4), np.nan, np.float32)))
content("net.onnx", "not finite", "infinity", valued(np.full((9, 4), np.inf, np.float32)))
content("net.onnx", "duplicate", "an initializer", graph(lambda g: g.initializer.append(g.initializer[0])))
content("net.onnx", "duplicate", "a tensor", graph(lambda g: g.node[4].output.__setitem__(0, g.node[0].output[0])))
content(
    "net.onnx",
    "duplicate",
    "an attribute",
    graph(lambda g: g.node[4].attribute.extend([helper.make_attribute("a", 1)] * 2)),
)
content("net.onnx", "name", "an operation called as shell", graph(lambda g: setattr(g.node[4], "op_type", SHELL)))
content("net.onnx", "name", "a tensor called as Verilog", graph(lambda g: g.node[4].input.__setitem__(1, VERILOG)))
content("net.onnx", "name", "a domain called as Tcl", graph(lambda g: setattr(g.node[4], "domain", TCL)))


# Keras; the chain is that of conftest.py.


def keras(file: str, kind: str, what: str, change: Callable[[Any], object] = lambda c: None, *,
          into: Callable[[h5py.File, str], object] | None = None, functional: bool = False) -> None:  # fmt: skip
    """A model with its description changed, or its file, in which the path is that of the kernel."""

    def make(path: Path) -> None:
        chain = KERAS[0](9).add("Rescaling", scale=2.0, offset=-1.0).dense(np.ones((9, 4), np.float32))
        config = chain.config(functional=functional, keras=3 if path.suffix == ".keras" else 2)
        text = change(config)
        chain.save(path, text if isinstance(text, str) else config)
        if into is not None:
            with h5py.File(path, "a") as made:
                into(made, "model_weights/quantdense_2/quantdense_2/kernel:0")

    hostile(file, kind, what, make)


KERAS: list[Any] = []


def option(index: int, **options: Any) -> Callable[[Any], None]:
    return lambda config: config["config"]["layers"][index]["config"].update(options)


def entry(index: int, **entries: Any) -> Callable[[Any], None]:
    return lambda config: config["config"]["layers"][index].update(entries)


def kernel(**options: Any) -> Callable[[h5py.File, str], None]:
    def change(file: h5py.File, path: str) -> None:
        del file[path]
        file.create_dataset(path, **options)

    return change


def linked(link: Callable[[str], Any]) -> Callable[[h5py.File, str], None]:
    def change(file: h5py.File, path: str) -> None:
        del file[path]
        file[path] = link(path)

    return change


def nested(file: h5py.File, _: str) -> None:
    for name in "abc":
        file[f"model_weights/{name}"] = file["model_weights"]


CIRCLE = [[["quantdense_2", 0, 0, {}]]]
LAMBDA = {"function": ["4wEAAAAA", None, None], "function_type": "lambda"}
keras("net.h5", "sound", "")
keras("net.h5", "sound", "functional", functional=True)
keras("net.keras", "sound", "")
keras("net.keras", "sound", "functional", functional=True)
content("net.h5", "pickle", "alone", lambda: pickle.dumps(Trap()))
keras(
    "net.h5", "pickle", "a Lambda of packed code", lambda c: (entry(1, class_name="Lambda")(c), option(1, **LAMBDA)(c))
)
keras(
    "net.h5",
    "bomb",
    "4 GiB packed",
    into=kernel(shape=(1 << 15, 1 << 15), dtype="f4", compression="gzip", chunks=(64, 64)),
)
keras("net.h5", "bomb", "5,000 layers", lambda c: c["config"]["layers"].extend([c["config"]["layers"][1]] * 5000))
keras(
    "net.h5",
    "traversal",
    "a link to another file",
    into=linked(lambda path: h5py.ExternalLink("../../canary/secret", "/")),
)
keras("net.h5", "traversal", "data in another file",
      into=kernel(shape=(9, 4), dtype="f4", external=[("../../canary/secret", 0, 144)]))  # fmt: skip
keras("net.h5", "cycle", "a link to itself", into=linked(lambda path: h5py.SoftLink("/" + path)))
keras("net.h5", "cycle", "a group in itself", into=nested)
keras("net.h5", "cycle", "of layers", entry(1, inbound_nodes=CIRCLE), functional=True)
keras("net.h5", "rank", "weights of rank 1", into=kernel(data=np.ones(4, np.float32)))
keras("net.h5", "giant", "2^60 weights", into=kernel(shape=(1 << 40, 1 << 20), dtype="f4", chunks=(1, 1)))
keras("net.h5", "giant", "an image of 2^40 pixels", option(0, batch_input_shape=[None, 1 << 20, 1 << 20, 1]))
keras("net.h5", "not finite", "NaN", into=kernel(data=np.full((9, 4), np.nan, np.float32)))
keras("net.h5", "not finite", "infinity", into=kernel(data=np.full((9, 4), np.inf, np.float32)))
keras("net.h5", "duplicate", "a layer's name", option(1, name="inputlayer_0"))
keras(
    "net.h5",
    "duplicate",
    "a kernel",
    into=lambda f, path: f.create_dataset(path.replace("/kernel", "/x/kernel"), data=0),
)
keras("net.h5", "name", "a class called as Verilog", entry(1, class_name=VERILOG))
keras("net.keras", "pickle", "as description", lambda _: pickle.dumps(Trap(), 0).decode())
keras("net.keras", "pickle", "a class of a module", entry(1, class_name="system", module="os"))
content(
    "net.keras",
    "bomb",
    "257 MiB packed",
    lambda: zipped([("config.json", b"{}"), ("model.weights.h5", bytes(257 << 20))]),
)
keras("net.keras", "bomb", "lists in lists", lambda _: "[" * 100_000)
content(
    "net.keras", "traversal", "entries that climb", lambda: zipped([("../../canary/run", b"{}"), ("/tmp/run", b"{}")])
)
keras("net.keras", "cycle", "of layers", entry(1, inbound_nodes=CIRCLE), functional=True)
keras("net.keras", "rank", "an image of rank 6", option(0, batch_input_shape=[None, 1, 1, 1, 3, 3]))
keras("net.keras", "not finite", "NaN in the description", option(1, scale=float("nan")))
keras("net.keras", "duplicate", "a name in the description", lambda c: json.dumps(c)[:-1] + ', "config": {}}')
content(
    "net.keras", "duplicate", "an entry", lambda: zipped([("config.json", b"{}")] * 2 + [("model.weights.h5", b"")])
)
keras("net.keras", "name", "a quantizer called as shell", option(2, kernel_quantizer=SHELL))
keras("net.keras", "name", "a class called as Tcl", entry(1, class_name=TCL))


# PyTorch: a description, and the tensors beside it.

SOUND = '[[layers]]\nkind = "affine"\nscale = 2.0\noffset = -1.0\n[[layers]]\nkind = "sign"\nzero = 1\n[[layers]]\nkind = "flatten"\n'


def torch(kind: str, what: str, *, weights: str = "net.safetensors", data: Callable[[], bytes | dict[str, Any]] = dict,
          shape: str = "[1, 3, 3]", start: str = SOUND, layer: str = 'kind = "dense"\nweight = "w"', more: str = "",
          beside: Callable[[Path], object] | None = None) -> None:  # fmt: skip
    """A description and its tensors: ``data`` gives the file's bytes, or arrays besides the sound ones."""

    def make(path: Path) -> None:
        text = f"weights = {json.dumps(weights)}\ninput = {{ shape = {shape} }}\n{more}{start}[[layers]]\n{layer}\n"
        path.write_text(text)
        given = data()
        if beside is not None:
            beside(path.parent)
        elif isinstance(given, bytes):
            (path.parent / weights).write_bytes(given)
        else:
            save_file({"w": np.ones((4, 9), np.float32)} | given, path.parent / "net.safetensors")

    hostile("net.toml", kind, what, make)


def header(text: str, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + body


ENTRY = '"w":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}'
torch("sound", "")
torch("pickle", "as tensors", weights="net.pt", data=lambda: pickle.dumps(Trap()))
torch(
    "pickle",
    "in an archive of torch.save",
    weights="net.pt",
    data=lambda: zipped([("net/data.pkl", pickle.dumps(Trap()))], 0),
)
torch(
    "pickle",
    "of another protocol",
    weights="net.pth",
    data=lambda: zipped([("net/data.pkl", pickle.dumps(Trap(), 4))], 0),
)
torch(
    "pickle",
    "in a module",
    weights="net.pt",
    data=lambda: zipped([("n/data.pkl", b"."), ("n/code/a.pkl", pickle.dumps(Trap()))], 0),
)
torch("bomb", "300 MB packed", weights="net.pt", data=lambda: zipped([("net/data.pkl", bytes(300_000_000))]))
torch("bomb", "lists in lists", more="a = " + "[" * 100_000 + "\n")
torch("traversal", "tensors beside the folder", weights="../../canary/secret.safetensors")
torch("traversal", "tensors of the system", weights="/etc/passwd")
torch(
    "traversal", "a link out of the folder", beside=lambda f: (f / "net.safetensors").symlink_to("../../canary/secret")
)
torch("cycle", "a link to itself", beside=lambda f: (f / "net.safetensors").symlink_to("net.safetensors"))
torch("rank", "a convolution of rank 2", layer='kind = "conv"\nweight = "w"')
torch("rank", "an image of rank 5", shape="[1, 1, 1, 3, 3]")
torch("giant", "2^80 values", data=lambda: header("{" + ENTRY % "1099511627776,1099511627776" + "}", bytes(4)))
torch("giant", "a header of 2^60 bytes", data=lambda: struct.pack("<Q", 1 << 60) + b"{}")
torch("giant", "an image of 2^40 pixels", shape=f"[1, {1 << 20}, {1 << 20}]")
torch("not finite", "NaN", data=lambda: {"w": np.full((4, 9), np.nan, np.float32)})
torch("not finite", "infinity", data=lambda: {"w": np.full((4, 9), -np.inf, np.float32)})
torch("not finite", "NaN in the description", start=SOUND.replace("2.0", "nan"))
torch("duplicate", "a key", more='weights = "net.safetensors"\n')
torch("duplicate", "a pickle", weights="net.pt", data=lambda: zipped([("net/data.pkl", b".")] * 2, 0))
torch("name", "a tensor called as shell", layer=f'kind = "dense"\nweight = {json.dumps(SHELL)}')
torch("name", "a layer called as Verilog", layer=f"kind = {json.dumps(VERILOG)}")
torch("name", "a key called as Tcl", layer=f'kind = "dense"\nweight = "w"\n{json.dumps(TCL)} = 1')


# Packed folders and archives of them.


def tar(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member[0])
            body = b"" if isinstance(member, tarfile.TarInfo) else member[1]
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


def link(kind: bytes, target: str) -> bytes:
    info = tarfile.TarInfo("n/0-0-weights.bin")
    info.type, info.linkname = kind, target
    return tar(info)


def claiming(size: int) -> bytes:
    info = tarfile.TarInfo("n/0-0-weights.bin")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def folder(kind: str, what: str, fill: Callable[[Path], object]) -> None:
    hostile("net", kind, what, lambda path: (path.mkdir(), fill(path)))


def large(path: Path) -> None:
    with (path / "0-0-weights.bin").open("wb") as file:
        file.truncate(200 << 30)


WORD = bytes(8)
content("net.tar", "pickle", "as weights", lambda: tar(("n/0-0-weights.bin", pickle.dumps(Trap()))))
content("net.tar.xz", "bomb", "100 MiB packed", lambda: lzma.compress(bytes(100 << 20), preset=0))
content("net.tar.gz", "bomb", "100 MiB packed", lambda: gzip.compress(bytes(100 << 20), 1))
content("net.tar", "bomb", "5,000 empty files", lambda: tar(("x", b""))[:512] * 5000)
content("net.tar", "traversal", "a name that climbs", lambda: tar(("../../canary/0-0-weights.bin", WORD)))
content("net.tar", "traversal", "an absolute name", lambda: tar(("/tmp/0-0-weights.bin", WORD)))
content("net.tar", "traversal", "a link out of it", lambda: link(tarfile.SYMTYPE, "../../canary/secret"))
content("net.tar", "cycle", "a link to itself", lambda: link(tarfile.LNKTYPE, "n/0-0-weights.bin"))
content("net.tar", "rank", "one word of weights", lambda: tar(("n/0-0-weights.bin", WORD), ("n/0-0-thres.bin", WORD)))
content("net.tar", "giant", "an exabyte", lambda: claiming(1 << 60))
content("net.tar", "giant", "less than nothing", lambda: claiming(-512))
content("net.tar", "duplicate", "a file", lambda: tar(*[("n/0-0-weights.bin", WORD)] * 2))
for word, name in (("shell", SHELL), ("Verilog", VERILOG), ("Tcl", TCL)):
    content("net.tar", "name", f"a file called as {word}", lambda name=name: tar((f"{name}/0-0-weights.bin", WORD)))
folder("traversal", "a link out of it", lambda path: (path / "0-0-weights.bin").symlink_to("../../../canary/secret"))
folder("cycle", "a link to itself", lambda path: (path / "0-0-weights.bin").symlink_to(path / "0-0-weights.bin"))
folder("giant", "200 GiB", large)
folder("pickle", "as weights", lambda path: (path / "0-0-weights.bin").write_bytes(pickle.dumps(Trap())))
hostile("net", "cycle", "a folder that is a link to itself", lambda path: path.symlink_to(path))


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and digest of each file below, of small ones; of the others the size."""
    found = {}
    for path in sorted(folder.rglob("*")):
        size = path.lstat().st_size
        body = path.read_bytes() if path.is_file() and not path.is_symlink() and size < 1 << 20 else b""
        found[str(path.relative_to(folder))] = (size, hashlib.sha256(body).hexdigest())
    return found


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_each_file_is_one_error_line(tmp_path, keras_chain):
    KERAS[:] = [keras_chain]
    for name in ("canary", "files", "out", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "canary" / "secret").write_text(SECRET * 100)
    (tmp_path / "canary" / "secret.safetensors").write_bytes(save({"w": np.ones((4, 9), np.float32)}))
    cases = {}
    for number, case in enumerate(sorted(CASES, key=lambda case: case.kind != "sound")):
        path = tmp_path / "files" / str(number) / case.file
        path.parent.mkdir()
        case.make(path)
        cases[str(path)] = case
    sound = sum(case.kind == "sound" for case in CASES)
    before = snapshot(tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", DRIVER, tmp_path / "out", str(MOST_BYTES), str(sound), *cases],
        cwd=tmp_path / "here", capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    results = told["results"]
    assert [result["path"] for result in results] == list(cases)
    # Sound files are read within the limit, too, so nothing below is refused only for want of memory.
    for read in (results[:sound], told["again"]):
        assert [result["code"] for result in read] == [0] * sound, read
    for result in results[sound:]:
        case = cases[result["path"]]
        where = f"{case.file}, {case.kind}: {case.what}: {result}"
        print(f"{result['wall']:.2f} s, {result['cpu']:.2f} s of the processor: {case.file}, {result['text'][:-1]}")
        assert result["code"] == 1, where
        assert [line.startswith(f"error: {result['path']}: ") for line in result["text"].splitlines()] == [True], where
        assert result["text"].rstrip("\n").isprintable(), where
        assert SECRET not in result["text"], where
        assert "root:" not in result["text"], where
        assert result["deeds"] == [], where
        assert result["cpu"] < LONGEST_CPU_S, where
        assert result["wall"] < LONGEST_WALL_S, where
    print(f"{len(results) - sound} files; at most {told['peak_kib']} KiB more than sound files take")
    assert told["peak_kib"] * 1024 < MOST_BYTES
    for number in range(sound):
        (tmp_path / "out" / f"{number}.npz").unlink()
        (tmp_path / "out" / f"again{number}.npz").unlink()
    assert snapshot(tmp_path) == before


def test_each_kind_of_harm_is_tried_in_the_formats_that_have_it():
    formats = {"".join(Path(case.file).suffixes[:1]) for case in CASES}
    tried = {(case.kind, "".join(Path(case.file).suffixes[:1])) for case in CASES if case.kind != "sound"}
    lacking = {("cycle", ".npz"), ("duplicate", ""), ("name", ""), ("bomb", ""), ("rank", ""),
               ("not finite", ".tar"), ("not finite", ""), ("giant", ".keras")}  # fmt: skip
    assert {(kind, suffix) for kind, _ in tried for suffix in formats} - tried == lacking
    assert sum(case.kind != "sound" for case in CASES) >= 60
