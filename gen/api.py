"""What programs and notebooks do with a network: load it, plan it for a board, build it.

``xnorweave.load("fashion_mnist").plan(board="icebreaker").build("out")`` makes what the commands ``plan`` and ``build``
make, by the same functions. Each step's result shows itself, in a notebook as HTML.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from xnorweave import commands, tables
from xnorweave.boards.link_format import LinkKind
from xnorweave.console import Stages, live_stages
from xnorweave.importers import PixelRule
from xnorweave.network import Network
from xnorweave.report.notebook import notebook_html

__all__ = ["BoardPlan", "Build", "LoadedNetwork", "load"]

_WIDTH = 110


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LoadedNetwork(Network):
    """A network that was loaded, and knows the images that come with it; made by `load`.

    Parameters
    ----------
    source : str
        The word or the path that it was loaded by.
    images : Path, optional
        Images that come with a shipped network.
    file : Path, optional
        What it was read from, where that is no shipped network.
    """

    source: str
    images: Path | None = None
    file: Path | None = None

    @property
    def report(self) -> dict[str, Any]:
        """What ``xnorweave inspect --json`` tells: ``network`` of a report."""
        return commands.inspect(self)

    def __repr__(self) -> str:
        return _tables(self.report)

    def _repr_html_(self) -> str:
        return notebook_html(self.report)

    def plan(
        self,
        board: str,
        *,
        fps: float | None = None,
        clock_mhz: float | None = None,
        file: str | os.PathLike[str] | None = None,
        stages: Stages | None = None,
    ) -> "BoardPlan":
        """Choose each layer's engine and fold for a board, as ``xnorweave plan`` does.

        Parameters
        ----------
        board : str
            Name in the catalogue, such as ``icebreaker``.
        fps : float, optional
            Frames per second to reach with the smallest design; the highest rate that fits where absent.
        clock_mhz : float, optional
            Clock of the core, made by the chip's PLL; the board's own where absent.
        file : path, optional
            A plan file to take as it is.
        stages : Stages, optional
            Told how far it is; standard error where absent.

        Raises
        ------
        DoesNotFitError
            Where no plan fits the board, or reaches the rate.
        DeviceError
            Where there is no such board, or it cannot make the clock.
        DataError, UnsupportedError
            Where the file is no plan of this network.
        """
        options = commands.PlanOptions(fps=fps, clock_mhz=clock_mhz, file=None if file is None else Path(file))
        with _told(stages) as told:
            report = commands.plan(self, board, options, stages=told)
        return BoardPlan(network=self, board=board, options=options, report=report)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BoardPlan:
    """A network's plan for a board, with what it is estimated to take; made by `LoadedNetwork.plan`.

    Parameters
    ----------
    network : LoadedNetwork
        What is planned.
    board : str
        Name in the catalogue.
    options : PlanOptions
        How it was planned.
    report : dict
        What ``xnorweave plan --json`` tells: ``plan``, ``synthesis`` as estimated, and ``neighbours``.
    """

    network: LoadedNetwork
    board: str
    options: commands.PlanOptions
    report: dict[str, Any]

    def __repr__(self) -> str:
        return _tables(self.report)

    def _repr_html_(self) -> str:
        return notebook_html(self.report)

    @property
    def fits(self) -> bool:
        """Whether the board has room for it by the estimates: a plan that was chosen does, that of a file may not."""
        return self.report["synthesis"]["fits"]

    def build(
        self,
        output: str | os.PathLike[str],
        *,
        data: str | os.PathLike[str] | None = None,
        images: int | None = None,
        simulator: str | None = None,
        strategy: str = "auto",
        seed: int = 1,
        link: LinkKind = "uart",
        force: bool = False,
        stages: Stages | None = None,
    ) -> "Build":
        """Do all of it, as ``xnorweave build`` does: share, generate, simulate, synthesize, report.

        Parameters
        ----------
        output : path
            Folder to write; an older build is replaced, and a build that fails leaves none.
        data : path, optional
            File of images ``x`` and labels ``y``; those that come with a shipped network where absent.
        images : int, optional
            How many to simulate; 50, or as many as there are, where absent.
        simulator : {"verilator", "icarus", "amaranth"}, optional
            The fastest that this machine has, where absent.
        strategy : {"auto", "none", "kernel", "graph", "units"}
            How results are shared.
        seed : int
            Of placement.
        link : {"uart", "spi"}
            What carries the bytes between host and board.
        force : bool
            Replace a folder that is no build of ours.
        stages : Stages, optional
            Told how far it is; standard error where absent.

        Raises
        ------
        MismatchError
            Where the simulation differs from the golden model.
        DoesNotFitError
            Where the board is too small, or the clock is missed.
        ToolchainError
            Where a tool is missing or fails.
        DataError, UnsupportedError, BuildFolderError
            Where images, an option or the folder cannot be used.
        """
        network, folder = self.network, Path(output)
        file = None if data is None else Path(data)
        source = commands.Source(network=network, images=network.images, file=network.file)
        found = commands.find_images(source, file)
        own = {"data": file, "images": images, "simulator": simulator, "output": folder}
        options = commands.build_options(
            *("build", network.source, self.board, strategy, self.options, seed, force),
            link=link,
            compressed=commands.find_compression(source),
            **own,
        )
        with _told(stages) as told:
            report = commands.build(network, found, folder, options, images=images, simulator=simulator, stages=told)
        return Build(folder=folder, report=report)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Build:
    """A finished build; made by `BoardPlan.build`.

    Parameters
    ----------
    folder : Path
        Verilog, plan, report, bitstream and the tools' logs.
    report : dict
        What is in ``report.json``, and ``folder``.
    """

    folder: Path
    report: dict[str, Any]

    def __repr__(self) -> str:
        return _tables(self.report)

    def _repr_html_(self) -> str:
        return notebook_html(self.report)


def load(path: str | os.PathLike[str], *, pixels: PixelRule = "auto") -> LoadedNetwork:
    """Read the network that ``path`` names: the word of a shipped one, or anything that can be imported.

    Parameters
    ----------
    path : str or path
        Such as ``fashion_mnist``, or a file; a folder of packed BNN-PYNQ parameters.
    pixels : {"auto", "unit", "raw"}
        What the float input of another tool's network is for a pixel, as `from_onnx`, `from_keras` and
        `from_description` have it.

    Raises
    ------
    NetworkError
        Where there is no such network, its file is of no known kind, or is damaged.
    UnsupportedError
        Where it is a network that no network of ours equals.
    ToolchainError
        Where the package that reads such files is not installed.
    """
    text = os.fspath(path)
    found = commands.find_network(text, pixels=pixels)
    parts = {field.name: getattr(found.network, field.name) for field in fields(Network)}
    return LoadedNetwork(**parts, source=text, images=found.images, file=found.file)


def _tables(report: dict[str, Any]) -> str:
    """The tables that the command line shows."""
    text = io.StringIO()
    tables.show(report, Console(file=text, highlight=False, emoji=False, markup=False, width=_WIDTH))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).rstrip()


@contextmanager
def _told(stages: Stages | None) -> Iterator[Stages]:
    """The caller's stages, or lines on standard error."""
    if stages is not None:
        yield stages
        return
    with live_stages() as live:
        yield live
