"""The house is built as docs/architecture.md says: who imports whom, what is imported when, what every part has."""

import ast
import functools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import attndyn
import pytest

HOUSE = Path(attndyn.__file__).parent
ROOMS = ("particles", "integrators", "data", "scenarios", "cli")
MODULES = sorted([*HOUSE.glob("*.py"), *(path for room in ROOMS for path in (HOUSE / room).rglob("*.py"))])

# what each room may import, besides itself, errors.py, interrupts.py and logs.py
EVERYBODY_S = {"errors", "interrupts", "logs"}
MAY_IMPORT = {
    "particles": set(),
    "integrators": {"particles"},
    "data": {"particles"},
    "scenarios": {"particles", "integrators", "data"},
    "cli": {"scenarios", "data"},
    "errors": set(),
    "interrupts": set(),
    "logs": set(),
}
LARGEST_MODULE = 400


def name_of(path):
    """A module's name below the package, as a tuple: particles/space.py is ("particles", "space")."""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path):
    """What a module imports, absolute names as tuples; imports for type checks count as well."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path)[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ("attndyn", *package)[: 1 + len(package) - (node.level - 1)] if node.level else ()
            module = (*above, *(node.module.split(".") if node.module else ()))
            # `from . import a` imports the module a
            yield from ((*module, alias.name) if not node.module else module for alias in node.names)


def identity(path):
    return "/".join(path.relative_to(HOUSE).parts)


def modules(rule):
    """A test that holds a rule of one module, called with its path, to all of them, and names those that break it."""

    @functools.wraps(rule)
    def of_all():
        broken = []
        for path in MODULES:
            try:
                rule(path)
            except AssertionError as error:
                broken.append(f"{identity(path)}: {error}")
        assert not broken, "\n".join(broken)

    del of_all.__wrapped__  # or pytest would ask for a fixture named path
    return of_all


def test_all_rooms_were_found():
    assert len(MODULES) > 40
    assert {name_of(path)[0] for path in MODULES if name_of(path)} == {*MAY_IMPORT}


@modules
def test_a_room_imports_only_what_it_may(path):
    name = name_of(path)
    if not name:
        return  # the package itself, whose names are imported when they are used
    for module in imports(path):
        if module[0] != "attndyn":
            continue
        if len(module) > 1 and module[1] in MAY_IMPORT:
            room = module[1]
            assert room in {name[0], *EVERYBODY_S, *MAY_IMPORT[name[0]]}, f"imports {'.'.join(module)}"
        else:
            # the command line and the provenance of a run ask the package for its version only
            assert module == ("attndyn",)
            assert name in {("cli",), ("data", "provenance"), ("data", "opening"), ("cli", "__main__")}


@modules
def test_nobody_imports_the_command_line(path):
    assert name_of(path)[:1] == ("cli",) or all(module[:2] != ("attndyn", "cli") for module in imports(path))


@modules
def test_hdf5_is_read_and_written_in_data_only(path):
    if any(module[0] == "h5py" for module in imports(path)):
        assert name_of(path)[0] == "data" or name_of(path) == ("particles", "arrays")


@modules
def test_no_module_is_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LARGEST_MODULE


@modules
def test_only_the_command_line_and_its_progress_bar_print(path):
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    printing = any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)
    assert not printing or name_of(path)[:1] == ("cli",) or name_of(path) == ("scenarios", "progress")


def undocumented(tree):
    """The public functions, classes and methods without a docstring.

    What a protocol asks for is said in its module and not repeated ("See ..."); a property's name may say all.
    """
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if ast.get_docstring(node) is None:
                yield node.name
            protocol = isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
            protocol = protocol or (ast.get_docstring(node) or "").startswith("See ")
            for method in node.body if isinstance(node, ast.ClassDef) and not protocol else ():
                public = isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
                named = public and any("property" in ast.unparse(decorator) for decorator in method.decorator_list)
                if public and not named and ast.get_docstring(method) is None:
                    yield f"{node.name}.{method.name}"


@modules
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert list(undocumented(tree)) == []


def fresh(code):
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_imports_nothing_that_takes_long():
    loaded = fresh("import attndyn, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))").split()
    assert "attndyn" in loaded
    assert not {"numpy", "numba", "scipy", "h5py", "matplotlib", "torch", "pydantic", "typer", "rich"} & {*loaded}


def test_help_imports_nothing_that_takes_long():
    code = "import sys; from attndyn.cli import main; main(['--help']); print(*sys.modules)"
    loaded = {name.split(".")[0] for name in fresh(code).splitlines()[-1].split()}
    assert "typer" in loaded
    assert not {"numpy", "numba", "scipy", "h5py", "matplotlib", "torch", "pydantic"} & loaded


def test_every_public_name_can_be_had_and_is_listed():
    assert [name for name in attndyn.__all__ if getattr(attndyn, name, None) is None] == []
    assert set(attndyn.__all__) <= set(dir(attndyn))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        attndyn.nonsense  # noqa: B018


def test_every_folder_of_modules_is_a_package_that_is_installed():
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {path.parent for room in ROOMS for path in (root / room).rglob("*.py")}
    found = {"attndyn"} | {".".join(("attndyn", *folder.relative_to(root).parts)) for folder in folders}
    assert found == set(project["tool"]["setuptools"]["packages"])
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_the_architecture_document_names_files_that_exist():
    root = Path(__file__).parents[1]
    text = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:particles|integrators|data|scenarios|tests|docs|benchmarks)/[\w./-]*)`", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (root / name).exists()] == []
