"""Language models: policies, reward models, and the packed rows of tokens that they read."""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.models.texts.classifiers import HubReward as HubReward
    from sympo.models.texts.classifiers import TinyReward as TinyReward
    from sympo.models.texts.language_models import Hub as Hub
    from sympo.models.texts.language_models import TinyLM as TinyLM
    from sympo.models.texts.packed_rows import PackedRows as PackedRows
    from sympo.models.texts.policies import Policy as Policy
    from sympo.models.texts.reward_models import RewardModel as RewardModel
    from sympo.models.texts.tfidf import Tfidf as Tfidf

# loaded when first asked for, because they import torch
_MODULES = {
    "Hub": "sympo.models.texts.language_models",
    "HubReward": "sympo.models.texts.classifiers",
    "PackedRows": "sympo.models.texts.packed_rows",
    "Policy": "sympo.models.texts.policies",
    "RewardModel": "sympo.models.texts.reward_models",
    "Tfidf": "sympo.models.texts.tfidf",
    "TinyLM": "sympo.models.texts.language_models",
    "TinyReward": "sympo.models.texts.classifiers",
}
__all__ = [
    "Hub",
    "HubReward",
    "PackedRows",
    "Policy",
    "RewardModel",
    "Tfidf",
    "TinyLM",
    "TinyReward",
]

__getattr__ = loader(__name__, _MODULES)
