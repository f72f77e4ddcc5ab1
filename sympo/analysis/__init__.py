"""From run folders to numbers with intervals, tables and figures; imports no torch."""

from sympo.analysis.canvas import save_figure
from sympo.analysis.collect import Collection
from sympo.analysis.estimates import (
    against_kl,
    curve_estimates,
    reward_by_item,
    summarise,
)
from sympo.analysis.figures import draw
from sympo.analysis.loss_plots import conditional_minimiser_plot, loss_gallery
from sympo.analysis.paired import differences
from sympo.analysis.report import Report, summary, write_report
from sympo.analysis.tables import format_table
from sympo.report_settings import ReportSettings

__all__ = [
    "Collection",
    "Report",
    "ReportSettings",
    "against_kl",
    "conditional_minimiser_plot",
    "curve_estimates",
    "differences",
    "draw",
    "format_table",
    "loss_gallery",
    "reward_by_item",
    "save_figure",
    "summarise",
    "summary",
    "write_report",
]
