"""Mistakes made in the generator and its hardware, one at a time: the tests must see each.

A mutant lives in a copy of the tree. Its tests run in the order of their nearness: those of its own module, those that
import it, those of units and of whole cores, then all of `make test`; the first that fails ends it. What no test sees
is a failure of its case, to be told apart by hand: a test is missing, or the mutant changes nothing that anyone can
see, and then goes into `trials.equivalent_mutants` with the reason; another one takes its place.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from trials.equivalent_mutants import EQUIVALENT
from trials.mutations import Mutant, mutants_of
from trials.records import Case, Trial, versions

__all__ = ["FILES", "TRIAL", "chosen", "nearest_tests", "seen_by"]

ROOT = Path(__file__).parents[2]
_COUNT = 200
# What makes the hardware: units, and what chooses and connects them. Not estimates, importers, training or reports.
FILES = (
    *("hw/adder_graph.py", "hw/argmax.py", "hw/border_sums.py", "hw/byte_register.py", "hw/cobs.py", "hw/codebook.py"),
    *("hw/conv2d.py", "hw/crc.py", "hw/dense.py", "hw/folded_conv2d.py", "hw/global_sum.py", "hw/lanes.py"),
    *("hw/lookup.py", "hw/matrix_vector.py", "hw/maxpool.py", "hw/pixel_table.py", "hw/processing_elements.py"),
    *("hw/residual_add.py", "hw/row_buffer.py", "hw/scale.py", "hw/segments.py", "hw/shared_module.py"),
    *("hw/sliding_window.py", "hw/spi.py", "hw/stream_fifo.py", "hw/stream_register.py", "hw/sum_pipeline.py"),
    *("hw/threshold.py", "hw/uart.py", "hw/axi_stream.py", "hw/wishbone.py", "hw/xnor_popcount.py"),
    *("gen/lower.py", "gen/core.py", "gen/emit.py", "gen/adder_graph.py", "gen/popcounts.py", "gen/wrappers.py"),
    *("gen/passes/streamline.py", "gen/passes/schedule.py", "gen/passes/kernels.py", "gen/passes/cse_kernels.py"),
    *("gen/passes/shortcuts.py", "gen/passes/sums.py"),
)
_ROOMS = ("gen", "hw", "sim", "boards", "tests", "examples", "bench", "docs")
_LOOSE = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile")
_RELATED = {
    "gen/lower.py": ("tests/gen/test_lower.py", "tests/e2e/test_random_networks.py", "tests/gen/test_dense.py"),
    "gen/core.py": ("tests/gen/test_lower.py", "tests/e2e/test_random_networks.py", "tests/gen/test_layer_kinds.py"),
    "gen/emit.py": ("tests/gen/test_emit.py", "tests/e2e/test_random_networks.py"),
    "gen/passes/kernels.py": ("tests/gen/test_share.py", "tests/gen/test_lower.py"),
    "gen/passes/cse_kernels.py": ("tests/gen/test_cse.py", "tests/gen/test_share.py"),
    "gen/passes/shortcuts.py": ("tests/gen/test_residual.py", "tests/e2e/test_residual.py"),
    "gen/passes/streamline.py": ("tests/gen/test_streamline.py", "tests/gen/test_dense.py", "tests/gen/test_lower.py"),
    "gen/passes/sums.py": ("tests/gen/test_lower.py", "tests/gen/test_residual.py"),
    "gen/wrappers.py": ("tests/sim/test_wrappers.py",),
    "hw/adder_graph.py": ("tests/gen/test_adder_graph.py", "tests/gen/test_lower.py", "tests/gen/test_share.py"),
    "hw/axi_stream.py": ("tests/sim/test_wrappers.py",),
    "hw/byte_register.py": ("tests/hw/test_spi.py", "tests/boards/test_link.py", "tests/boards/test_spi_link.py"),
    "hw/folded_conv2d.py": ("tests/hw/test_folded_conv2d.py", "tests/gen/test_residual.py"),
    "hw/processing_elements.py": ("tests/hw/test_matrix_vector.py", "tests/hw/test_folded_conv2d.py"),
    "hw/scale.py": ("tests/hw/test_units.py", "tests/gen/test_layer_kinds.py", "tests/gen/test_folding_scales.py"),
    "hw/shared_module.py": ("tests/gen/test_emit.py", "tests/e2e/test_random_networks.py"),
    "hw/spi.py": ("tests/hw/test_spi.py", "tests/boards/test_spi_link.py"),
    "hw/sum_pipeline.py": ("tests/hw/test_dense.py", "tests/hw/test_conv2d.py"),
    "hw/wishbone.py": ("tests/sim/test_wrappers.py",),
    "hw/xnor_popcount.py": ("tests/hw/test_matrix_vector.py", "tests/hw/test_folded_conv2d.py"),
}
_OF_UNITS = tuple(f"tests/hw/test_{unit}.py" for unit in ("units", "matrix_vector", "conv2d", "folded_conv2d", "dense"))
_OF_CORES = ("tests/e2e/test_random_networks.py", "tests/gen/test_layer_kinds.py", "tests/gen/test_lower.py")
_WHOLE = ("tests/hw", "tests/gen", "tests/sim", "tests/boards", "tests")
# Of one test; what does not heed it, as compiled code, ends with its file.
_TEST_TIMEOUT_S, _FILE_TIMEOUT_S, _FOLDER_TIMEOUT_S = 240, 900, 3600
_TIMEOUT = re.compile(r"^E +Failed: Timeout", re.MULTILINE)
_FILE = re.compile(r"\btests/\S+?\.py\b")
_NO_TESTS = 5
_NOT_RUN = (3, 4)  # an error of pytest's own, or wrong usage
_MOST_IMPORTING = 4
_NOT_NEAR = ("formal", "bench")  # slow, and of the tree as a whole


@cache
def chosen(root: Path = ROOT, count: int = _COUNT) -> tuple[Mutant, ...]:
    """The mutants of the trial, by seed: all files take turns, and within a file all kinds of mistakes.

    None of them is equivalent to the code as it is: where the one of a seed is, the next whose place differs by a
    multiple of the count takes its place, so that the others keep their seeds.
    """
    queues = []
    for file in FILES:
        kinds: dict[str, list[Mutant]] = {}
        for mutant in sorted(mutants_of(root, file), key=lambda each: each.key):
            kinds.setdefault(mutant.what, []).append(mutant)
        queues.append(_in_turns(list(kinds.values())))
    order = _in_turns(queues)
    return tuple(next(each for each in order[seed::count] if _counts(each, root)) for seed in range(count))


def _counts(mutant: Mutant, root: Path) -> bool:
    return (mutant.file, mutant.reads) not in EQUIVALENT and mutant.source(root) != ""


def _in_turns(queues: list[list[Mutant]]) -> list[Mutant]:
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)]


def nearest_tests(file: str) -> list[str]:
    """Files and folders of tests in the order in which they are likely to see a mistake in a file."""
    own = f"tests/{Path(file).parts[0]}/test_{Path(file).stem}.py"
    near = [own, *_RELATED.get(file, ()), *_importing(file)]
    near += _OF_UNITS if file.startswith("hw/") else ()
    near += _OF_CORES + _WHOLE
    return [name for name in dict.fromkeys(near) if (ROOT / name).exists()]


@cache
def _importing(file: str) -> tuple[str, ...]:
    """The files of quick tests that import a module, those with the most of its name first."""
    room, *rest = Path(file).with_suffix("").parts
    line = f"from xnorweave.{'.'.join(rest if room == 'gen' else (room, *rest))} import "
    tests = ROOT / "tests"
    quick = (path for path in tests.rglob("test_*.py") if path.relative_to(tests).parts[0] not in _NOT_NEAR)
    texts = {path: path.read_text("utf-8") for path in quick}
    found = sorted((path for path, text in texts.items() if line in text), key=lambda path: path.as_posix())
    found.sort(key=lambda path: -texts[path].count(rest[-1]))
    return tuple(path.relative_to(ROOT).as_posix() for path in found[:_MOST_IMPORTING])


def copy_of_tree(folder: Path) -> Path:
    """A copy of the sources, to be changed; made once."""
    tree = folder / "tree"
    if not tree.exists():
        ignored = shutil.ignore_patterns("__pycache__", "results", "*.pyc")
        for room in _ROOMS:
            shutil.copytree(ROOT / room, tree / room, ignore=ignored)
        for name in _LOOSE:
            shutil.copy(ROOT / name, tree / name)
        package = tree / "build" / "tree" / "xnorweave"
        package.mkdir(parents=True)
        for path in (*(tree / "gen").iterdir(), *(tree / room for room in ("hw", "sim", "boards"))):
            (package / path.name).symlink_to(path)
    return tree


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What first failed.

    Parameters
    ----------
    tests : str
        The file that it is in, or the folder that was run.
    line : str
        As pytest tells it, or its exit code.
    late : bool
        Whether it is that a test did not end.
    """

    tests: str
    line: str
    late: bool


