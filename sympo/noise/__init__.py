"""Label noise: the flip probability of each pair, and the flips; one file per noise model."""

from sympo.noise.annotator_dependent import AnnotatorDependent
from sympo.noise.asymmetric import Asymmetric
from sympo.noise.flips import flip
from sympo.noise.instance_dependent import InstanceDependent
from sympo.noise.length_dependent import LengthDependent
from sympo.noise.second_judge import SecondJudge
from sympo.noise.source_dependent import SourceDependent
from sympo.noise.symmetric import Symmetric

__all__ = [
    "AnnotatorDependent",
    "Asymmetric",
    "InstanceDependent",
    "LengthDependent",
    "SecondJudge",
    "SourceDependent",
    "Symmetric",
    "flip",
]
