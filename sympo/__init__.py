"""SymPO: preference optimization under noisy labels.

Losses, by class or by name, and flips:

    import torch
    from sympo import losses

    z = torch.linspace(-2, 2, 5)
    print(sympo.Ramp()(z), losses.by_name("cdpo", assumed_rate=0.1)(z))
    noisy = sympo.flip(sympo.Symmetric(), 0.3, sympo.Digits().draw(seed=0).train, seed=0)

Reward models, of embedded data, of rows in memory, or of files (`PreferenceSet(path=...)`):

    found = sympo.train_reward_model(sympo.Digits(), loss="ramp", noise=0.3, epochs=2)
    print(found.metrics["test/order_accuracy"], found.rewards("test")[0])
    rows = [{"prompt": f"Say {i}.", "chosen": f"{i}", "rejected": "No."} for i in range(200)]
    found = sympo.train_reward_model(sympo.TextPairs(rows, validation_pairs=20), loss="logistic")

Policies, and judges of their responses (`Hub(name_or_path=...)` or `SmolLM2()` loads a model):

    data = sympo.GoldLanguage(train_pairs=64, validation_pairs=32, test_pairs=32)
    found = sympo.train_policy(
        data, "ramp", noise=0.3, model=sympo.TinyLM(), results_dir="results",
        sft=sympo.FineTuning(epochs=0), sampling=sympo.Sampling(prompts=16, max_new_tokens=20),
    )
    judged = sympo.judge_run(found.folder, sympo.Gold(), dataset=data)
    print(judged.metrics["last"]["win_rate"])

Tables and figures of what was run (`write_report` writes all of them):

    runs = sympo.Collection.from_runs("results/runs")
    print(runs.cells["last/policy/win_rate"])

In TRL, `SymPOTrainer(model, loss="ramp", args=args, train_dataset=data)`.

Every name below is loaded when it is first used; `import sympo` loads none of them. docs/python.md
has more.
"""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.analysis import Collection as Collection
    from sympo.analysis import write_report as write_report
    from sympo.data import HH as HH
    from sympo.data import MNIST as MNIST
    from sympo.data import Digits as Digits
    from sympo.data import GoldLanguage as GoldLanguage
    from sympo.data import ImageDataset as ImageDataset
    from sympo.data import LabelledImages as LabelledImages
    from sympo.data import PreferenceSet as PreferenceSet
    from sympo.data import TextDataset as TextDataset
    from sympo.data import TextPairs as TextPairs
    from sympo.data import UltraFeedback as UltraFeedback
    from sympo.integrations.trl import SymPOTrainer as SymPOTrainer
    from sympo.judges import Gold as Gold
    from sympo.judges import Judge as Judge
    from sympo.judges import OpenAIJudge as OpenAIJudge
    from sympo.judges import RewardModelJudge as RewardModelJudge
    from sympo.judges import judge_lines as judge_lines
    from sympo.judges import judge_run as judge_run
    from sympo.losses import CDPO as CDPO
    from sympo.losses import EXO as EXO
    from sympo.losses import GCE as GCE
    from sympo.losses import IPO as IPO
    from sympo.losses import RDPO as RDPO
    from sympo.losses import ROPO as ROPO
    from sympo.losses import DrDPO as DrDPO
    from sympo.losses import Exponential as Exponential
    from sympo.losses import Forward as Forward
    from sympo.losses import Hinge as Hinge
    from sympo.losses import HolderDPO as HolderDPO
    from sympo.losses import Logistic as Logistic
    from sympo.losses import LossProperties as LossProperties
    from sympo.losses import MarginLoss as MarginLoss
    from sympo.losses import Ramp as Ramp
    from sympo.losses import Savage as Savage
    from sympo.losses import Sigmoid as Sigmoid
    from sympo.losses import Sine as Sine
    from sympo.losses import SlopedRamp as SlopedRamp
    from sympo.losses import Square as Square
    from sympo.losses import TemperedSigmoid as TemperedSigmoid
    from sympo.losses import TruncatedHinge as TruncatedHinge
    from sympo.losses import Unhinged as Unhinged
    from sympo.margins import DPO as DPO
    from sympo.margins import AverageLogRatio as AverageLogRatio
    from sympo.margins import SimPO as SimPO
    from sympo.models.images import CNN as CNN
    from sympo.models.texts import Hub as Hub
    from sympo.models.texts import HubReward as HubReward
    from sympo.models.texts import MiniLMReward as MiniLMReward
    from sympo.models.texts import SmolLM2 as SmolLM2
    from sympo.models.texts import SmolLM2Reward as SmolLM2Reward
    from sympo.models.texts import Tfidf as Tfidf
    from sympo.models.texts import TinyLM as TinyLM
    from sympo.models.texts import TinyReward as TinyReward
    from sympo.noise import AnnotatorDependent as AnnotatorDependent
    from sympo.noise import Asymmetric as Asymmetric
    from sympo.noise import InstanceDependent as InstanceDependent
    from sympo.noise import LengthDependent as LengthDependent
    from sympo.noise import SecondJudge as SecondJudge
    from sympo.noise import SourceDependent as SourceDependent
    from sympo.noise import Symmetric as Symmetric
    from sympo.noise import flip as flip
    from sympo.pipelines import FineTuning as FineTuning
    from sympo.pipelines import Trained as Trained
    from sympo.pipelines import TrainingFailed as TrainingFailed
    from sympo.pipelines import train_policy as train_policy
    from sympo.pipelines import train_reward_model as train_reward_model
    from sympo.sampling import VLLM as VLLM
    from sympo.sampling import Sampling as Sampling
    from sympo.sampling import Transformers as Transformers
    from sympo.types import BadInput as BadInput

