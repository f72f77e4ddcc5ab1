"""Language models: policies, reward models, and the packed rows of tokens that they read."""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.models.texts.classifiers import HubReward as HubReward
    from sympo.models.texts.classifiers import TinyReward as TinyReward
    from sympo.models.texts.language_models import TinyLM as TinyLM
    from sympo.models.texts.packaged_models import MiniLMReward as MiniLMReward
    from sympo.models.texts.packaged_models import SmolLM2 as SmolLM2
    from sympo.models.texts.packaged_models import SmolLM2Reward as SmolLM2Reward
    from sympo.models.texts.packed_rows import PackedRows as PackedRows
    from sympo.models.texts.policies import Policy as Policy
    from sympo.models.texts.pretrained_models import Hub as Hub
    from sympo.models.texts.reward_models import RewardModel as RewardModel
    from sympo.models.texts.tfidf import Tfidf as Tfidf

# loaded when first asked for, because they import torch
_MODULES = {
    "Hub": "sympo.models.texts.pretrained_models",
    "HubReward": "sympo.models.texts.classifiers",
    "MiniLMReward": "sympo.models.texts.packaged_models",
    "PackedRows": "sympo.models.texts.packed_rows",
    "Policy": "sympo.models.texts.policies",
    "RewardModel": "sympo.models.texts.reward_models",
    "SmolLM2": "sympo.models.texts.packaged_models",
    "SmolLM2Reward": "sympo.models.texts.packaged_models",
    "Tfidf": "sympo.models.texts.tfidf",
    "TinyLM": "sympo.models.texts.language_models",
    "TinyReward": "sympo.models.texts.classifiers",
}
__all__ = [
    "Hub",
    "HubReward",
    "MiniLMReward",
    "PackedRows",
    "Policy",
    "RewardModel",
    "SmolLM2",
    "SmolLM2Reward",
    "Tfidf",
    "TinyLM",
    "TinyReward",
]

__getattr__ = loader(__name__, _MODULES)
