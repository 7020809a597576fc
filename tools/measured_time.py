"""Follows measured times through a program: where they go, and what is claimed of them.

A time that a clock gave differs from run to run and from machine to machine. It may be printed and
drawn; an assertion that hangs on it fails one day on a busy machine. Names are followed, not
values: a name is *timed* when something timed was put into it, or when it is a function that uses
something timed. All that the modules in ``CLOCKS`` offer is timed; times in a committed record are
not.
"""

import ast
from collections.abc import Iterable

CLOCKS = {"time", "timeit"}
MUTATORS = {"add", "append", "extend", "insert", "setdefault", "update"}
SHOWERS = {"print", "glue"}


class MeasuredTime:
    """Reads statements in the order in which they run.

    Attributes:
        timed: the names that hold a measured time now.
        claims: of each claim that hangs on a measured time, its line and the names it hangs on.
        shown: of each call that shows variables, whether a measured time is among them.
        used: whether anything has used a measured time.
    """

    def __init__(self) -> None:
        self.timed: set[str] = set()
        self.claimers: set[str] = set()  # functions that assert something
        self.begin()

    def begin(self) -> None:
        """Forget what was found, and keep what is known of the names."""
        self.claims: dict[int, set[str]] = {}
        self.shown: dict[ast.Call, bool] = {}
        self.used = False

    def read(self, body: list[ast.stmt], condition: Iterable[str] = ()) -> None:
        """Read statements that run only if something holds of the timed names in ``condition``."""
        for node in body:
            self._read(node, set(condition))

    def names(self, node: ast.AST | None) -> set[str]:
        """The timed names that an expression uses, without those that it binds itself."""
        used, bound = _names(node) if node else (set(), set())
        return (used - bound) & self.timed

    def _read(self, node: ast.stmt, condition: set[str]) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    module = getattr(node, "module", alias.name)
                    self._put_name(alias.asname or alias.name, module in CLOCKS)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._define(node)
            case ast.For():
                self._expressions(node.iter, condition)
                for _ in range(2):  # what one turn leaves, the next one meets
                    self._put(node.target, self.names(node.iter))
                    self.read(node.body, condition)
                self.read(node.orelse, condition)
            case ast.If() | ast.While():
                self._expressions(node.test, condition)
                condition = condition | self.names(node.test)
                before = set(self.timed)
                for body in (node.body, node.body, node.orelse):
                    self.read(body, condition)
                    self.timed |= before
            case ast.With():
                for item in node.items:
                    self._expressions(item.context_expr, condition)
                    if item.optional_vars:
                        self._put(item.optional_vars, self.names(item.context_expr))
                self.read(node.body, condition)
            case ast.Try():
                for part in (node, *node.handlers):
                    self.read(part.body, condition)
                self.read(node.orelse + node.finalbody, condition)
            case _:
                self._expressions(node, condition)
                for target in getattr(node, "targets", [getattr(node, "target", None)]):
                    if value := getattr(node, "value", None):
                        keep = isinstance(node, ast.AugAssign)
                        self._put(target, self.names(value), keep)

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        outside, (_, own) = self.timed, _names(node)
        self.timed = outside - own
        timed = any(self.names(statement) for statement in node.body)
        self.read(node.body)
        self.timed = outside
        self._put_name(node.name, timed)
        if any(isinstance(part, ast.Assert) for part in ast.walk(node)):
            self.claimers.add(node.name)

    def _expressions(self, node: ast.AST, condition: set[str]) -> None:
        for part in ast.walk(node):
            timed = self.names(part)
            self.used |= bool(timed)
            match part:
                case ast.Assert():
                    self._claim(part, self.names(part.test) | condition)
                case ast.Raise():
                    self._claim(part, condition)
                case ast.NamedExpr():
                    self._put(part.target, self.names(part.value))
                case ast.Call():
                    name = getattr(part.func, "attr", getattr(part.func, "id", ""))
                    if name.startswith(("assert", "check")) or name in self.claimers:
                        self._claim(part, timed | condition)
                    if name in MUTATORS and isinstance(part.func, ast.Attribute):
                        self._put(part.func.value, timed, keep=True)
                    if name in SHOWERS and _names(part)[0] - SHOWERS:
                        self.shown[part] = self.shown.get(part, False) or bool(timed)

    def _claim(self, node: ast.AST, timed: set[str]) -> None:
        if timed:
            self.claims[node.lineno] = self.claims.get(node.lineno, set()) | timed

    def _put(self, target: ast.AST | None, timed: set[str], keep=False) -> None:
        """Put a value into a target; ``keep`` if the rest of the target stays what it was."""
        match target:
            case ast.Name():
                self._put_name(
                    target.id, bool(timed) or (keep and target.id in self.timed)
                )
            case ast.Tuple() | ast.List():
                for part in target.elts:
                    self._put(part, timed, keep)
            case ast.Starred():
                self._put(target.value, timed, keep)
            case ast.Subscript() | ast.Attribute():
                self._put(target.value, timed, keep=True)

    def _put_name(self, name: str, timed: bool) -> None:
        (self.timed.add if timed else self.timed.discard)(name)


def _names(node: ast.AST) -> tuple[set[str], set[str]]:
    """The names that a piece of program uses, and those that it binds."""
    used, bound = set(), set()
    for part in ast.walk(node):
        if isinstance(part, ast.arg):
            bound.add(part.arg)
        elif isinstance(part, ast.Name):
            (used if isinstance(part.ctx, ast.Load) else bound).add(part.id)
    return used, bound
