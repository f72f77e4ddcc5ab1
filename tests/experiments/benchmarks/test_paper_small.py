import json
from pathlib import Path

from experiments.benchmarks.paper_small import times


def test_experiments_that_ended_are_kept_with_their_seconds(tmp_path: Path) -> None:
    file = tmp_path / "paper.json"
    of_small = {
        "lemma1": {"seconds": 29.4, "done": True},
        "rank_to_policy": {"seconds": 3.0, "done": False},
        "optimisation": {"seconds": 26.1, "done": True},
    }
    file.write_text(json.dumps({"full": {}, "small": of_small}))
    found = times(file)
    assert found["experiment"].tolist() == ["lemma1", "optimisation"]
    assert found["seconds"].tolist() == [29.4, 26.1]
    assert found["cores"].min() >= 1
