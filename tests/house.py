"""Every import of the two packages, read from their sources: at heads of files and in functions."""

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Import:
    """One module of ours that another one imports."""

    importer: str
    imported: str
    line: int
    in_function: bool


def modules(package: str) -> dict[str, Path]:
    """The modules of a package, by dotted name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


KNOWN = {**modules("kolmo"), **modules("momos")}


def imports(module: str) -> Iterator[Import]:
    """What a module imports of ours, wherever the statement stands."""
    tree = ast.parse(KNOWN[module].read_text(encoding="utf-8"))
    for node, inside in _walk(tree, False):
        for name in _names(node):
            if name.split(".")[0] in ("kolmo", "momos") and name != module:
                yield Import(module, name, node.lineno, inside)


def _walk(node: ast.AST, inside: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        yield child, inside
        yield from _walk(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def _names(node: ast.AST) -> list[str]:
    """The modules of an import statement; of a string for `import_module` its text."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "imports are absolute"
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        return sorted({name if name in KNOWN else str(node.module) for name in inner})
    return []


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The files that import each other, directly or by others (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in edges[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            circle = [stack.pop()]
            while circle[-1] != name:
                circle.append(stack.pop())
            if len(circle) > 1:
                found.append(sorted(circle))

    for name in edges:
        if name not in index:
            visit(name)
    return found
