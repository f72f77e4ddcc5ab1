"""What the parts of an experiment can do: the contracts between the rooms of the library."""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.protocols.data import Dataset as Dataset
    from sympo.protocols.data import GoldTexts as GoldTexts
    from sympo.protocols.data import ImageData as ImageData
    from sympo.protocols.data import NoiseModel as NoiseModel
    from sympo.protocols.data import ReleasedTexts as ReleasedTexts
    from sympo.protocols.data import SampledResponses as SampledResponses
    from sympo.protocols.data import SplitTexts as SplitTexts
    from sympo.protocols.data import TextData as TextData
    from sympo.protocols.jobs import BatchedJob as BatchedJob
    from sympo.protocols.jobs import Job as Job
    from sympo.protocols.jobs import Listener as Listener
    from sympo.protocols.jobs import Reporter as Reporter
    from sympo.protocols.jobs import SamplingJob as SamplingJob
    from sympo.protocols.jobs import TrainedScorer as TrainedScorer
    from sympo.protocols.judging import GoldData as GoldData
    from sympo.protocols.judging import Judge as Judge
    from sympo.protocols.judging import JudgedData as JudgedData
    from sympo.protocols.judging import LabelledData as LabelledData
    from sympo.protocols.judging import LabelledPair as LabelledPair
    from sympo.protocols.models import ImageModel as ImageModel
    from sympo.protocols.models import LanguageModelSettings as LanguageModelSettings
    from sympo.protocols.models import Loss as Loss
    from sympo.protocols.models import Margin as Margin
    from sympo.protocols.models import ModelSettings as ModelSettings
    from sympo.protocols.models import Sampler as Sampler
    from sympo.protocols.models import Scorer as Scorer
    from sympo.protocols.models import Splittable as Splittable
    from sympo.protocols.models import StackedModel as StackedModel
    from sympo.protocols.models import TextModel as TextModel
    from sympo.protocols.models import WordModel as WordModel

_HOMES = {
    "BatchedJob": ".jobs",
    "Dataset": ".data",
    "GoldData": ".judging",
    "GoldTexts": ".data",
    "ImageData": ".data",
    "ImageModel": ".models",
    "Job": ".jobs",
    "Judge": ".judging",
    "JudgedData": ".judging",
    "LabelledData": ".judging",
    "LabelledPair": ".judging",
    "LanguageModelSettings": ".models",
    "Listener": ".jobs",
    "Loss": ".models",
    "Margin": ".models",
    "ModelSettings": ".models",
    "NoiseModel": ".data",
    "ReleasedTexts": ".data",
    "Reporter": ".jobs",
    "SampledResponses": ".data",
    "Sampler": ".models",
    "SamplingJob": ".jobs",
    "Scorer": ".models",
    "SplitTexts": ".data",
    "Splittable": ".models",
    "StackedModel": ".models",
    "TextData": ".data",
    "TextModel": ".models",
    "TrainedScorer": ".jobs",
    "WordModel": ".models",
}
__all__ = [
    "BatchedJob",
    "Dataset",
    "GoldData",
    "GoldTexts",
    "ImageData",
    "ImageModel",
    "Job",
    "Judge",
    "JudgedData",
    "LabelledData",
    "LabelledPair",
    "LanguageModelSettings",
    "Listener",
    "Loss",
    "Margin",
    "ModelSettings",
    "NoiseModel",
    "ReleasedTexts",
    "Reporter",
    "SampledResponses",
    "Sampler",
    "SamplingJob",
    "Scorer",
    "SplitTexts",
    "Splittable",
    "StackedModel",
    "TextData",
    "TextModel",
    "TrainedScorer",
    "WordModel",
]

__getattr__ = loader(__name__, _HOMES)
