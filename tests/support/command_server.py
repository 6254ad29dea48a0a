"""The command line, started once: each command is a fork of a process that has imported it, and saves its start.

As a program it reads one command a line from standard input, as JSON, and writes its exit status.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["CommandServer"]

_LONGEST_S = 600


class CommandServer:
    """Runs commands of `xnorweave` one after the other.

    Parameters
    ----------
    environment : dict of str to str
        Of the commands.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, arguments: Sequence[str], folder: Path, output: Path) -> int:
        """Exit status of a command run in ``folder``; all that it writes goes to the file ``output``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([list(arguments), str(folder), str(output)]), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _serve() -> None:
    from xnorweave.cli import main

    for line in sys.stdin:
        arguments, folder, output = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(_LONGEST_S)
                os.chdir(folder)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(target, 1)
                os.dup2(target, 2)
                code = main(arguments)
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
