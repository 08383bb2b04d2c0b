"""Shape of the five packages: `python -m tests.structure` prints lengths of functions, one-caller modules, cycles.

A function is as long as from `def` to its last line. A module's callers are the modules that import it, anywhere in
their text. A cycle counts where the imports stand at the top of the files: those inside functions come later.
"""

import ast
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PACKAGES = {
    "fer_edge": "runtime/fer_edge", "train": "train", "export": "export", "quantize": "quantize", "boards": "boards"
}  # fmt: skip
# Programs that run on another machine: there each is beside the modules it needs, under its own name.
ELSEWHERE = ("boards/arm64/guest/", "boards/vm/guest/", "boards/bundle/smoke.py")


@dataclass(frozen=True)
class Module:
    """One file: its dotted name, its text as a tree, and the length of the text in lines."""

    path: Path
    tree: ast.Module
    lines: int

    def imports(self, *, at_start: bool = False) -> Iterator[str]:
        """Dotted names of modules, or of names in modules; with `at_start` those that loading the file imports."""
        nodes = _at_start(self.tree) if at_start else ast.walk(self.tree)
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_start(tree: ast.AST) -> Iterator[ast.AST]:
    """Every statement that runs when the module is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _at_start(node)


def modules() -> dict[str, Module]:
    """Every module of the five packages by its dotted name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text()
            found[name] = Module(path, ast.parse(text), len(text.splitlines()))
    return found


def function_lengths(found: Mapping[str, Module]) -> list[int]:
    """Lengths of all functions and methods, in lines, the shortest first."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for module in found.values() for node in ast.walk(module.tree) if isinstance(node, kinds))
    return sorted((node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes)


def graph(found: Mapping[str, Module], *, at_start: bool = False) -> dict[str, set[str]]:
    """The modules of the packages that each imports."""
    edges: dict[str, set[str]] = {}
    for name, module in found.items():
        targets = {text if text in found else text.rpartition(".")[0] for text in module.imports(at_start=at_start)}
        edges[name] = (targets & set(found)) - {name}
    return edges


def callers(found: Mapping[str, Module]) -> dict[str, set[str]]:
    """The modules that import each module; packages themselves are left out."""
    by_target: dict[str, set[str]] = defaultdict(set)
    for name, targets in graph(found).items():
        for target in targets:
            by_target[target].add(name)
    return {name: by_target[name] for name, module in found.items() if module.path.name != "__init__.py"}


def cycle(edges: Mapping[str, set[str]]) -> list[str]:
    """The modules of one cycle in order, nothing where there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for target in sorted(edges[name]):
            if around := walk(target, [*way, name]):
                return around
        done.add(name)
        return []

    return next((around for name in sorted(edges) if (around := walk(name, []))), [])


def repeated_names(found: Mapping[str, Module]) -> list[str]:
    """File names that a package has more than once, programs that run elsewhere left out."""
    names = Counter(
        (name.partition(".")[0], module.path.name)
        for name, module in found.items()
        if not str(module.path.relative_to(ROOT)).startswith(ELSEWHERE)
    )
    return [f"{package}: {name}" for (package, name), count in names.items() if count > 1 and name != "__init__.py"]


def main() -> int:
    """Print the figures."""
    found = modules()
    lengths, of_module = function_lengths(found), callers(found)
    alone = [name for name, by in of_module.items() if len(by) == 1]
    middle, most = statistics.median(lengths), lengths[int(0.95 * len(lengths))]
    print(f"functions: {len(lengths)}, lines: median {middle:g}, 95 % {most}, longest {lengths[-1]}")
    short = sum(found[name].lines < 60 for name in of_module)
    share = len(alone) / len(of_module)
    print(f"modules: {len(of_module)}, with one caller {len(alone)} ({share:.0%}), under 60 lines {short}")
    print(f"file names repeated within a package: {', '.join(repeated_names(found)) or 'none'}")
    print(f"import cycle: {' -> '.join(cycle(graph(found, at_start=True))) or 'none'}")
    for name in sorted(alone, key=lambda name: found[name].lines):
        if found[name].lines < 40:
            print(f"one caller, {found[name].lines} lines: {name}, of {next(iter(of_module[name]))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
