"""Mirrors cells and sweeps to Weights & Biases; run folders stay the truth."""

from sympo.tracking.cell import Tracker
from sympo.tracking.mode import hint, resolve_mode, under_agent

__all__ = ["Tracker", "hint", "resolve_mode", "under_agent"]
