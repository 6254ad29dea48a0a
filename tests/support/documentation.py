"""The code blocks of a page of Markdown: what of them is run, and what a run has to show.

A mark is an HTML comment on the line before a block: ``<!-- file: train.py -->`` puts the block into that file,
``<!-- slow -->`` leaves it to the slow tests, ``<!-- needs: torch, verilator -->`` says without what it is left out,
``<!-- exit: 1 -->`` is the status that its last command ends with, and ``<!-- not run: reason -->`` says why nothing is
run. Console blocks and Python are run; a block of any other language has to be a file, or to say why it is not run.
"""

import os
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

import xnorweave

__all__ = ["Block", "Command", "commands", "inline_commands", "package_path", "read_blocks", "unlike"]

_MARK = re.compile(r"<!--\s*(file|slow|needs|exit|not run)(?::\s*(.*?))?\s*-->")
_DIRECTIVE = re.compile(r"\{[\w-]+\}")
_ANY = "..."


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block with its marks.

    Parameters
    ----------
    page : Path
        Where it is.
    line : int
        Of its first line of text, from 1.
    language : str
        Its first word.
    text : str
        What is in it.
    marks : dict of str to str
        What its comment says.
    """

    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, str]

    @property
    def where(self) -> str:
        """Page and line."""
        return f"{self.page.name}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether it is a program or commands."""
        return "not run" not in self.marks and "file" not in self.marks

    @property
    def slow(self) -> bool:
        """Whether it is left to the slow tests."""
        return "slow" in self.marks

    @property
    def needs(self) -> tuple[str, ...]:
        """Tools and packages that it cannot do without."""
        return tuple(name.strip() for name in self.marks.get("needs", "").split(",") if name.strip())

    def complaint(self) -> str | None:
        """Say what is wrong with its marks."""
        if self.language == "" or self.language is None:
            return f"{self.where}: has no language, or is indented; fence it, and name its language"
        if "not run" in self.marks and not self.marks["not run"]:
            return f"{self.where}: says `not run` without a reason"
        if self.runs and self.language not in ("console", "python"):
            return f"{self.where}: {self.language} is neither run nor a file; mark it with `not run: reason`"
        if self.runs and self.language == "console" and not self.text.startswith("$ "):
            return f"{self.where}: a console block begins with `$ ` and a command"
        return None


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a console block, and the lines shown below it."""

    line: str
    shown: tuple[str, ...]


def read_blocks(page: Path) -> list[Block]:
    """All code blocks of a page, but MyST's directives."""
    blocks, marks = [], {}
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8")):
        match token.type:
            case "html_block":
                marks = marks | {mark: value or "" for mark, value in _MARK.findall(token.content)}
            case "fence" | "code_block":
                language = token.info.strip().split(" ")[0]
                first = (token.map or [0])[0] + 2
                if not _DIRECTIVE.match(language):
                    blocks.append(Block(page=page, line=first, language=language, text=token.content, marks=marks))
                marks = {}
            case _:
                marks = {}
    return blocks


def commands(block: Block) -> list[Command]:
    """The commands of a console block; a backslash at the end of a line continues it."""
    found: list[tuple[str, list[str]]] = []
    continued = False
    for line in block.text.splitlines():
        if continued:
            found[-1] = (f"{found[-1][0]}\n{line.removeprefix('> ')}", [])
        elif line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
        continued = line.endswith("\\") and not found[-1][1]
    return [Command(line=line, shown=tuple(shown)) for line, shown in found]


def inline_commands(page: Path, words: Container[str]) -> Iterator[list[str]]:
    """Commands of ours between backticks in the text of a page, with or without `xnorweave` in front; as words."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8")):
        for child in token.children or []:
            found = child.content.split() if child.type == "code_inline" else []
            if found[:1] == ["xnorweave"] and len(found) > 1:
                yield found[1:]
            elif len(found) > 1 and found[0] in words:
                yield found


def package_path() -> str:
    """PYTHONPATH for processes in other folders: the package under test, if it is a folder and not installed."""
    package = Path(xnorweave.__file__).parent
    places = [str(package.parent)] if package.name == "xnorweave" else []
    return os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])


def unlike(shown: tuple[str, ...], output: str) -> str | None:
    """The first line shown that the output does not have in this order, or None.

    Spaces count as one, empty lines not at all. A line ``...`` stands for any number of lines, and within a line for
    any text. Without it each line has to follow the one before at once.
    """
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    here, free = 0, True
    for line in (" ".join(line.split()) for line in shown if line.strip()):
        if line == _ANY:
            free = True
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in line.split(_ANY)))
        reach = range(here, len(lines) if free else min(here + 1, len(lines)))
        at = next((number for number in reach if pattern.fullmatch(lines[number])), None)
        if at is None:
            return line
        here, free = at + 1, False
    return None
