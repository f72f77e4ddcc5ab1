"""The former Python paths of classes that configs name.

Run folders keep their composed config, with the Python path of each class. Add a line when a class
that a config can name moves or is renamed; never remove one.
"""

MOVED = {
    "sympo.margins.IPO": "sympo.margins.AverageLogRatio",
    "sympo.models.cnn.CNN": "sympo.models.images.CNN",
    "sympo.models.language.TinyLM": "sympo.models.texts.TinyLM",
    "sympo.models.language.Hub": "sympo.models.texts.Hub",
    "sympo.models.texts.language_models.Hub": "sympo.models.texts.Hub",
    "sympo.models.classifiers.TinyReward": "sympo.models.texts.TinyReward",
    "sympo.models.classifiers.HubReward": "sympo.models.texts.HubReward",
    "sympo.models.classifiers.Released": "sympo.models.texts.classifiers.Released",
    "sympo.models.tfidf.Tfidf": "sympo.models.texts.Tfidf",
    "sympo.models.sampling.Sampling": "sympo.sampling.Sampling",
    "sympo.models.sampling.Transformers": "sympo.sampling.Transformers",
    "sympo.models.sampling_vllm.VLLM": "sympo.sampling.VLLM",
    "experiments.policy.FineTuning": "sympo.pipelines.reference.FineTuning",
    "experiments.policy.PolicyJob": "sympo.pipelines.policy.PolicyJob",
    "experiments.preference_stages.FineTuning": "sympo.pipelines.reference.FineTuning",
    "experiments.preference_stages.Reference": "sympo.pipelines.reference.Reference",
    "experiments.reward_model.RewardModelJob": "sympo.pipelines.image_reward_model.RewardModelJob",
    "experiments.text_reward_model.TextRewardModelJob": (
        "sympo.pipelines.text_reward_model.TextRewardModelJob"
    ),
}
