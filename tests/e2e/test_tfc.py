"""QONNX's TFC for MNIST, from its .onnx file to Verilog on the iCEBreaker's plan."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from xnorweave import cli
from xnorweave.boards.catalogue import board
from xnorweave.commands.options import PlanOptions
from xnorweave.commands.planning import plan_for
from xnorweave.emit import emit
from xnorweave.images import load_images
from xnorweave.importers import load_any
from xnorweave.sim import golden
from xnorweave.sim.run import simulate


class BipolarQuant(OpRun):
    op_domain = "onnx.brevitas"

    def _run(self, x, scale):
        return (np.where(x >= 0, np.float32(1), np.float32(-1)) * scale,)


class BatchNormalization(OpRun):
    """The evaluator's own takes the statistics of the batch in opset 9, where one output means inference."""

    op_domain = ""

    def _run(self, x, scale, bias, mean, var, epsilon=None, **_):
        return ((x - mean) / np.sqrt(var + np.float32(epsilon)) * scale + bias,)


@pytest.fixture(scope="module")
def path(shared):
    return shared / "nets" / "TFC_1W1A.onnx"


@pytest.fixture(scope="module")
def network(path):
    return load_any(path)


@pytest.fixture(scope="module")
def images(shared, network):
    return load_images(shared / "data" / "mnist_test.npz", network)


def test_every_score_of_10000_images_is_that_of_the_graph(path, network, images):
    model = onnx.load(path)
    model.opset_import.add(domain="onnx.brevitas", version=1)  # the file forgets it, and the evaluator insists
    x = images.frames.astype(np.float32) / np.float32(255)
    (want,) = ReferenceEvaluator(model, new_ops=[BipolarQuant, BatchNormalization]).run(None, {"0": x})
    got = golden.run(network, images.frames)
    assert np.array_equal(got.outputs, want.argmax(1))
    assert int((got.outputs == images.labels).sum()) == 9296
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    scores = (got.scores.astype(np.float32) - constants["features.15.running_mean"]) / np.sqrt(constants["76"])
    assert np.array_equal(scores * constants["features.15.weight"] + constants["features.15.bias"], want)


def test_what_was_folded(network):
    assert [layer.kind for layer in network.layers] == ["dense", "threshold"] * 3 + ["dense", "arg_max"]
    assert [line.split(": ")[1].split(" channels")[0] for line in network.history if line.startswith("fc")] == [
        "weights of 1 of 64", "weights of 5 of 64", "weights of 6 of 64",
    ]  # fmt: skip
    assert np.array_equal(network.input.table, np.where(np.arange(256) >= 128, 1, -1))


def test_its_verilog_for_the_icebreaker(network, images, need):
    need("verilator")
    plan = plan_for(network, board("icebreaker"), PlanOptions())
    report = simulate(
        network,
        images.frames[:50],
        simulator="verilator",
        design=emit(network, plan=plan),
        labels=images.labels[:50],
        taps=True,
    )
    assert report.mismatches == 0
    assert report.cycles_per_image == 784


@pytest.mark.slow
@pytest.mark.pnr
def test_its_bitstream_for_the_up5k(path, shared, tmp_path, need, capfd):
    need("verilator")
    data = str(shared / "data" / "mnist_test.npz")
    arguments = ["--board", "icebreaker", "--data", data, "--images", "50", "-o", str(tmp_path / "tfc"), "--json"]
    assert cli.main(["build", str(path), *arguments]) == 0
    report = json.loads(capfd.readouterr().out)
    synthesis = report["synthesis"]
    assert (report["simulation"]["images"], report["simulation"]["mismatches"]) == (50, 0)
    assert synthesis["device"].lower().find("up5k") >= 0
    assert synthesis["luts"] <= synthesis["luts_available"] == 5280
    assert synthesis["block_rams"] <= synthesis["block_rams_available"] == 30
    assert synthesis["fmax_mhz"] >= synthesis["clock_mhz"]
    assert (tmp_path / "tfc" / synthesis["bitstream"]).stat().st_size > 100_000
