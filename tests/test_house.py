"""The layout of the package: floors without circles, small folders, one module a name, tests beside modules."""

import ast
import re
import subprocess
from collections import Counter
from graphlib import TopologicalSorter
from importlib.metadata import distribution
from pathlib import Path

import pytest
import srsly

import spacy_transfer

PACKAGE = Path(spacy_transfer.__file__).parent
TESTS = Path(__file__).parent
FLOORS = {
    "tuning": 1,
    "heads": 1,
    "corpora": 1,
    "backbones": 2,
    "pretraining": 3,
    "pipeline": 3,
    "continual": 4,
    "engines": 4,
    "huggingface": 4,
    "ranks": 4,
    "reports": 4,
    "resume": 5,
    "scale": 4,
    "selection": 4,
    "starting": 4,
    "cli": 6,
}
MOST_FILES = 16
# Two sides of one thing: arrays and component, projection and gradients, work and command.
TWICE = {
    "annotate",
    "assess",
    "calibration",
    "distillation",
    "graft",
    "pcgrad",
    "retention",
    "textcat",
    "to_source",
    "tokens",
}


def modules():
    """Dotted name of every module of the package -> its file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name, *, whole=True):
    """Modules of ours that a module imports: everywhere, or while it is imported itself."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf8"))
    lazy = {id(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for node in ast.walk(node)}
    lazy |= {id(n) for node in ast.walk(tree) if isinstance(node, ast.If) for n in ast.walk(node)}  # TYPE_CHECKING
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and (whole or id(node) not in lazy):
            base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base


def floor_of(name):
    return FLOORS.get(name.split(".")[1], 0) if "." in name else 0


def test_every_folder_is_on_a_floor():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(FLOORS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_floor_imports_only_floors_below(name):
    for other in imports(name):
        if name.split(".")[1:2] != other.split(".")[1:2]:
            assert floor_of(other) < max(floor_of(name), 1), f"{name} imports {other}"


def test_there_are_no_circles():
    graph = {name: {other for other in imports(name, whole=False) if other != name} for name in MODULES}
    TopologicalSorter(graph).prepare()  # CycleError names the circle.


def test_backbones_and_heads_do_not_import_each_other():
    for name in MODULES:
        sides = {"spacy_transfer.pipeline.backbone": "spacy_transfer.pipeline.heads"}
        for one, other in [*sides.items(), *((b, a) for a, b in sides.items())]:
            if name.startswith(one + "."):
                assert not [found for found in imports(name) if found.startswith(other + ".")], name


def test_no_folder_has_too_many_files():
    counts = Counter(path.parent for path in MODULES.values())
    assert {str(folder): count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_a_base_name_stands_twice_only_for_two_sides_of_one_thing():
    counts = Counter(path.stem for path in MODULES.values() if path.name != "__init__.py")
    assert {name for name, count in counts.items() if count > 1} == TWICE
    assert max(counts.values()) == 2


TEST_FILES = sorted(path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.as_posix())
def test_tests_stand_where_their_modules_do(path):
    """`tests/a/test_b.py` and `tests/a/test_b_more.py` test `spacy_transfer/a/b.py`."""
    if path.parent.parts:
        stems = {module.stem for module in (PACKAGE / path.parent).glob("*.py")} - {"__init__"}
        name = path.stem.removeprefix("test_")
        assert any(name == stem or name.startswith(stem + "_") for stem in stems)


def guarded(path):
    """Modules that a test file names in its docstring: in its own folder, or with their folder."""
    _, _, names = (ast.get_docstring(ast.parse((TESTS / path).read_text(encoding="utf8"))) or "").partition(
        "Guards also:"
    )
    for name in re.findall(r"[\w/]+\.py", names):
        yield Path(name) if "/" in name else path.parent / name


GUARDED = {path: list(guarded(path)) for path in TEST_FILES}


def is_named_after(test, module):
    name, stem = test.stem.removeprefix("test_"), module.stem.lstrip("_")
    return test.parent == module.parent and (name == stem or name.startswith(stem + "_"))


def test_each_module_has_a_guard():
    files = [path.relative_to(PACKAGE) for path in MODULES.values() if path.name != "__init__.py"]
    named = {module for found in GUARDED.values() for module in found}
    assert [m for m in files if m not in named and not any(is_named_after(test, m) for test in TEST_FILES)] == []


def test_guards_name_modules_that_exist():
    assert [module for found in GUARDED.values() for module in found if not (PACKAGE / module).is_file()] == []


def test_modules_look_like_no_test():
    assert [name for name in MODULES if name.split(".")[-1].startswith("test_") or name.endswith("_test")] == []


def test_contributing_shows_the_floors():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf8")
    shown = {folder: int(floor) for floor, folder in re.findall(r"^\| (\d) \| `(\w+)/`", text, flags=re.MULTILINE)}
    assert shown == {**FLOORS, PACKAGE.name: 0}


@pytest.mark.parametrize(
    ("message", "is_refused"),
    [("s" * 72, False), ("s" * 73, True), ("s" * 72 + "\n\n" + "b" * 90, False), ("é" * 72, False), ("é" * 73, True)],
)
def test_the_hook_refuses_long_subjects(message, is_refused):
    config = srsly.read_yaml(PACKAGE.parent / ".pre-commit-config.yaml")
    [hook] = [hook for hook in config["repos"][0]["hooks"] if hook.get("stages") == ["commit-msg"]]
    assert (hook["language"], hook["args"]) == ("pygrep", ["--multiline"])
    # As pre-commit searches.
    found = re.search(hook["entry"].encode(), message.encode(), re.MULTILINE | re.DOTALL)
    assert bool(found) is is_refused
    # `pre-commit install` sets up both, and the other hooks do not see messages.
    assert config["default_install_hook_types"] == ["pre-commit", "commit-msg"]
    assert config["default_stages"] == ["pre-commit"]


def test_the_matrix_names_tests_that_exist():
    lines = (PACKAGE.parent / ".ci" / "matrix").read_text(encoding="utf8")
    arrays = "\n".join(re.findall(r"^tests\w*=\([^)]*\)", lines, flags=re.MULTILINE))
    command = f'{arrays}; printf "%s\\n" "${{tests[@]}}" "${{tests_without_torch[@]}}"'
    paths = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout.split()
    assert len(paths) > 20 and [path for path in paths if not (TESTS.parent / path).is_file()] == []


def test_modules_say_what_they_are():
    first = {
        name: (ast.get_docstring(ast.parse(path.read_text("utf8"))) or "").split(" ")[0]
        for name, path in MODULES.items()
    }
    assert {name for name, word in first.items() if word in {"What", "Who", "Whether", "How", "Which"}} == set()


def test_functions_have_few_parameters():
    """Builders and commands have one for each setting: spaCy and Typer want it so. The drop-in's model has those of the
    class that it takes the place of."""
    builders = {point.value.rpartition(":")[2] for point in distribution("spacy-transfer").entry_points}
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if isinstance(node, ast.FunctionDef) and node.name not in builders and not node.name.endswith("_cli"):
                if (name.rpartition(".")[2], node.name) == ("dropin_model", "__init__"):
                    continue
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                assert len([one for one in given if one.arg not in ("self", "cls")]) <= 8, f"{name}.{node.name}"
