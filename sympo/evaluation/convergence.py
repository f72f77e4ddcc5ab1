"""How fast a run reached its final accuracy, and whether it learned at all."""

from collections.abc import Sequence

# of the final accuracy
REACHED = 0.95
# a run stalled if its final accuracy is below this; a model that guesses has 0.5
LEARNED = 0.6


def convergence_metrics(epochs: Sequence[float], accuracies: Sequence[float]) -> dict[str, float]:
    """The first evaluated epoch at 95% of the final accuracy, and 1 if the final accuracy is below
    60%, the run having stalled, otherwise 0.

    epochs, accuracies: of every evaluation, in order, at least one.
    """
    final = accuracies[-1]
    reached = (accuracy >= REACHED * final for accuracy in accuracies)
    return {
        "epochs_to_95": next(e for e, there in zip(epochs, reached, strict=True) if there),
        "stalled": float(final < LEARNED),
    }
