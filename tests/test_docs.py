"""The pages of documentation: links lead somewhere, printed files are the files, code runs."""

import re
import sys
import textwrap
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from types import ModuleType

import pytest

import sympo
from sympo.pipelines import train
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted(DOCS.glob("*.md")),
    *sorted(DOCS.glob("tutorials/*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# a fenced block, with the HTML comment above it if there is one
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)
EXECUTED = ["README.md", "docs/python.md", "docs/extending.md"]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def without_code(text: str) -> str:
    return BLOCK.sub("", text)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = HEADING.findall(without_code(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(without_code(page.read_text())):
        path, _, anchor = link.partition("#")
        if not path.startswith("https://"):
            target = page.parent / path if path else page
            assert target.exists(), f"{link} leads nowhere"
            assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_the_index_names_every_page() -> None:
    linked = LINK.findall((DOCS / "index.md").read_text())
    assert {*linked, "index.md"} == {page.relative_to(DOCS).as_posix() for page in PAGES[2:]}


@every_page
def test_printed_files_are_the_files(page: Path) -> None:
    for block in BLOCK.finditer(page.read_text()):
        if (block["mark"] or "").startswith("file: "):
            path = block["mark"].removeprefix("file: ")
            assert block["code"] == (ROOT / path).read_text(), f"{path} is printed differently"


def test_every_extension_is_printed_in_full() -> None:
    printed = set(re.findall(r"<!-- file: (\S+) -->", (ROOT / "docs" / "extending.md").read_text()))
    here = ROOT / "tests" / "extensions"
    files = [*here.glob("my_*.py"), *here.glob("conf/*/*.yaml")]
    assert printed == {file.relative_to(ROOT).as_posix() for file in files}


def test_the_tree_in_readme_names_every_room() -> None:
    tree = next(
        block["code"]
        for block in BLOCK.finditer(PAGES[0].read_text())
        if "run.py   " in block["code"]
    )
    rooms = {path.stem for path in (ROOT / "sympo").iterdir() if not path.name.startswith("_")}
    assert not {room for room in rooms if not re.search(rf"^  .*\b{room}\b", tree, re.MULTILINE)}


@pytest.fixture
def page_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """An empty module in an empty folder: classes of a page are found again under its name."""
    module = ModuleType("documented")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    yield module


@pytest.mark.parametrize("name", EXECUTED)
def test_code_runs_as_printed(name: str, page_module: ModuleType) -> None:
    page = ROOT / name
    text = page.read_text()
    for block in BLOCK.finditer(text):
        if block["language"] == "python" and not (block["mark"] or "").startswith("not run: "):
            # lines as in the page, for tracebacks
            code = "\n" * text.count("\n", 0, block.start("code")) + block["code"]
            exec(compile(code, str(page), "exec"), page_module.__dict__)


@pytest.mark.parametrize(
    "documented", [sympo, train.train_reward_model, train.train_policy], ids=lambda it: it.__name__
)
def test_examples_of_docstrings_run(documented: object, page_module: ModuleType) -> None:
    text = cleandoc(documented.__doc__ or "")
    examples = [
        textwrap.dedent(block)
        for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", f"{text}\n", re.MULTILINE)
        if "sympo." in block
    ]
    assert examples
    exec("import sympo\n" + "".join(examples), page_module.__dict__)
