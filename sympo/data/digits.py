"""Optical digits bundled with scikit-learn: real handwriting, 8x8 pixels, no download."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from sympo.data.images import ImageDataset, LabelledImages
from sympo.ranges import Count


@dataclass(frozen=True, kw_only=True)
class Digits(ImageDataset):
    """The 1,797 test images of the UCI optical digits data set, in grey levels 0 to 16.

    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI.
    """

    identity: ClassVar[str] = "digits"
    content_only: ClassVar[bool] = True

    train_images: Count = 1300
    validation_images: Count = 197
    train_pairs: Count = 2000
    validation_pairs: Count = 10000
    pairing: str = "sampled"

    def read(self) -> LabelledImages:
        # the file that sklearn.datasets.load_digits reads; importing scikit-learn takes seconds
        spec = find_spec("sklearn")
        assert spec is not None and spec.origin is not None
        table = np.loadtxt(
            Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz",
            delimiter=",",
            dtype=np.int64,
        )
        return LabelledImages(table[:, :-1].reshape(-1, 8, 8).astype(np.uint8), table[:, -1])
