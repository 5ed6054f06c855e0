"""The house keeps its shape: short files, short lists of parameters, no module that could not say what it is of."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import run_fitting

ROOT = Path(run_fitting.__file__).parent
PACKAGES = ("pose2d", "calibration", "fitting", "eval3dpw")
MOST_LINES = 400
MOST_PARAMETERS = 7
KERNELS = {"fitting/solving/compiled_kernel.py"}
"""Compiled as a whole by numba."""
VAGUE = {"utils.py", "util.py", "common.py", "helpers.py", "misc.py"}

FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in (*PACKAGES, "tools", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
] + ["run_fitting.py"]


def test_files_are_short_and_named_for_what_they_hold():
    assert [name for name in FILES if Path(name).name in VAGUE] == []
    lines = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in FILES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES and name not in KERNELS} == {}


def test_functions_take_few_parameters():
    long = [
        f"{name}: {function.name} takes {count}"
        for name in FILES
        if name not in KERNELS
        for function in functions(ast.parse((ROOT / name).read_text(encoding="utf-8")))
        if (count := number_of_parameters(function)) > MOST_PARAMETERS and not compiled(function)
    ]
    assert long == []


def test_every_package_says_what_it_is():
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("__init__.py")):
            told = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            assert len(told.split()) >= 8, file


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def number_of_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """All that a caller may give, without `self` and `cls`."""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def compiled(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Numba's functions get arrays one by one."""
    return any("njit" in ast.unparse(decorator) for decorator in function.decorator_list)
