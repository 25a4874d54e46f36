"""What runs inside 3D Slicer: the syntax of its Python (3.9 to 3.12), and no import that it does not have."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for name in ("SlicerDeepBio", "DeepBioSegment") for path in (ROOT / name).rglob("*.py"))
ALLOWED = {"slicer", "qt", "ctk", "vtk", "numpy", "SlicerDeepBioLib"}
PLAIN = (
    "install",
    "install_errors",
    "interpreters",
    "plan",
    "torch_build",
    "samples",
    "process",
    "shared",
    "client",
)
NEWER = {"tomllib", "zoneinfo", "graphlib", "wsgiref.types"}  # of the standard library, but not in 3.8 or 3.9


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def file_scope(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the file is imported, also under if, try and with, and in classes."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield node
        for part in ("body", "orelse", "finalbody"):
            yield from file_scope(getattr(node, part, []))
        for handler in getattr(node, "handlers", []):
            yield from file_scope(handler.body)


def imports(statements: Iterator[ast.AST]) -> set[str]:
    found: set[str] = set()
    for node in statements:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
    return found


def test_there_are_files() -> None:
    names = {path.name for path in FILES}
    assert {"SlicerDeepBio.py", "DeepBioSegment.py", "logic.py", "client.py", "install.py"} <= names


@pytest.mark.parametrize("minor", [9, 10, 11, 12])
@pytest.mark.parametrize("path", FILES, ids=named)
def test_parses_as_that_python(path: Path, minor: int) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, minor))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)], "match came with Python 3.10"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_annotations_are_never_evaluated(path: Path) -> None:
    """``int | None`` is a TypeError in Python 3.9 unless annotations stay texts."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unions = [
        node for node in _annotations(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)
    ]
    postponed = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert postponed or not unions


def _annotations(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                yield from ast.walk(getattr(node, name))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_keyword_that_came_after_python_3_9(path: Path) -> None:
    """What parses but fails at run time: zip(strict=), dataclass(slots=, kw_only=)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            words = {keyword.arg for keyword in node.keywords}
            assert not (name == "zip" and "strict" in words), f"line {node.lineno}"
            assert not (name == "dataclass" and words & {"slots", "kw_only"}), f"line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_at_file_scope_are_there_in_slicer(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tops = {name.partition(".")[0] for name in imports(file_scope(tree.body))}
    assert tops - ALLOWED - sys.stdlib_module_names == set()
    assert not tops & NEWER


@pytest.mark.parametrize("path", FILES, ids=named)
def test_deepbio_itself_is_never_imported(path: Path) -> None:
    """It lives in the worker's Python; Slicer's has none."""
    names = imports(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    assert not [name for name in names if name.partition(".")[0] in ("deepbio", "torch", "appose")]


@pytest.mark.parametrize("name", PLAIN)
def test_needs_the_standard_library_and_numpy_alone(name: str) -> None:
    """These serve the page, the command-line module and tests, where there is no Slicer."""
    path = ROOT / "SlicerDeepBio" / "SlicerDeepBioLib" / f"{name}.py"
    tops = {
        one.partition(".")[0] for one in imports(file_scope(ast.parse(path.read_text(encoding="utf-8")).body))
    }
    assert not tops & {"slicer", "vtk", "qt", "ctk"}
