"""What a module wants of pyOpenSSL, read from its source: which imports, and which names below `OpenSSL`.

Nothing is run. Values are followed as far as one file tells where they come from: names that an import binds, what is
assigned to a variable or to an attribute of `self`, annotations, what a function or method of pyOpenSSL returns. `self`
and `super()` are followed in a class that is derived from pyOpenSSL's alone, not in those derived from that. What comes
in from elsewhere, such as an argument without an annotation, is not followed.

A path is what such a value is: `OpenSSL.SSL` a module, `OpenSSL.SSL.Context` a name in it, `OpenSSL.SSL.Context()` what
calling that gives, `OpenSSL.SSL.Context().set_verify` a method of it.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Import", "Use", "read"]

PACKAGE = "OpenSSL"
"""The package that pyOpenSSL installs."""

IMPORTERS = {"import_module", "__import__", "requireModule", "namedAny", "namedModule", "namedObject", "importorskip"}
"""Functions that import what their first argument names: importlib's, Twisted's, pytest's."""

NAME = re.compile(rf"{PACKAGE}(\.\w+)*")

SUPER = "super()"
"""What a class's scope has its bases bound to: no name in a program can be the same."""

FORGIVES_IMPORT = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException", ""}
"""Exceptions whose handler deals with an import that fails; "" is a bare `except`."""

FORGIVES_NAME = {"AttributeError", "Exception", "BaseException", ""}
"""The same for a name that is not there."""

Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Import:
    """An import of `module`. `when`: "module" with the importing module, "function" when a function is called,
    "optional" if the importing module does without, "types" for type checkers alone."""

    line: int
    module: str
    when: str


@dataclass(frozen=True)
class Use:
    """`paths` are what the expression may be, more than one if it depends. `optional` if the module does without it."""

    line: int
    paths: frozenset[str]
    optional: bool


def read(source: bytes) -> tuple[list[Import], list[Use]]:
    """The imports and uses in a module's source, by line. Raises SyntaxError if it is no Python, and ValueError,
    RecursionError or MemoryError if it is nothing that Python could compile either."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes and the like: it is somebody else's source
        tree = ast.parse(source)
    reader = _Reader()
    reader.bind(tree)
    reader.visit(tree)
    uses = {(use.line, use.paths, use.optional): use for use in reader.uses if not use.paths & reader.assigned}
    return sorted(set(reader.imports), key=_import_order), sorted(uses.values(), key=_use_order)


def _import_order(found: Import) -> tuple[int, str, str]:
    return (found.line, found.module, found.when)


def _use_order(use: Use) -> tuple[int, list[str]]:
    return (use.line, sorted(use.paths))


class _Scope:
    """The names of a module, class or function, and all that is assigned to each."""

    def __init__(self, kind: str, outer: _Scope | None) -> None:
        self.kind = kind
        self.outer = outer
        self.names: dict[str, list[_Value]] = {}

    def bind(self, name: str, value: _Value) -> None:
        self.names.setdefault(name, []).append(value)

    def holder(self, name: str) -> _Scope | None:
        """The scope that the name belongs to when it is read here. A class's names are not those of its methods."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.names and (scope is self or scope.kind != "class"):
                return scope
            scope = scope.outer
        return None

    @property
    def is_method(self) -> bool:
        return self.kind == "function" and self.outer is not None and self.outer.kind == "class"

    def nearest_class(self) -> _Scope | None:
        scope: _Scope | None = self
        while scope is not None and scope.kind != "class":
            scope = scope.outer
        return scope


@dataclass(frozen=True)
class _Value:
    """What is bound: exactly one of the three, or nothing if it cannot be followed."""

    scope: _Scope | None = None
    path: str | None = None
    expression: ast.expr | None = None
    annotation: ast.expr | None = None


UNKNOWN = _Value()


