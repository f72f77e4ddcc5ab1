import torch

from sympo.losses import LossProperties, MarginLoss


class MyLoss(MarginLoss):
    """l(z) = erfc(z) / 2, the probability that a standard normal draw exceeds sqrt(2) z."""

    identity = "my_loss"
    properties = LossProperties(
        symmetric=True, constant=1.0, convex=False, bounded=True, calibrated=True, cpe=False
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return torch.erfc(z) / 2
