"""The numbers in README.md and docs/ are those of the committed results."""

import pytest

from experiments import readme
from experiments.committed_results import Results


def test_paragraphs_of_results_are_what_the_csvs_say() -> None:
    texts = [page.read_text() for page in readme.pages()]
    for text in texts:
        assert readme.filled(text) == text, "run python -m experiments.readme"
    names = [name for text in texts for _, name, _ in readme.BLOCK.findall(text)]
    # none is written twice or forgotten
    assert sorted(names) == sorted(readme.PARAGRAPHS)


def test_a_number_that_is_not_there_is_not_written() -> None:
    results = Results("mnist_paper_grid", "test/order_accuracy")
    with pytest.raises(LookupError, match="0 rows"):
        results.mean("ramp", 0.15)


def test_a_lead_is_the_negative_of_the_other() -> None:
    results = Results("mnist_paper_grid", "test/order_accuracy")
    mean, low, high = results.ends("ramp", "logistic", 0.4)
    assert results.ends("logistic", "ramp", 0.4) == pytest.approx((-mean, -high, -low))
    assert low < mean < high
