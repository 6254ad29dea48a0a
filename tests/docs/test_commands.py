"""Everything that the documentation tells a reader to run is run, page by page, and shows what it is said to show."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from command_server import CommandServer
from documentation import Block, commands, inline_commands, package_path, read_blocks, unlike
from small_library import small_library
from typer.main import get_command

from xnorweave.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "examples" / "README.md"])
PAGES = [page for page in PAGES if "_generated" not in page.parts]
SHARED = Path(os.environ.get("XNORWEAVE_SHARED") or ROOT.parent / "shared") / "nets"
TOOLS = ("icarus", "verilator")
LONGEST_S = 900
_SHELL = {"&&", "|", ">", ";"}

blocks_of = {page: read_blocks(page) for page in PAGES}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def pages(*, slow: bool) -> list[Path]:
    return [page for page, blocks in blocks_of.items() if any(b.runs and b.slow == slow for b in blocks)]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """What a reader has: the sources' examples, a cell library and networks of others, where these are there.

    `xnorweave` and `python` are those that run the test.
    """
    folder, programs = tmp_path / "here", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "cells.lib").write_text(small_library())
    if importlib.util.find_spec("h5py") is not None:
        write_keras_model(folder / "net.h5")
    for network in SHARED.glob("*.tar.xz"):
        (folder / network.name).symlink_to(network)
    ours = "import sys; from xnorweave.cli import main; sys.exit(main())"
    for program, arguments in (("python", '"$@"'), ("xnorweave", f'-c {shlex.quote(ours)} "$@"')):
        script = programs / program
        script.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments}\n")
        script.chmod(0o755)
    return folder


def write_keras_model(path: Path) -> None:
    from keras_chain import KerasChain

    rng = np.random.default_rng(1)
    chain = KerasChain(8, 8, 1).conv(rng.normal(size=(3, 3, 1, 4)), input_quantizer=None)
    chain.norm(rng.normal(size=4), np.ones(4)).add("MaxPooling2D", pool_size=[2, 2], strides=[2, 2], padding="valid")
    chain.add("Flatten").dense(rng.normal(size=(36, 3))).save(path)


def environment(folder: Path | None = None) -> dict[str, str]:
    """In which commands run; with the programs of a folder, if there is one."""
    programs = [] if folder is None else [str(folder.with_name("programs"))]
    kept = {key: value for key, value in os.environ.items() if key not in ("CI", "FORCE_COLOR")}
    return kept | {
        "PATH": os.pathsep.join([*programs, f"{sys.prefix}/bin", os.environ["PATH"]]),
        "PYTHONPATH": package_path(),
        "NO_COLOR": "1",
        "COLUMNS": "110",  # the width that the tables in the pages have
    }


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[CommandServer]:
    server = CommandServer(environment())
    yield server
    server.close()


def execute(line: str, folder: Path, server: CommandServer | None = None) -> tuple[int, str]:
    """Exit status and output of a line for the shell; a plain command of ours goes to the server, if there is one."""
    words = shlex.split(line)
    if server is not None and words[0] == "xnorweave" and not _SHELL & set(words):
        output = folder.with_name("output.txt")
        return server.run(words[1:], folder, output), output.read_text("utf-8")
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    return done.returncode, done.stdout


def run_console(block: Block, folder: Path, server: CommandServer | None) -> None:
    found = commands(block)
    for number, command in enumerate(found, 1):
        status, output = execute(command.line, folder, server)
        want = int(block.marks.get("exit", "0")) if number == len(found) else 0
        told = f"{block.where}: $ {command.line}\n{output}"
        if status != want:
            pytest.fail(f"exit status {status}, not {want}\n{told}")
        if (line := unlike(command.shown, output)) is not None:
            pytest.fail(f"does not show {line!r}\n{told}")


def run_python(block: Block, folder: Path) -> None:
    script = folder.with_name("block.py")
    script.write_text(block.text)
    status, output = execute(f"python {shlex.quote(str(script))}", folder)
    if status != 0:
        pytest.fail(f"{block.where}: exit status {status}\n{output}")
    # What a program prints is shown as comments behind the calls.
    shown = re.findall(r"^ *print\(.*\)  # (.*)$", block.text, re.MULTILINE)
    if (line := unlike(tuple(shown), output)) is not None:
        pytest.fail(f"{block.where}: does not print {line!r} but\n{output}")


def installed(package: str) -> bool:
    return package.isidentifier() and importlib.util.find_spec(package) is not None


def run_page(page: Path, folder: Path, need: Callable[..., None], server: CommandServer | None = None) -> None:
    """Run a page's blocks in order: the quick ones by the server, or all of them as processes of their own."""
    for block in blocks_of[page]:
        if "file" in block.marks:
            target = folder / block.marks["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
        elif block.runs and (server is None or not block.slow):
            need(*(tool for tool in block.needs if tool in TOOLS))
            for thing in (tool for tool in block.needs if tool not in TOOLS):
                if shutil.which(thing) or (folder / thing).exists() or installed(thing):
                    continue
                told = f"{block.where} needs {thing}, which is not here"
                if os.environ.get("CI") == "true" and "." not in thing:
                    pytest.fail(f"{told}; in CI no tool or package may be missing")
                pytest.skip(told)
            if block.language == "console":
                run_console(block, folder, server)
            else:
                run_python(block, folder)


@pytest.mark.parametrize("page", pages(slow=False), ids=name)
def test_what_a_page_says_works(page: Path, folder: Path, need: Callable[..., None], server: CommandServer) -> None:
    run_page(page, folder, need, server)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(slow=True), ids=name)
