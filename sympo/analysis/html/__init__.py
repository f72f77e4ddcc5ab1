"""The page of a report: one self-contained HTML file that works offline."""

from sympo.analysis.html.build import build
from sympo.analysis.html.page import LARGEST, Page, render

__all__ = ["LARGEST", "Page", "build", "render"]
