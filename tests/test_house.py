"""The house's walls, drawn from the imports: no two files know each other in a circle, and no arrow goes up.

Every import counts, those inside functions and behind TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import s2i
from tests import conftest

ROOT = Path(s2i.__file__).parent
# From the bottom up; rooms of one floor may use each other's files, as long as no circle comes of it.
FLOORS = (
    {
        "config",
        "config_checks",
        "config_data",
        "config_files",
        "config_front_end",
        "config_merge",
        "config_networks",
        "config_reference",
        "config_plain",
        "config_yaml",
        "settings",
        "files",
        "errors",
    }
    | {"progress", "processes", "plugins", "devices", "freed_memory", "tables", "version"},
    {"data"},
    {"models", "losses", "region_comparison", "float32", "matrix_products", "metrics"},
    {"runs"},
    {"training", "inference", "search", "published"},
    {"evaluation"},
    {"analysis"},
    {"reports", "app"},
    {"commands", "launch"},
    {"arguments"},
    {"cli", "__main__"},
)


def imports() -> dict[str, set[str]]:
    """{module: modules of s2i that it imports anywhere}, without the package itself."""
    paths = {_name(path): path for path in sorted(ROOT.rglob("*.py"))}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        graph[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"expected absolute imports, found a relative one in {path}"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in paths else node.module for name in names]
            graph[module] |= {name for name in names if name in paths} - {module, "s2i"}
    return graph


def _name(path: Path) -> str:
    names = ("s2i", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of modules that reach each other (Tarjan's strongly connected components of two or more)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in graph[module]:
            if other not in order:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            start = stack.index(module)
            if len(stack) - start > 1:
                components.append(sorted(stack[start:]))
            del stack[start:]

    for module in graph:
        if module not in order:
            visit(module)
    return components


def floor(module: str) -> int:
    room = module.split(".")[1]
    floors = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert floors, f"expected {room} on one of FLOORS, found it on none"
    return floors[0]


def test_no_two_files_know_each_other_in_a_circle():
    assert circles(imports()) == []


def test_every_arrow_goes_down():
    up = {
        (module, other)
        for module, others in imports().items()
        if module != "s2i"
        for other in others
        if floor(other) > floor(module)
    }
    assert up == set()


def test_a_circle_is_found_wherever_its_import_stands():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert circles(graph) == [["a", "b", "c"]] and circles({"a": {"b"}, "b": set()}) == []


def test_the_test_files_that_are_taken_first_are_there():
    tests = Path(conftest.__file__).parent
    assert [name for name in conftest.LONGEST if not (tests / name).is_file()] == []
