"""What was imported from ONNX is compared with the graph's own framework before it is written."""

import importlib.util
import json

import numpy as np
import pytest
from explored_networks import Silent
from onnx import TensorProto, numpy_helper
from onnx_chains import Chain, bits, norm

import xnorweave
from xnorweave import cli, commands
from xnorweave.commands import ImportOptions, importing
from xnorweave.errors import DataError, MismatchError, ToolchainError, UnsupportedError
from xnorweave.importers.onnx_graph import frameworks
from xnorweave.importers.onnx_graph.model import read_graph


def plain(rng, *shape: int | str, end: str = "scores", kind: int = TensorProto.FLOAT) -> Chain:
    """Two layers of plain ONNX operations on an image."""
    chain = Chain(*shape, kind=kind)
    if kind == TensorProto.UINT8:
        chain.add("Cast", to=1).add("Sub", 127.5)
    else:
        chain.add("Sub", 0.5)
    size = int(np.prod([n for n in shape[1:] if isinstance(n, int)]))
    chain.add("Sign").add("Flatten").add("MatMul", rng.choice([-1.0, 1.0], (size, 9)))
    chain.add("BatchNormalization", *norm(rng, 9, rising=True)).add("Sign")
    chain.add("Gemm", rng.choice([-1.0, 1.0], (4, 9)), transB=1)
    endings = {"scores": ("Mul", -0.37), "bits": ("Sign",), "class": ("ArgMax",)}
    return chain.add(*endings[end], **({"axis": 1} if end == "class" else {}))


def imported(chain: Chain, folder, **options):
    return commands.import_(
        str(chain.save(folder / "net.onnx")), folder / "net.npz", ImportOptions(**options), Silent()
    )


@pytest.mark.parametrize(
    ("end", "compared"), [("scores", ["class", "sums"]), ("bits", ["bits"]), ("class", ["class", "sums"])]
)
@pytest.mark.parametrize("shape", [("n", 2, 4, 5), (1, 5, 4, 3), (3, 20)])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
def test_onnxruntime_gives_the_same(tmp_path, rng, end, compared, shape, kind):
    pytest.importorskip("onnxruntime")
    report = imported(plain(rng, *shape, end=end, kind=kind), tmp_path, images=7, seed=3)
    want = {"package": "onnxruntime", "images": 7, "mismatches": 0, "compared": compared, "seed": 3}
    assert report["check"] == want
    assert (tmp_path / "net.npz").is_file()


@pytest.mark.parametrize("ending", ["scores", "TopK"])
def test_qonnx_gives_the_same(tmp_path, rng, ending):
    pytest.importorskip("qonnx")
    pytest.importorskip("onnxruntime")
    chain = bits("n", 1, 6, 6).weights("Conv", rng.normal(size=(5, 1, 3, 3)), pads=[1, 1, 1, 1])
    chain.add("BatchNormalization", *norm(rng, 5, rising=True)).add("BipolarQuant", 1.0).add("Flatten")
    chain.weights("MatMul", rng.normal(size=(180, 8))).add(
        "MultiThreshold", np.zeros((8, 1)), out_scale=2.0, out_bias=-1.0
    )
    chain.add("Quant", 0.5, 0.0, 1.0, signed=1, narrow=1).weights("MatMul", rng.normal(size=(8, 4)))
    if ending == "TopK":
        chain.add("Mul", 0.25).add("TopK", [1], outputs=2)
    assert imported(chain, tmp_path)["check"]["compared"] == ["class", "sums"]


def test_images_of_a_file_are_compared_too(tmp_path, rng):
    pytest.importorskip("onnxruntime")
    np.savez(tmp_path / "data.npz", x=rng.integers(0, 256, (5, 4, 5, 2), dtype=np.uint8))
    report = imported(plain(rng, 1, 2, 4, 5), tmp_path, images=3, data=tmp_path / "data.npz")
    assert report["check"]["images"] == 8


def test_images_of_another_size_are_refused(tmp_path, rng):
    np.savez(tmp_path / "data.npz", x=np.zeros((5, 4, 4), np.uint8))
    with pytest.raises(DataError, match=r"data\.npz: images are \[5, 4, 4, 1\], but 'net' takes \[N, 4, 5, 2\]"):
        imported(plain(rng, 1, 2, 4, 5), tmp_path, data=tmp_path / "data.npz")
    assert not (tmp_path / "net.npz").exists()


def test_images_for_a_network_of_ours_are_refused(tmp_path):
    with pytest.raises(
        UnsupportedError, match=r"fashion_mnist: --check-data compares an ONNX graph with its framework"
    ):
        commands.import_("fashion_mnist", tmp_path / "net.npz", ImportOptions(data=tmp_path / "data.npz"), Silent())
    assert not (tmp_path / "net.npz").exists()


