"""Losses of the margin, one family per file; a new one needs a class here and a YAML in conf."""

from sympo.losses.base import LossProperties, MarginLoss
from sympo.losses.bounded import Savage, TruncatedHinge
from sympo.losses.convex import Exponential, Hinge, Logistic, Square
from sympo.losses.noise_aware import CDPO, RDPO, ROPO
from sympo.losses.symmetric import Ramp, Sigmoid, Unhinged

__all__ = [
    "CDPO",
    "RDPO",
    "ROPO",
    "Exponential",
    "Hinge",
    "Logistic",
    "LossProperties",
    "MarginLoss",
    "Ramp",
    "Savage",
    "Sigmoid",
    "Square",
    "TruncatedHinge",
    "Unhinged",
]