def failing(tree: Path, tests: list[str]) -> Failure | None:
    """The first of these tests that fails in a tree, each in a run of its own; None where all pass.

    Of a folder only those run that did not run by themselves before.
    """
    for number, name in enumerate(tests):
        code, said = _pytest(tree, name, tests[:number])
        if code in _NOT_RUN:
            raise RuntimeError(f"{name}: exit code {code} of pytest: {said[-400:]}")
        if code not in (0, _NO_TESTS):
            failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
            line = failed[0] if failed else f"{name}: exit code {code}"
            late = code is None or _TIMEOUT.search(said) is not None
            file = _FILE.search(line)
            return Failure(tests=file[0] if file else name, line=line, late=late)
    return None


def _pytest(tree: Path, name: str, done: Sequence[str]) -> tuple[int | None, str]:
    """Run tests until the first fails, without those that are done; no exit code where they do not end."""
    options = ("-q", "-x", "-p", "no:cacheprovider", "-m", "not slow and not pnr")
    options += ("-o", f"timeout={_TEST_TIMEOUT_S}")
    # A test of the whole tree's digests or wheel needs no mistake to fail in a copy.
    left_out = ("--ignore", "tests/e2e/test_packaging.py", "--ignore", "tests/bench")
    left_out += tuple(word for before in done for word in ("--ignore", before))
    environment = os.environ | {"PYTHONPATH": str(tree / "build" / "tree"), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *left_out, name],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        timeout_s = _FOLDER_TIMEOUT_S if (tree / name).is_dir() else _FILE_TIMEOUT_S
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, f"FAILED {name}: not done after {timeout_s} s"
    return process.returncode, said