_HOMES = {
    "Collection": "sympo.analysis",
    "write_report": "sympo.analysis",
    "HH": "sympo.data",
    "MNIST": "sympo.data",
    "Digits": "sympo.data",
    "GoldLanguage": "sympo.data",
    "ImageDataset": "sympo.data",
    "LabelledImages": "sympo.data",
    "PreferenceSet": "sympo.data",
    "TextDataset": "sympo.data",
    "TextPairs": "sympo.data",
    "UltraFeedback": "sympo.data",
    "SymPOTrainer": "sympo.integrations.trl",
    "Gold": "sympo.judges",
    "Judge": "sympo.judges",
    "OpenAIJudge": "sympo.judges",
    "RewardModelJudge": "sympo.judges",
    "judge_lines": "sympo.judges",
    "judge_run": "sympo.judges",
    "CDPO": "sympo.losses",
    "EXO": "sympo.losses",
    "GCE": "sympo.losses",
    "IPO": "sympo.losses",
    "RDPO": "sympo.losses",
    "ROPO": "sympo.losses",
    "DrDPO": "sympo.losses",
    "Exponential": "sympo.losses",
    "Forward": "sympo.losses",
    "Hinge": "sympo.losses",
    "HolderDPO": "sympo.losses",
    "Logistic": "sympo.losses",
    "LossProperties": "sympo.losses",
    "MarginLoss": "sympo.losses",
    "Ramp": "sympo.losses",
    "Savage": "sympo.losses",
    "Sigmoid": "sympo.losses",
    "Sine": "sympo.losses",
    "SlopedRamp": "sympo.losses",
    "Square": "sympo.losses",
    "TemperedSigmoid": "sympo.losses",
    "TruncatedHinge": "sympo.losses",
    "Unhinged": "sympo.losses",
    "DPO": "sympo.margins",
    "AverageLogRatio": "sympo.margins",
    "SimPO": "sympo.margins",
    "CNN": "sympo.models.images",
    "Hub": "sympo.models.texts",
    "HubReward": "sympo.models.texts",
    "MiniLMReward": "sympo.models.texts",
    "SmolLM2": "sympo.models.texts",
    "SmolLM2Reward": "sympo.models.texts",
    "Tfidf": "sympo.models.texts",
    "TinyLM": "sympo.models.texts",
    "TinyReward": "sympo.models.texts",
    "AnnotatorDependent": "sympo.noise",
    "Asymmetric": "sympo.noise",
    "InstanceDependent": "sympo.noise",
    "LengthDependent": "sympo.noise",
    "SecondJudge": "sympo.noise",
    "SourceDependent": "sympo.noise",
    "Symmetric": "sympo.noise",
    "flip": "sympo.noise",
    "FineTuning": "sympo.pipelines",
    "Trained": "sympo.pipelines",
    "TrainingFailed": "sympo.pipelines",
    "train_policy": "sympo.pipelines",
    "train_reward_model": "sympo.pipelines",
    "VLLM": "sympo.sampling",
    "Sampling": "sympo.sampling",
    "Transformers": "sympo.sampling",
    "BadInput": "sympo.types",
}
__all__ = [
    "CDPO",
    "CNN",
    "DPO",
    "EXO",
    "GCE",
    "HH",
    "IPO",
    "MNIST",
    "RDPO",
    "ROPO",
    "VLLM",
    "AnnotatorDependent",
    "Asymmetric",
    "AverageLogRatio",
    "BadInput",
    "Collection",
    "Digits",
    "DrDPO",
    "Exponential",
    "FineTuning",
    "Forward",
    "Gold",
    "GoldLanguage",
    "Hinge",
    "HolderDPO",
    "Hub",
    "HubReward",
    "ImageDataset",
    "InstanceDependent",
    "Judge",
    "LabelledImages",
    "LengthDependent",
    "Logistic",
    "LossProperties",
    "MarginLoss",
    "MiniLMReward",
    "OpenAIJudge",
    "PreferenceSet",
    "Ramp",
    "RewardModelJudge",
    "Sampling",
    "Savage",
    "SecondJudge",
    "Sigmoid",
    "SimPO",
    "Sine",
    "SlopedRamp",
    "SmolLM2",
    "SmolLM2Reward",
    "SourceDependent",
    "Square",
    "SymPOTrainer",
    "Symmetric",
    "TemperedSigmoid",
    "TextDataset",
    "TextPairs",
    "Tfidf",
    "TinyLM",
    "TinyReward",
    "Trained",
    "TrainingFailed",
    "Transformers",
    "TruncatedHinge",
    "UltraFeedback",
    "Unhinged",
    "flip",
    "judge_lines",
    "judge_run",
    "train_policy",
    "train_reward_model",
    "write_report",
]

# sub-packages and modules that users name, as in `sympo.losses.by_name("ramp")`
_MODULES = (
    *("analysis", "data", "evaluation", "judges", "losses", "margins", "models", "noise"),
    *("pipelines", "protocols", "runs", "sampling"),
)

__getattr__ = loader(__name__, _HOMES, _MODULES)
