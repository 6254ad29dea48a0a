"""The work of each command as plain functions that give parts of ``report.json``; the command line only shows them."""

from xnorweave.commands.environment import boards, doctor
from xnorweave.commands.hardware import build, generate, mismatch_error, plan, simulate, synth
from xnorweave.commands.networks import import_, inspect, share
from xnorweave.commands.options import BuildOptions, SimulationOptions
from xnorweave.commands.source import Report, Source, find_images, find_network

__all__ = [
    "BuildOptions",
    "Report",
    "SimulationOptions",
    "Source",
    "boards",
    "build",
    "doctor",
    "find_images",
    "find_network",
    "generate",
    "import_",
    "inspect",
    "mismatch_error",
    "plan",
    "share",
    "simulate",
    "synth",
]
