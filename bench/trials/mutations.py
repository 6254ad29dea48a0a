"""Small mistakes made in Python source, one at a time: what someone who writes a generator might get wrong."""

import ast
import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "mutants_of"]

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
# What is not hardware and changes none: messages, checks of arguments, names and pictures.
_OUT_OF_HARDWARE = ("__init__", "__repr__", "__post_init__", "__str__")
# Of a signal's width, what makes it too narrow, as a rule: a bit too many is never seen.
_NARROWER = ("constant one less", "one too few")
# They guard against mistakes elsewhere, tell of source lines, or spare the reset of a register that needs none.
_UNSEEN = ("strict", "emit_src", "reset_less")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One changed place.

    Parameters
    ----------
    file : str
        Path within the tree.
    line : int
        Where, in the file as it was.
    what : str
        The kind of mistake.
    before, after : str
        The expression or statement, shortened.
    reads : str
        The lines that it touches, as they read with the mistake, joined by blanks; of what is dropped, as they were.
    span : (int, int)
        The bytes of the file that it takes.
    text : str
        What takes its place.
    """

    file: str
    line: int
    what: str
    before: str
    after: str
    reads: str
    span: tuple[int, int]
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}: {self.before}  ->  {self.after}"

    @property
    def key(self) -> str:
        """Orders mutants as if shuffled, always alike: what else changes in a file moves none of them."""
        return hashlib.sha256(f"{self.file}: {self.what}: {self.reads}".encode()).hexdigest()

    def source(self, root: Path) -> str:
        """The whole file with the mistake; nothing where that does not compile."""
        content = (root / self.file).read_bytes()
        start, stop = self.span
        source = (content[:start] + self.text.encode() + content[stop:]).decode()
        try:
            compile(source, self.file, "exec")
        except (SyntaxError, ValueError):
            return ""
        return source


Edit = Callable[[ast.AST], None]


def _edits(node: ast.AST) -> Iterator[tuple[str, Edit]]:
    """Kinds of mistakes at one node, each with what makes it on a copy of the node."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        yield "comparison changed", _compare
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and _computes(node):
        yield "operator changed", _operate
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Invert, ast.Not)):
        yield "inversion dropped", _replace_by(lambda unary: unary.operand)
    if isinstance(node, ast.IfExp):
        yield "choice swapped", _swap_choice
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield "constant one more", _shift(1)
        yield "constant one less", _shift(-1)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield "flag inverted", _flip
    if isinstance(node, ast.Call):
        yield from _edits_of_call(node)


def _edits_of_call(node: ast.Call) -> Iterator[tuple[str, Edit]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name == "eq" and len(node.args) == 1 and isinstance(node.args[0], (ast.Name, ast.Attribute, ast.Subscript)):
        yield "value inverted", _invert
    if name == "If":
        yield "condition inverted", _invert
    if name in ("Mux", "Cat") and len(node.args) >= 2:
        yield "operands swapped", _swap_last
    if name == "reversed" and node.args:
        yield "order kept", _replace_by(lambda call: call.args[0])
    if name == "range" and len(node.args) == 1:
        yield "one too few", _one_less


def _computes(node: ast.BinOp | ast.AugAssign) -> bool:
    """Not where it joins texts or lists, or drives a signal: another operator there is an error and no mistake."""
    children = list(ast.iter_child_nodes(node))
    joins = any(isinstance(child, (ast.JoinedStr, ast.List, ast.Tuple)) for child in children) or any(
        isinstance(child, ast.Constant) and isinstance(child.value, str) for child in children
    )
    return type(node.op) in _OPERATORS and not joins and not _is_driver(node)


def _compare(node: ast.AST) -> None:
    node.ops[0] = _COMPARISONS[type(node.ops[0])]()


def _operate(node: ast.AST) -> None:
    node.op = _OPERATORS[type(node.op)]()


def _swap_choice(node: ast.AST) -> None:
    node.body, node.orelse = node.orelse, node.body


def _swap_last(node: ast.AST) -> None:
    node.args[-1], node.args[-2] = node.args[-2], node.args[-1]


def _one_less(node: ast.AST) -> None:
    node.args[0] = ast.BinOp(left=node.args[0], op=ast.Sub(), right=ast.Constant(value=1))


def _invert(node: ast.AST) -> None:
    node.args[0] = ast.UnaryOp(op=ast.Invert(), operand=node.args[0])


def _flip(node: ast.AST) -> None:
    node.value = not node.value


def _shift(by: int) -> Edit:
    def edit(node: ast.AST) -> None:
        node.value += by

    return edit


def _replace_by(pick: Callable[..., ast.AST]) -> Edit:
    def edit(node: ast.AST) -> None:
        chosen = pick(node)
        node.__class__ = chosen.__class__
        node.__dict__ = chosen.__dict__

    return edit


def _drop(node: ast.AST) -> None:
    """A statement that is not there: a register that never changes, a reset that does nothing."""
    location = {name: getattr(node, name) for name in ("lineno", "col_offset", "end_lineno", "end_col_offset")}
    node.__class__ = ast.Pass
    node.__dict__ = location


def _places(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """Nodes of functions that make hardware, no messages or defaults; each with whether a width is made of it."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or function.name in _OUT_OF_HARDWARE:
            continue
        if any(isinstance(node, ast.Raise) for node in function.body):
            continue
        for statement in function.body:
            yield from _within(statement)


def _within(node: ast.AST, width: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    if isinstance(node, (ast.Raise, ast.Assert, ast.FunctionDef, ast.JoinedStr, ast.arguments)):
        return
    if isinstance(node, ast.If) and any(isinstance(each, ast.Raise) for each in node.body):
        return
    if isinstance(node, ast.keyword) and node.arg in _UNSEEN:
        return
    if isinstance(node, ast.AnnAssign):
        yield from _within(node.value) if node.value else ()
        return
    yield node, width
    name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
    for child in ast.iter_child_nodes(node):
        # The 2 of ``range(max(2, n))`` is for a counter that does not count.
        if not (width and name == "max" and isinstance(child, ast.Constant)):
            shape = isinstance(node, ast.Call) and name == "Signal" and child in node.args[:1]
            yield from _within(child, width or shape)


def _is_driver(node: ast.AST) -> bool:
    """``m.d.sync += ...``"""
    return (
        isinstance(node, ast.AugAssign)
        and isinstance(node.target, ast.Attribute)
        and isinstance(node.target.value, ast.Attribute)
        and node.target.value.attr == "d"
    )


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """Every mutant of a file; some do not compile."""
    content = (root / file).read_bytes()
    starts = [0]
    for line in content.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, width in _places(ast.parse(content)):
        edits = [(what, edit) for what, edit in _edits(node) if what in _NARROWER or not width]
        if _is_driver(node):
            edits.append(("driver dropped", _drop))
        if not edits:
            continue
        first, stop = starts[node.lineno - 1], starts[node.end_lineno]
        span = first + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        for what, edit in edits:
            mutated = copy.deepcopy(node)
            edit(mutated)
            before, after = ast.unparse(node), ast.unparse(ast.fix_missing_locations(mutated))
            text = f"({after})" if isinstance(node, ast.expr) else after
            dropped = isinstance(mutated, ast.Pass)
            kept = b"dropped: " + content[span[0] : span[1]] if dropped else text.encode()
            lines = content[first : span[0]] + kept + content[span[1] : stop]
            found.append(
                Mutant(
                    file=file,
                    line=node.lineno,
                    what=what,
                    before=before[:90],
                    after=after[:90],
                    reads=" ".join(lines.decode().split()),
                    span=span,
                    text=text,
                )
            )
    return found