def test_the_whole_page_works(page: Path, folder: Path, need: Callable[..., None]) -> None:
    run_page(page, folder, need)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    assert [complaint for block in blocks_of[page] if (complaint := block.complaint())] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_in_the_text_exists(page: Path) -> None:
    """Such as `xnorweave plan NET --fps F`: the command and its options, whatever the values."""
    known = get_command(app).commands
    for word, *rest in inline_commands(page, known):
        if word == "COMMAND" or word.startswith("-"):
            continue
        told = f"{name(page)}: {word} {' '.join(rest)}"
        assert word in known, told
        options = {option for parameter in known[word].params for option in parameter.opts} | {"--help", "-h"}
        assert {option.strip("[]") for option in rest if option.lstrip("[").startswith("-")} <= options, told


def test_every_page_that_the_sources_name_is_there() -> None:
    """`docs/...md` in messages, comments and pages."""
    found = set()
    for room in ("gen", "hw", "sim", "boards", "bench", "docs", "examples", "README.md", "CHANGELOG.md"):
        path = ROOT / room
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.suffix in (".md", ".py", ".j2", ".js", ".toml"):
                found |= set(re.findall(r"\bdocs/[\w/-]+\.md\b", file.read_text("utf-8")))
    assert sorted(page for page in found if not (ROOT / page).is_file()) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```console\n$ xnorweave --version\nxnorweave 9...\n```\n", "does not show 'xnorweave 9...'"),
        ("```console\n$ xnorweave plan\n```\n", "exit status 2, not 0"),
        ("<!-- exit: 1 -->\n```console\n$ xnorweave --version\n```\n", "exit status 0, not 1"),
        ("```console\n$ xnorweave --version | grep -c weave\n2\n```\n", "does not show '2'"),
        ("```python\nprint(1 + 1)  # 3\n```\n", "does not print '3'"),
        ("```python\nraise SystemExit(4)\n```\n", "exit status 4"),
    ],
)
def test_a_page_that_is_wrong_is_found_out(
    text: str, told: str, folder: Path, need: Callable[..., None], server: CommandServer, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    blocks_of[page] = read_blocks(page)
    with pytest.raises(pytest.fail.Exception, match=re.escape(told)):
        run_page(page, folder, need, server)


class TestOfShownLines:
    """The comparison itself: what it has to find out."""

    OUTPUT = "one  line\n\ntwo\nthree of 12\nfour\n"

    @pytest.mark.parametrize(
        "shown",
        [
            ("one line", "two"),
            ("two", "three of 12"),
            ("...", "four"),
            ("one line", "...", "four"),
            ("three of ...",),
            (),
        ],
    )
    def test_right(self, shown: tuple[str, ...]) -> None:
        assert unlike(shown, self.OUTPUT) is None

    @pytest.mark.parametrize(
        ("shown", "missing"),
        [
            (("one line", "three of 12"), "three of 12"),
            (("two", "one line"), "one line"),
            (("three of 1",), "three of 1"),
            (("four", "five"), "five"),
            (("...", "two", "...", "two"), "two"),
        ],
    )
    def test_wrong(self, shown: tuple[str, ...], missing: str) -> None:
        assert unlike(shown, self.OUTPUT) == missing

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("    indented\n", "has no language"),
            ("```\nx\n```\n", "has no language"),
            ("```toml\nx = 1\n```\n", "toml is neither run nor a file"),
            ("<!-- not run: -->\n```toml\nx = 1\n```\n", "without a reason"),
            ("```console\nls\n```\n", "begins with"),
            ("<!-- slow -->\n\ntext\n\n```c\nx\n```\n", "c is neither run nor a file"),
        ],
    )
    def test_unmarked(self, text: str, complaint: str, tmp_path: Path) -> None:
        (tmp_path / "page.md").write_text(text)
        told = read_blocks(tmp_path / "page.md")[0].complaint()
        assert told is not None
        assert complaint in told

    def test_marks_of_several_lines(self, tmp_path: Path) -> None:
        (tmp_path / "page.md").write_text("<!-- slow -->\n<!-- needs: a, b -->\n```console\n$ c\n```\n")
        block = read_blocks(tmp_path / "page.md")[0]
        assert block.slow
        assert block.needs == ("a", "b")

    def test_commands_and_what_they_show(self, tmp_path: Path) -> None:
        (tmp_path / "page.md").write_text("<!-- exit: 1 -->\n```console\n$ a \\\n    b\nout\n$ c\n```\n")
        block = read_blocks(tmp_path / "page.md")[0]
        assert block.marks == {"exit": "1"}
        assert [(c.line, c.shown) for c in commands(block)] == [("a \\\n    b", ("out",)), ("c", ())]
