"""Writes the paragraphs of README.md and docs/ whose numbers are those of the committed results.

    python -m experiments.readme

A paragraph is between `<!-- numbers: NAME -->` and `<!-- end -->`, on any page; NAME is a function
of `experiments.paragraphs`. A test compares the pages with what this writes. The results page is
written by `python -m experiments.results_page`.
"""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

from experiments.committed_results import ROOT
from experiments.paragraphs.images import authors, flips, gpu_grid, images
from experiments.paragraphs.policies import betas, early_stopping, judges, policies
from experiments.paragraphs.texts import pretrained, text_rewards
from experiments.paragraphs.times import estimates, paper_small

BLOCK = re.compile(r"(<!-- numbers: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """The pages that may hold paragraphs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str) -> str:
    """A page with its paragraphs rewritten."""
    return BLOCK.sub(
        lambda found: f"{found[1]}{_wrapped(PARAGRAPHS[found[2]]())}\n{found[3]}", text
    )


def _wrapped(paragraph: str) -> str:
    return "\n\n".join(
        textwrap.fill(" ".join(part.split()), 100, break_on_hyphens=False, break_long_words=False)
        for part in paragraph.split("\n\n")
    )


def main() -> None:
    for page in pages():
        page.write_text(filled(page.read_text()))


_MADE = (
    images, text_rewards, policies, early_stopping, pretrained, betas, judges, flips, estimates,
    paper_small, gpu_grid, authors,
)  # fmt: skip
PARAGRAPHS: dict[str, Callable[[], str]] = {made.__name__: made for made in _MADE}

if __name__ == "__main__":
    main()
