"""Losses of the margin, one family per file."""

from sympo.losses.base import LossProperties, MarginLoss
from sympo.losses.batch import DrDPO
from sympo.losses.bounded import EXO, Savage, TruncatedHinge
from sympo.losses.convex import IPO, Exponential, Hinge, Logistic, Square
from sympo.losses.families import GCE, HolderDPO, SlopedRamp
from sympo.losses.named import by_name
from sympo.losses.noise_aware import CDPO, RDPO, ROPO, Forward
from sympo.losses.symmetric import Ramp, Sigmoid, Sine, TemperedSigmoid, Unhinged

__all__ = [
    "CDPO",
    "EXO",
    "GCE",
    "IPO",
    "RDPO",
    "ROPO",
    "DrDPO",
    "Exponential",
    "Forward",
    "Hinge",
    "HolderDPO",
    "Logistic",
    "LossProperties",
    "MarginLoss",
    "Ramp",
    "Savage",
    "Sigmoid",
    "Sine",
    "SlopedRamp",
    "Square",
    "TemperedSigmoid",
    "TruncatedHinge",
    "Unhinged",
    "by_name",
]
