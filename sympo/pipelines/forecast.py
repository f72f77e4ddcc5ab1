"""How long a job takes, from the epochs and evaluations timed so far."""

import time

import numpy as np

# steps to time before a forecast, not counting one that also compiles or evaluates
LEAST_STEPS = 3


class Forecast:
    """Times training and evaluations apart, and adds them up for a whole job.

    seconds = seconds per epoch x epochs + seconds per evaluation x evaluations

    If an evaluation follows every step, the seconds per epoch include it.

    epochs: of the job. evaluations: how many there will be.
    """

    def __init__(self, epochs: float, evaluations: float) -> None:
        self.epochs, self.evaluations = epochs, evaluations
        self._at: float | None = None
        self._epoch = 0.0
        self._evaluated = False
        self._steps, self._trained, self._training = 0, 0.0, 0.0
        self._mixed: list[tuple[float, float]] = []  # epochs and seconds, with an evaluation

    def evaluated(self) -> None:
        """An evaluation has ended."""
        self._evaluated = True

    def restart(self) -> None:
        """The next step is not one after the last: training resumes at another epoch."""
        self._at = None

    def step(self, epoch: float) -> None:
        """A step has ended, or training begins."""
        now = time.monotonic()
        if self._at is not None:
            epochs, seconds = epoch - self._epoch, now - self._at
            if self._evaluated:
                self._mixed.append((epochs, seconds))
            else:
                self._steps, self._trained = self._steps + 1, self._trained + epochs
                self._training += seconds
        self._at, self._epoch, self._evaluated = now, epoch, False

    @property
    def ready(self) -> bool:
        """Whether both have been timed."""
        if self._steps:
            return self._steps >= LEAST_STEPS and self._trained > 0 and bool(self._mixed)
        return len(self._mixed) > LEAST_STEPS

    @property
    def per_epoch(self) -> float:
        """Seconds of training per epoch."""
        if self._steps:
            return self._training / self._trained
        # the first also compiles
        epochs, seconds = np.sum(self._mixed[1:] or self._mixed, axis=0)
        return float(seconds / epochs)

    @property
    def per_evaluation(self) -> float:
        """Seconds per evaluation, beyond those in the seconds per epoch."""
        if not (self._steps and self._mixed):
            return 0.0
        left = [seconds - epochs * self.per_epoch for epochs, seconds in self._mixed]
        return max(0.0, sum(left) / len(left))

    @property
    def seconds(self) -> float:
        """Seconds of the job."""
        return self.per_epoch * self.epochs + self.per_evaluation * self.evaluations

    def left(self, epoch: float) -> float:
        """Seconds of the job after this epoch; one of the evaluations came before training."""
        share = 1 - epoch / self.epochs
        return share * (self.seconds - self.per_evaluation)


def evaluations(epochs: float, every: float) -> float:
    """How many evaluations a job of texts makes: before training, and every so many epochs."""
    return 1 + -(-epochs // every)
