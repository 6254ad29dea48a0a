"""Runs the command line as its script does, with packages hidden and tools' time limits cut short.

Usage: ``python launcher.py HIDDEN LIMIT_S ARGUMENT...``, HIDDEN being names of packages, joined by commas.
"""

import functools
import importlib.util
import signal
import sys
from collections.abc import Callable
from typing import Any


def hide(names: set[str]) -> None:
    """Make `importlib.util.find_spec`, by which tools are looked for, find no package of these names."""
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name in names else find(name, package)

    importlib.util.find_spec = without


def limited(run_tool: Callable[..., None], limit_s: float) -> Callable[..., None]:
    """The same with no more time for a tool than this."""

    @functools.wraps(run_tool)
    def run(*arguments: Any, timeout_s: float, **options: Any) -> None:
        run_tool(*arguments, timeout_s=min(timeout_s, limit_s), **options)

    return run


def main(hidden: str, limit_s: str, *arguments: str) -> int:
    """Run one command; gives its exit code."""
    # Where this runs in the background of a shell, children would ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hide(set(hidden.split(",")))
    from xnorweave import processes

    processes.run_tool = limited(processes.run_tool, float(limit_s))
    from xnorweave.cli import main as command_line

    return command_line(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
