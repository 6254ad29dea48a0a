"""A frame's way through the pipeline, modelled from the plan's intervals and the layers' shapes.

Modelled: a window starts when its last pixel is there, so a layer starts behind the layer before it by that part of a
frame; it ends when its interval is over, and not before its last window. Wired layers and pooling take a pixel a
cycle, so their interval begins with the first pixel, that of a folded convolution with the first window. A folded
dense layer takes its inputs as they come, in the first of its folds, and has the others left when the last has come.
Frames follow each other by the interval of the whole. Not modelled: FIFOs, and waiting for a later layer.
"""

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["Lane", "Timeline", "timeline"]

_FEWEST_FRAMES, _MOST_FRAMES = 3, 8


@dataclass(frozen=True, kw_only=True)
class Lane:
    """When one stage works on the first frame.

    Parameters
    ----------
    name, engine : str
        Of the stage.
    start, end : float
        Cycles after the frame's first pixel.
    """

    name: str
    engine: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Some frames back to back.

    Parameters
    ----------
    lanes : tuple of Lane
        The input, then each stage.
    interval : int
        Cycles from frame to frame.
    frames : int
        How many are shown: enough for a steady state.
    """

    lanes: tuple[Lane, ...]
    interval: int
    frames: int

    @property
    def latency(self) -> float:
        """Cycles from a frame's first pixel to its answer."""
        return max(lane.end for lane in self.lanes)

    @property
    def span(self) -> float:
        """Cycles until the last frame shown is answered."""
        return self.latency + (self.frames - 1) * self.interval

    @property
    def drain(self) -> float:
        """When the last frame shown is all in, and nothing comes behind it; not before the first answer."""
        return max(self.latency, self.lanes[0].end + (self.frames - 1) * self.interval)


def timeline(report: dict[str, Any]) -> Timeline | None:
    """The timeline of a report; None where it lacks the plan or the layers' shapes."""
    plan, layers = report.get("plan") or {}, report.get("layers") or []
    if not plan.get("layers") or not layers or not plan.get("interval_cycles"):
        return None
    shapes = {layer["name"]: layer for layer in layers}
    _, height, width = layers[0]["input"]
    lanes = [Lane(name="input", engine="stream", start=0, end=height * width)]
    for row in plan["layers"]:
        start, end = _stage(row, shapes.get(row["name"]), lanes[-1])
        lanes.append(Lane(name=row["name"], engine=row["engine"], start=start, end=end))
    interval = plan.get("interval_cycles_measured") or plan["interval_cycles"]
    frames = math.ceil(max(lane.end for lane in lanes) / interval) + 2
    return Timeline(lanes=tuple(lanes), interval=interval, frames=min(_MOST_FRAMES, max(_FEWEST_FRAMES, frames)))


def _stage(row: dict[str, Any], shape: dict[str, Any] | None, before: Lane) -> tuple[float, float]:
    """When a stage starts and ends on the first frame, from when the one before it does."""
    interval, latency = row.get("interval_cycles", 0), row.get("latency_cycles", 1)
    if shape is None:
        return before.start + latency, before.end + latency
    if "kernel" in shape:
        start = before.start + _first_window(shape) * (before.end - before.start) + latency
        if row["engine"] == "folded":
            return start, max(start + interval, before.end + latency + interval / shape["output"][1])
        return start, max(before.start + interval, before.end) + latency
    left = 0.0
    if row["engine"] == "folded":
        folds = math.ceil(math.prod(shape["output"]) / row["pe"])
        left = interval * (1 - 1 / folds)
    end = max(before.start + interval, before.end + left) + latency
    return max(before.start, end - max(interval, 1)), end


def _first_window(shape: dict[str, Any]) -> float:
    """Part of the input that is there when the first window is."""
    _, height, width = shape["input"]
    top, _, left, _ = shape.get("padding", (0, 0, 0, 0))
    rows, columns = shape["kernel"]
    pixels = max(0, rows - 1 - top) * width + max(1, columns - left)
    return min(1.0, pixels / (height * width))
