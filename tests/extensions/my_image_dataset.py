from dataclasses import dataclass

import numpy as np

from sympo.data import ImageDataset, LabelledImages


@dataclass(frozen=True, kw_only=True)
class Shades(ImageDataset):
    """Noisy grey squares; the true reward is the shade, from -1 (black) to 1 (white)."""

    identity = "shades"

    def read(self) -> LabelledImages:
        draw = np.random.default_rng(0)
        shades = draw.uniform(-1, 1, 600)
        pixels = 128 + 100 * shades[:, None, None] + draw.normal(0, 30, (600, 8, 8))
        return LabelledImages(pixels.clip(0, 255).astype(np.uint8), shades)
