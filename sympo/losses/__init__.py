"""Losses of the margin, one family per file."""

from sympo.losses.base import LossProperties, MarginLoss
from sympo.losses.batch import DrDPO
from sympo.losses.bounded import Savage, TruncatedHinge
from sympo.losses.convex import IPO, Exponential, Hinge, Logistic, Square
from sympo.losses.named import by_name
from sympo.losses.noise_aware import CDPO, RDPO, ROPO
from sympo.losses.symmetric import Ramp, Sigmoid, Unhinged

__all__ = [
    "CDPO",
    "IPO",
    "RDPO",
    "ROPO",
    "DrDPO",
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
    "by_name",
]