def seen_by(mutant: Mutant, tree: Path, tests: list[str]) -> Failure | None:
    """The first test that fails with the mistake, None where all pass; the tree is as before afterwards.

    What does not end, as a core that is deadlocked, has failed.

    Raises
    ------
    RuntimeError
        Where a test does not end without the mistake either.
    """
    place = tree / mutant.file
    whole = place.read_text("utf-8")
    try:
        place.write_text(mutant.source(tree), "utf-8")
        seen = failing(tree, tests)
    finally:
        place.write_text(whole, "utf-8")
    if seen is not None and seen.late and (also := failing(tree, [seen.tests])):
        raise RuntimeError(f"without a mistake: {also.line}")
    return seen


def run(seed: int, folder: Path) -> Case:
    """One mutant."""
    tree = copy_of_tree(folder)
    mutant = chosen()[seed]
    seen = seen_by(mutant, tree, nearest_tests(mutant.file))
    if seen is None:
        return Case(failures=(f"not caught: {mutant}",), counts={"survived": 1, mutant.what: 1})
    late = {"by tests that did not end": 1} if seen.late else {}
    return Case(counts={"caught": 1, mutant.what: 1, **late})


TRIAL = Trial(
    name="mutants",
    title="mistakes in the generator and its hardware",
    full=_COUNT,
    checked="one changed place in hw/ or in what makes hardware of gen/: a test of `make test` fails, the nearest ones "
    "being tried first; mistakes that change nothing are in bench/trials/equivalent_mutants.py, with the reasons",
    run=run,
    tools=partial(versions, "pytest", "amaranth"),
    accepted_percent=99.0,
)
