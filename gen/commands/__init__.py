"""The work of each command as plain functions that give parts of ``report.json``; the command line only shows them."""

from typing import TYPE_CHECKING

from xnorweave.late import late_names

if TYPE_CHECKING:
    from xnorweave.commands.classifying import classify
    from xnorweave.commands.compressing import CompressOptions, compress_network
    from xnorweave.commands.dry_run import (
        dry_build,
        dry_compress,
        dry_generate,
        dry_simulate,
        dry_synth,
        dry_synth_gates,
        dry_train,
    )
    from xnorweave.commands.environment import doctor
    from xnorweave.commands.flashing import flash
    from xnorweave.commands.gates import synth_gates
    from xnorweave.commands.hardware import build, generate, mismatch_error, simulate, synth
    from xnorweave.commands.importing import import_
    from xnorweave.commands.networks import inspect, share
    from xnorweave.commands.options import (
        BuildOptions,
        ClassifyOptions,
        GateOptions,
        GenerateOptions,
        ImportOptions,
        PlanOptions,
        SimulationOptions,
        build_options,
        command_line,
    )
    from xnorweave.commands.planning import boards, plan
    from xnorweave.commands.source import Report, Source, find_compression, find_images, find_network, find_pictures
    from xnorweave.commands.training import TrainOptions, train

__all__ = [
    "BuildOptions",
    "ClassifyOptions",
    "CompressOptions",
    "GateOptions",
    "GenerateOptions",
    "ImportOptions",
    "PlanOptions",
    "Report",
    "SimulationOptions",
    "Source",
    "TrainOptions",
    "boards",
    "build",
    "build_options",
    "classify",
    "command_line",
    "compress_network",
    "doctor",
    "dry_build",
    "dry_compress",
    "dry_generate",
    "dry_simulate",
    "dry_synth",
    "dry_synth_gates",
    "dry_train",
    "find_compression",
    "find_images",
    "find_network",
    "find_pictures",
    "flash",
    "generate",
    "import_",
    "inspect",
    "mismatch_error",
    "plan",
    "share",
    "simulate",
    "synth",
    "synth_gates",
    "train",
]

__getattr__ = late_names(
    __name__,
    {
        "classifying": ("classify",),
        "compressing": ("CompressOptions", "compress_network"),
        "dry_run": (
            "dry_build",
            "dry_compress",
            "dry_generate",
            "dry_simulate",
            "dry_synth",
            "dry_synth_gates",
            "dry_train",
        ),
        "environment": ("doctor",),
        "flashing": ("flash",),
        "gates": ("synth_gates",),
        "hardware": ("build", "generate", "mismatch_error", "simulate", "synth"),
        "importing": ("import_",),
        "networks": ("inspect", "share"),
        "options": (
            "BuildOptions",
            "ClassifyOptions",
            "GateOptions",
            "GenerateOptions",
            "ImportOptions",
            "PlanOptions",
            "SimulationOptions",
            "build_options",
            "command_line",
        ),
        "planning": ("boards", "plan"),
        "source": ("Report", "Source", "find_compression", "find_images", "find_network", "find_pictures"),
        "training": ("TrainOptions", "train"),
    },
)
