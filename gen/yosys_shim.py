"""Run a Yosys script with the ``pyosys`` wheel: ``python -P yosys_shim.py SCRIPT``.

A process of its own, because an error in Yosys exits the interpreter that it is loaded in.
"""

import sys

from pyosys import libyosys  # pyright: ignore[reportAttributeAccessIssue] -- a compiled module without stubs


def main(script: str) -> None:
    """Run the commands of the script file, output to standard output and error."""
    libyosys.run_pass(f"script {script}", libyosys.Design())


if __name__ == "__main__":
    main(sys.argv[1])
