from sympo.evaluation.convergence import convergence_metrics


def test_epochs_to_95_percent_of_the_final_accuracy() -> None:
    found = convergence_metrics([1, 2, 5, 10], [0.5, 0.75, 0.77, 0.8])
    assert found == {"epochs_to_95": 5, "stalled": 0}  # 0.95 * 0.8 = 0.76
    # accuracy that fell: the first epoch was there already
    assert convergence_metrics([1, 2], [0.9, 0.6])["epochs_to_95"] == 1


def test_a_run_that_guesses_has_stalled() -> None:
    assert convergence_metrics([1, 2], [0.5, 0.55])["stalled"] == 1
    assert convergence_metrics([1], [0.6])["stalled"] == 0
