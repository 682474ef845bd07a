"""Which file of a package imports which, and what its strings say: read from the source, nothing is run."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One import of one file of the package by another; modules are dotted names, a package is its `__init__`."""

    importer: str
    target: str
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target}"


@dataclass(frozen=True)
class Word:
    """One word of a string literal."""

    text: str
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line} names {self.text!r} in a string"


def find_modules(root: Path) -> dict[str, Path]:
    """All files of a package by dotted name, which begins with the package's own."""
    parts = {file: file.relative_to(root.parent).with_suffix("").parts for file in sorted(root.rglob("*.py"))}
    return {".".join(names).removesuffix(".__init__"): file for file, names in parts.items()}


def find_imports(root: Path) -> list[Import]:
    """All imports inside a package: at the top of a file, in a function or for type checks; relative or absolute.

    `from package import __version__` is none: it reads a string that is there before anything is imported.
    """
    modules = find_modules(root)
    return [
        Import(name, target, file, line)
        for name, file in modules.items()
        for named, line in _imported_names(name, file)
        if (target := _module_of(named, modules)) is not None and named != f"{root.name}.__version__"
    ]


def _imported_names(name: str, file: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports, with their lines: of modules, or of what is in one."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def _module_of(named: str, modules: dict[str, Path]) -> str | None:
    """The module of the package that a name means or lies in; None for other packages."""
    return next((module for module in (named, named.rpartition(".")[0]) if module in modules), None)


def find_circles(imports: list[Import]) -> list[list[Import]]:
    """Groups of files that import each other, directly or around; of each group the imports among its files."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        graph.setdefault(found.importer, set()).add(found.target)
    reach = {name: _reachable(graph, name) for name in graph}
    groups = {frozenset(other for other in reach[name] if name in reach.get(other, ())) for name in graph}
    return [
        [found for found in imports if {found.importer, found.target} <= group]
        for group in sorted(groups, key=sorted)
        if group
    ]


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that a file imports, directly or around; itself only if it is on a circle."""
    found, waiting = set(), [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found


def find_words(file: Path) -> list[Word]:
    """Words of the string literals of a file, apart from docstrings and help texts; "a.b" is the words a and b."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    read_by_people = {id(part) for node in ast.walk(tree) for text in _texts(node) for part in ast.walk(text)}
    literals = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in read_by_people
    ]
    return [Word(word, file, node.lineno) for node in literals for word in re.findall(r"[\w-]+", node.value)]


def _texts(node: ast.AST) -> list[ast.AST]:
    """Docstrings (of attributes too) and the argument `help=`."""
    if isinstance(node, ast.Expr):
        return [node.value] if isinstance(node.value, ast.Constant) else []
    return [node.value] if isinstance(node, ast.keyword) and node.arg == "help" else []
