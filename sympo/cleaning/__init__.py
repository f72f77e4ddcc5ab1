"""Filters, which find the training pairs whose labels they doubt."""

from sympo.cleaning.base import PairFilter, smallest
from sympo.cleaning.co_teaching import CoTeaching
from sympo.cleaning.ensemble import Ensemble
from sympo.cleaning.small_loss import SmallLoss

__all__ = ["CoTeaching", "Ensemble", "PairFilter", "SmallLoss", "smallest"]
