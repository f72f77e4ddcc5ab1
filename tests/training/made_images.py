"""Draws of the digits for tests that train on them."""

from sympo.data.digits import Digits

DATASET = Digits(train_images=1300, validation_images=197, train_pairs=2000, validation_pairs=2000,
                 test_pairs=5000, pairing="sampled")  # fmt: skip
DATA = {seed: DATASET.draw(seed) for seed in range(3)}