class _Reader(ast.NodeVisitor):
    """Two passes: `bind` gathers what names stand for, `visit` then finds where they are used."""

    def __init__(self) -> None:
        self.imports: list[Import] = []
        self.uses: list[Use] = []
        self.assigned: set[str] = set()
        """Paths that the module itself assigns to, which are there then."""
        self._scopes: dict[ast.AST, _Scope] = {}
        self._scope = _Scope("module", None)
        self._forgiven: list[set[str]] = []
        self._type_checking = 0
        self._known: dict[tuple[_Scope, str], frozenset[str]] = {}

    # --- what names stand for ------------------------------------------------------------------------------------

    def bind(self, tree: ast.Module) -> None:
        """To be called first."""
        self._scopes[tree] = self._scope
        self._bind_all(tree.body, self._scope)

    def _bind_all(self, nodes: Iterable[ast.AST], scope: _Scope) -> None:
        for node in nodes:
            self._bind_node(node, scope)

    def _bind_node(self, node: ast.AST, scope: _Scope) -> None:
        if isinstance(node, Function):
            if not isinstance(node, ast.Lambda):
                scope.bind(node.name, UNKNOWN)
                self._bind_all([*node.decorator_list, *node.args.defaults], scope)
            inner = self._scopes[node] = _Scope("function", scope)
            arguments = node.args
            for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
                inner.bind(argument.arg, _Value(scope, annotation=argument.annotation))
            for rest in filter(None, (arguments.vararg, arguments.kwarg)):
                inner.bind(rest.arg, UNKNOWN)
            self._bind_all(node.body if isinstance(node.body, list) else [node.body], inner)
            return
        if isinstance(node, ast.ClassDef):
            scope.bind(node.name, UNKNOWN)
            inner = self._scopes[node] = _Scope("class", scope)
            for base in node.bases:
                inner.bind(SUPER, _Value(scope, annotation=base))
            self._bind_all(node.body, inner)
            return
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self._bind_import(node, scope)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind_target(target, _Value(scope, expression=node.value), scope)
        elif isinstance(node, ast.AnnAssign):
            self._bind_target(node.target, _Value(scope, annotation=node.annotation), scope)
        elif isinstance(node, ast.NamedExpr):
            self._bind_target(node.target, _Value(scope, expression=node.value), scope)
        elif isinstance(node, ast.AugAssign):
            pass  # `options |= SSL.OP_ALL`: it stays of the kind that it was
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            self._bind_target(node.target, UNKNOWN, scope)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._bind_target(node.optional_vars, UNKNOWN, scope)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            scope.bind(node.name, UNKNOWN)
        self._bind_all(ast.iter_child_nodes(node), scope)

    def _bind_import(self, node: ast.Import | ast.ImportFrom, scope: _Scope) -> None:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                name, path = alias.asname or alias.name, f"{'.' * node.level}{node.module}.{alias.name}"
            else:
                name = alias.asname or alias.name.partition(".")[0]
                path = alias.name if alias.asname else name
            ours = path.partition(".")[0] == PACKAGE
            scope.bind(name, _Value(scope, path=path) if ours else UNKNOWN)

    def _bind_target(self, target: ast.expr, value: _Value, scope: _Scope) -> None:
        if isinstance(target, ast.Name):
            scope.bind(target.id, value)
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
            owner = scope.nearest_class()
            if owner is not None:
                owner.bind(f"self.{target.attr}", value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._bind_target(element, UNKNOWN, scope)
        elif isinstance(target, ast.Starred):
            self._bind_target(target.value, UNKNOWN, scope)

    # --- what an expression is -----------------------------------------------------------------------------------

    def _paths(self, node: ast.expr | None, scope: _Scope) -> frozenset[str]:
        """Empty if it is nothing of pyOpenSSL's, or cannot be followed."""
        if isinstance(node, ast.Name):
            holder = scope.holder(node.id)
            if node.id == "self" and holder and holder.is_method and len(holder.names["self"]) == 1:
                return self._bound("self", holder) or self._bound(SUPER, holder.outer)
            return self._bound(node.id, holder)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                owner = scope.nearest_class()
                own = self._bound(f"self.{node.attr}", owner) or self._bound(node.attr, owner)
                # What the class has itself is not its base's, whether it can be followed or not.
                if own or (owner and {f"self.{node.attr}", node.attr} & owner.names.keys()):
                    return own
            return frozenset(f"{path}.{node.attr}" for path in self._paths(node.value, scope))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == "super":
                return self._bound(SUPER, scope.nearest_class())
            by_name = self._called_by_name(node, scope)
            return by_name or frozenset(f"{path}()" for path in self._paths(node.func, scope))
        if isinstance(node, (ast.Await, ast.NamedExpr)):
            return self._paths(node.value, scope)
        if isinstance(node, ast.IfExp):
            return self._paths(node.body, scope) | self._paths(node.orelse, scope)
        return frozenset()

    def _bound(self, name: str, scope: _Scope | None) -> frozenset[str]:
        if scope is None or name not in scope.names:
            return frozenset()
        if (scope, name) not in self._known:
            # Nothing, for whoever comes back here meanwhile: names may be assigned to one another.
            self._known[scope, name] = frozenset()
            self._known[scope, name] = self._any_of(scope.names[name])
        return self._known[scope, name]

    def _any_of(self, values: Sequence[_Value]) -> frozenset[str]:
        imported = frozenset(value.path for value in values if value.path)
        if imported:
            return imported  # the other bindings stand in where the import fails
        each = [self._value(value) for value in values if not _is_none(value.expression)]
        return frozenset[str]().union(*each) if all(each) else frozenset()

    def _value(self, value: _Value) -> frozenset[str]:
        if value.scope is None:
            return frozenset()
        if value.annotation is not None:
            return self._instances(value.annotation, value.scope)
        return self._paths(value.expression, value.scope)

    def _instances(self, annotation: ast.expr, scope: _Scope) -> frozenset[str]:
        """What an annotation promises: `SSL.Context | None` is an instance of that class, if it is anything."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            try:
                return self._instances(ast.parse(annotation.value, mode="eval").body, scope)
            except SyntaxError:
                return frozenset()
        if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
            sides = [side for side in (annotation.left, annotation.right) if not _is_none(side)]
            each = [self._instances(side, scope) for side in sides]
            return frozenset[str]().union(*each) if all(each) else frozenset()
        if isinstance(annotation, ast.Subscript) and _last_name(annotation.value) == "Optional":
            return self._instances(annotation.slice, scope)
        return frozenset(f"{path}()" for path in self._paths(annotation, scope))

    def _called_by_name(self, node: ast.Call, scope: _Scope) -> frozenset[str]:
        """`import_module("OpenSSL.SSL")`, and `getattr(SSL, "Context")`."""
        function = _last_name(node.func)
        if function in IMPORTERS and (name := _text(node.args[:1])) and NAME.fullmatch(name):
            return frozenset([PACKAGE if function == "__import__" else name])
        if function == "getattr" and (name := _text(node.args[1:2])):
            return frozenset(f"{path}.{name}" for path in self._paths(node.args[0], scope))
        return frozenset()

    # --- where they are used -------------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> None:
        scope = self._scopes.get(node)
        if scope is None:
            super().visit(node)
            return
        outer, self._scope = self._scope, scope
        # A function is not called where it is defined: nobody there deals with what it raises.
        forgiven, self._forgiven = self._forgiven, [] if scope.kind == "function" else self._forgiven
        super().visit(node)
        self._scope, self._forgiven = outer, forgiven

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.partition(".")[0] == PACKAGE:
                self._imported(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or (node.module or "").partition(".")[0] != PACKAGE:
            return
        self._imported(node, node.module or "")
        for alias in node.names:
            self._used(node, frozenset([f"{node.module}.{alias.name}"]), self._forgives(FORGIVES_IMPORT))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        paths = self._paths(node, self._scope)
        if paths and isinstance(node.ctx, ast.Load):
            self._used(node, paths, self._forgives(FORGIVES_NAME))
        elif paths:
            self.assigned |= paths
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = _last_name(node.func)
        by_name = self._called_by_name(node, self._scope)
        if by_name and function in IMPORTERS:
            self._imported(node, _text(node.args[:1]) or PACKAGE)
        elif by_name:
            self._used(node, by_name, len(node.args) > 2 or self._forgives(FORGIVES_NAME))
        elif function == "hasattr" and (name := _text(node.args[1:2])):
            paths = self._paths(node.args[0], self._scope)
            self._used(node, frozenset(f"{path}.{name}" for path in paths), True)
        self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        self._forgiven.append({name for handler in node.handlers for name in _caught(handler)})
        self._visit_all(node.body)
        self._forgiven.pop()
        self._visit_all([*node.handlers, *node.orelse, *node.finalbody])

    def visit_If(self, node: ast.If) -> None:
        types = _last_name(node.test) == "TYPE_CHECKING"
        self.visit(node.test)
        self._type_checking += types
        self._visit_all(node.body)
        self._type_checking -= types
        self._visit_all(node.orelse)

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _imported(self, node: ast.stmt | ast.expr, module: str) -> None:
        when = "module" if self._scope.kind != "function" else "function"
        if self._type_checking:
            when = "types"
        elif self._forgives(FORGIVES_IMPORT):
            when = "optional"
        self.imports.append(Import(node.lineno, module, when))
        self._used(node, frozenset([module]), when == "optional")

    def _used(self, node: ast.stmt | ast.expr, paths: frozenset[str], optional: bool) -> None:
        if paths:
            self.uses.append(Use(node.lineno, paths, optional or bool(self._type_checking)))

    def _forgives(self, exceptions: set[str]) -> bool:
        return any(caught & exceptions for caught in self._forgiven)


def _caught(handler: ast.ExceptHandler) -> Iterator[str]:
    if handler.type is None:
        yield ""
        return
    for kind in handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]:
        yield _last_name(kind) or "?"


def _last_name(node: ast.expr) -> str:
    """`b` of `b` and of `a.b`; "" of anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _text(arguments: Sequence[ast.expr]) -> str | None:
    """The one argument, if it is a text that stands there."""
    if arguments and isinstance(arguments[0], ast.Constant) and isinstance(arguments[0].value, str):
        return arguments[0].value
    return None
