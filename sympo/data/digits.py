"""Optical digits bundled with scikit-learn: real handwriting, 8x8 pixels, no download."""

from dataclasses import dataclass

import numpy as np

from sympo.data.images import ImageDataset, LabelledImages


@dataclass(frozen=True, kw_only=True)
class Digits(ImageDataset):
    """The 1,797 test images of the UCI optical digits data set, in grey levels 0 to 16.

    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI.
    """

    def read(self) -> LabelledImages:
        from sklearn.datasets import load_digits

        digits = load_digits()
        return LabelledImages(digits.images.astype(np.uint8), digits.target.astype(np.int64))
