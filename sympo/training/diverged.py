"""The error of a training run whose numbers are no longer finite."""


class Diverged(RuntimeError):
    """A training loss, a score or a reward is not finite."""
