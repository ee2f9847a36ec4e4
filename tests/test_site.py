"""The docs site: every public name has its entry, every page its place, and nothing is loaded from elsewhere."""

import re
import sys
from pathlib import Path

import pytest
import srsly

import spacy_transfer
from spacy_transfer.cli.app import ABOUT

from .test_errors import CODES
from .test_registry import FACTORIES, NAMES

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "scripts"))
import site_pages  # noqa: E402

PAGES = {path: make() for path, make in site_pages.PAGES.items()}
REGISTERED = set().union(*(NAMES[group] for group in site_pages.REGISTRIES))
WANTED = {
    "reference/components.md": FACTORIES,
    "reference/names.md": REGISTERED,
    "reference/commands.md": {name if name.startswith("debug") else f"transfer {name}" for name in ABOUT},
    "reference/functions.md": set(spacy_transfer.__all__),
    "reference/messages.md": set(CODES),
}


def sections(text):
    """Title -> what stands below it. Lines of code are no titles."""
    parts = re.split(
        r"^##+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("path", WANTED)
def test_every_name_has_an_entry_that_says_something(path):
    assert set(WANTED) == set(PAGES)
    found = sections(PAGES[path])
    assert WANTED[path] - set(found) == set()
    least = 1 if path.endswith("messages.md") else 4
    assert [name for name in WANTED[path] if len(found[name].split()) < least] == []


def test_commands_have_their_options():
    static = sections(PAGES["reference/commands.md"])["transfer static"]
    rows = dict(re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", static, flags=re.MULTILINE))
    assert {"`SOURCE`", "`OUT`", "`--corpus`", "`--window`, `-w`", "`--quiet`, `-q`"} <= set(rows)


def test_each_group_of_names_has_a_page():
    others = {"spacy_factories", "spacy_cli", "console_scripts"}
    assert set(site_pages.REGISTRIES) == set(NAMES) - others


def test_what_lacks_a_docstring_is_told(monkeypatch):
    def build():
        pass

    monkeypatch.setattr(site_pages, "entries", lambda group: {"spacy-transfer.New.v1": build})
    with pytest.raises(ValueError, match="docstring is missing"):
        site_pages.registered()


def test_a_docstring_becomes_a_list():
    text = """Do it, as in [training].

    a (str), b (List[int]): What is
        done by `x_y`.
    RETURNS (Tuple[int, str]): Two.
    RAISES (ValueError): Never.
    """
    assert site_pages.markdown(text).splitlines() == [
        r"Do it, as in \[training\].",
        "",
        r"- `a (str), b` (List\[int\]): What is",
        "  done by `x_y`.",
        r"- **Returns** (Tuple\[int, str\]): Two.",
        "- **Raises** (ValueError): Never.",
    ]


def test_links_lead_to_pages_of_the_site():
    assert site_pages.for_site("[a](../README.md) [b](x.md#y)", "docs/x.md") == "[a](index.md) [b](x.md#y)"
    assert site_pages.for_site("[a](docs/x.md) ![p](docs/p.png) [c](CONTRIBUTING.md)", "README.md") == (
        "[a](x.md) ![p](p.png) [c](contributing.md)"
    )
    assert site_pages.for_site("[run.py](../benchmarks/run.py)", "docs/x.md") == "run.py"


def places(nav):
    for entry in nav if isinstance(nav, list) else nav.values():
        yield from [entry] if isinstance(entry, str) else places(entry)


def test_every_page_has_its_place():
    found = list(places(srsly.read_yaml(ROOT / "mkdocs.yml")["nav"]))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(found) == sorted(written | set(PAGES) | set(site_pages.OUTSIDE.values()))


def test_what_is_loaded_from_elsewhere_is_found(tmp_path):
    page = tmp_path / "index.html"
    page.write_text('<a href="https://x.org">x</a><script src="a.js"></script><link rel="icon" href="a.png">')
    assert site_pages.loads_from_elsewhere(tmp_path) == []
    (tmp_path / "a.css").write_text("a { background: url(https://x.org/a.png) }")
    page.write_text('<script src="https://x.org/a.js"></script><link href="//x.org/a.css" rel="stylesheet">')
    assert len(site_pages.loads_from_elsewhere(tmp_path)) == 3
