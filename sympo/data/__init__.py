"""Data sets: clean preference pairs of images and of texts, and the bases of your own."""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.data.digits import Digits as Digits
    from sympo.data.gold_language import GoldLanguage as GoldLanguage
    from sympo.data.hh import HH as HH
    from sympo.data.images import ImageDataset as ImageDataset
    from sympo.data.images import LabelledImages as LabelledImages
    from sympo.data.in_memory import TextPairs as TextPairs
    from sympo.data.message_parsing import Unusable as Unusable
    from sympo.data.mnist import MNIST as MNIST
    from sympo.data.preferences import PreferenceSet as PreferenceSet
    from sympo.data.row_sources import PlacedRow as PlacedRow
    from sympo.data.text_dataset import TextDataset as TextDataset
    from sympo.data.text_pair import TextPair as TextPair
    from sympo.data.two_judges import TwoJudges as TwoJudges
    from sympo.data.ultrafeedback import UltraFeedback as UltraFeedback
    from sympo.protocols.data import GoldTexts, ImageData, ReleasedTexts

    # every data set keeps its contract
    _images: list[ImageData] = [Digits(), MNIST()]
    _texts: list[ReleasedTexts] = [
        HH(), UltraFeedback(), PreferenceSet(), TextPairs([]), TwoJudges()
    ]  # fmt: skip
    _gold: GoldTexts = GoldLanguage()

_HOMES = {
    "Digits": ".digits",
    "GoldLanguage": ".gold_language",
    "HH": ".hh",
    "ImageDataset": ".images",
    "LabelledImages": ".images",
    "MNIST": ".mnist",
    "PlacedRow": ".row_sources",
    "PreferenceSet": ".preferences",
    "TextDataset": ".text_dataset",
    "TextPair": ".text_pair",
    "TextPairs": ".in_memory",
    "TwoJudges": ".two_judges",
    "UltraFeedback": ".ultrafeedback",
    "Unusable": ".message_parsing",
}
__all__ = list(_HOMES)

__getattr__ = loader(__name__, _HOMES)
