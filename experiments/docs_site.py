"""Hooks of the documentation's site (mkdocs.yml): committed results become pages and files of it,
and links to sources, which it does not hold, become their paths."""

import re
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
# shown by pages of the site, not linked as files
SHOWN = {".png", ".md", ".svg"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the results page and the figures of the results."""
    for path in sorted((ROOT / "results").rglob("*")):
        place = path.relative_to(ROOT).as_posix()
        committed = place == "results/README.md" or path.suffix == ".png"
        if committed and not place.startswith(("results/runs/", "results/stages/")):
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to what the site holds, and turn the others into paths."""
    # in the repository, pages of the site are in docs/ and the results beside it
    where = page.file.src_uri
    folder = where if where.startswith("results/") else f"docs/{where}"

    def led(link: re.Match[str]) -> str:
        target = link["target"]
        if "://" in target:
            return link[0]
        path = normpath(f"{folder.rpartition('/')[0]}/{target}")
        inside = path.removeprefix("docs/")
        if files.get_file_from_path(inside) is not None and Path(path).suffix in SHOWN:
            to = relpath(inside, where.rpartition("/")[0] or ".")
            return f"{link['image']}[{link['text']}]({to}{link['anchor'] or ''})"
        text = link["text"]
        return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"

    return _outside_code(led, markdown)


def _outside_code(led: Any, markdown: str) -> str:
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    return "".join(part if place % 2 else LINK.sub(led, part) for place, part in enumerate(parts))
