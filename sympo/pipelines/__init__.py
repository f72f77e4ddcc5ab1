"""Trains and judges cells, from their parts to their records, without Hydra."""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.pipelines.reference import FineTuning as FineTuning
    from sympo.pipelines.train import Trained as Trained
    from sympo.pipelines.train import TrainingFailed as TrainingFailed
    from sympo.pipelines.train import train_policy as train_policy
    from sympo.pipelines.train import train_reward_model as train_reward_model

_HOMES = {
    "FineTuning": ".reference",
    **dict.fromkeys(("Trained", "TrainingFailed", "train_policy", "train_reward_model"), ".train"),
}
__all__ = ["FineTuning", "Trained", "TrainingFailed", "train_policy", "train_reward_model"]

__getattr__ = loader(__name__, _HOMES)