WRONG = {
    "scores": (lambda y: y - 0.37 * 2 * np.eye(4, dtype=np.float32)[2], r"random image 0: onnxruntime gives sums -?\d+ at 2, the imported network -?\d+ at 2; nothing was written"),
    "no whole step": (lambda y: -y, r"random image 0: onnxruntime gives class [0-3], the imported network [0-3]; nothing"),
    "bits": (lambda y: np.where(np.arange(4) == 1, -y, y), r"random image 0: onnxruntime gives bits [01] at 1, the imported network [01] at 1"),
    "class": (lambda y: (y + 1) % 4, r"random image 0: onnxruntime gives class [0-3], the imported network [0-3]; nothing"),
    "sums behind the class": (lambda y: y, r"random image 0: onnxruntime gives sums -?\d+ at 3, the imported network -?\d+ at 3"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), [(name, *rest) for name, rest in WRONG.items()], ids=WRONG)
def test_another_answer_is_an_error_and_nothing_is_written(tmp_path, rng, monkeypatch, name, change, message):
    pytest.importorskip("onnxruntime")
    evaluator = frameworks.evaluator

    def wrong(graph, *, indices):
        run = evaluator(graph, indices=indices)

        def answers(image):
            answer, *scores = run(image)
            return change(answer), *(s + 2 * np.eye(4, dtype=np.float32)[3] for s in scores)

        return answers

    monkeypatch.setattr(importing, "evaluator", wrong)
    ends = {"no whole step": "scores", "sums behind the class": "class"}
    chain = plain(rng, 1, 20, end=ends.get(name, name))
    with pytest.raises(MismatchError, match=r"net\.onnx: " + message):
        imported(chain, tmp_path)
    assert not (tmp_path / "net.npz").exists()


@pytest.mark.parametrize("missing", ["onnxruntime", "qonnx"])
def test_without_the_package_the_output_says_which(tmp_path, rng, monkeypatch, capfd, missing):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    chain = plain(rng, 1, 20) if missing == "onnxruntime" else bits(1, 20).weights("MatMul", rng.normal(size=(20, 4)))
    chain.save(tmp_path / "net.onnx")
    arguments = ["import", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "net.npz")]
    assert cli.main([*arguments, "--json"]) == 0
    said = json.loads(capfd.readouterr().out)["check"]["left_out"]
    assert said.startswith(f"needs the package {missing}: pip install ")
    assert cli.main(arguments) == 0
    assert f"needs the package {missing}" in capfd.readouterr().out
    assert (tmp_path / "net.npz").is_file()


def test_no_images_is_no_check(tmp_path, rng):
    assert imported(plain(rng, 1, 20), tmp_path, images=0)["check"] == {"left_out": "no images asked for"}


def test_a_giant_batch_is_not_evaluated(tmp_path, rng):
    said = imported(plain(rng, 1 << 40, 20), tmp_path)["check"]["left_out"]
    assert said == "a batch of 1099511627776 images is too large to evaluate here; export with a batch of 1"


def test_a_framework_that_fails_is_an_error_with_a_way_out(tmp_path, rng, monkeypatch):
    pytest.importorskip("onnxruntime")

    def failing(model):
        raise RuntimeError("no \x1b[31mkernel\nand more")

    monkeypatch.setattr(frameworks, "_onnxruntime", failing)
    message = r"net\.onnx: onnxruntime does not evaluate the graph \(no \[31mkernel\); .* with --check-images 0"
    with pytest.raises(ToolchainError, match=message):
        imported(plain(rng, 1, 20), tmp_path)
    assert not (tmp_path / "net.npz").exists()


def test_a_framework_gets_nothing_of_the_file_but_what_was_read(tmp_path, rng):
    """No data outside, no names, no nodes or constants that do not lead to the output."""
    model = plain(rng, 1, 20).model()
    unused = numpy_helper.from_array(np.zeros(3, np.float32), "unused")
    unused.data_location = TensorProto.EXTERNAL
    unused.external_data.add(key="location", value="../../etc/passwd")
    model.graph.initializer.append(unused)
    model.graph.node.append(model.graph.node[0])
    model.graph.node[-1].output[0] = "secret"
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    made = frameworks._model(read_graph(tmp_path / "net.onnx"), indices=False)
    text = made.SerializeToString()
    assert len(made.graph.node) == len(model.graph.node) - 1
    assert not any(word in text for word in (b"passwd", b"unused", b"secret", b"image"))


def test_load_reads_what_can_be_imported(tmp_path, rng):
    network = xnorweave.load(plain(rng, 1, 20).save(tmp_path / "net.onnx"))
    xnorweave.save_network(network, tmp_path / "net.npz")
    assert (
        xnorweave.load(tmp_path / "net.npz").shapes
        == network.shapes
        == ((1, 1, 20), (9, 1, 1), (9, 1, 1), (4, 1, 1), (1, 1, 1))
    )
