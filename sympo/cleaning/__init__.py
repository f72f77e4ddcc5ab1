"""Filters, which find the training pairs whose labels they doubt."""

from sympo.cleaning.base import PairFilter, smallest
from sympo.cleaning.co_teaching import CoTeaching
from sympo.cleaning.em import EM
from sympo.cleaning.ensemble import Ensemble
from sympo.cleaning.posterior import Posterior
from sympo.cleaning.small_loss import SmallLoss

__all__ = ["EM", "CoTeaching", "Ensemble", "PairFilter", "Posterior", "SmallLoss", "smallest"]
