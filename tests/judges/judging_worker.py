"""Judges the lines of a file, for tests that kill a process or look at what one leaves behind.

    python -m tests.judges.judging_worker FOLDER SETTINGS

FOLDER holds lines.json and is left with verdicts.db, items.json or error.log; SETTINGS are those of
the judge, as JSON.
"""

import json
import logging
import sys
from pathlib import Path

from sympo.disk import write_atomically
from sympo.identity import Identity
from sympo.judges.cache import VerdictCache
from sympo.judges.judging import judge_answers
from sympo.judges.openai import OpenAIJudge
from sympo.runs.folder import RunFolder
from sympo.runs.names import CellName


def main(folder: Path, settings: str) -> None:
    # as loudly as a user may have it
    logging.basicConfig(level=logging.DEBUG)
    judge = OpenAIJudge(**json.loads(settings))
    judge.check()
    cache = VerdictCache(folder / "verdicts.db", judge)
    lines = json.loads((folder / "lines.json").read_text())
    try:
        judged = judge_answers(judge, lines, cache, lambda done, total: print(done, total))
    except Exception as error:
        run = RunFolder(
            folder,
            CellName("policy", "hh", "ramp", 0.0, "symmetric", "hub", 0),
            Identity(judge.key()),
        )
        run.path.mkdir(parents=True)
        run.fail(error)
        raise
    print(judge.cost())
    write_atomically(folder / "items.json", json.dumps(judged.items))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
