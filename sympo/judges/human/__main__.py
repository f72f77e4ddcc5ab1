"""python -m sympo.judges.human export RUNS... | import ANSWERS... --key KEY"""

import argparse
import sys
from pathlib import Path

from sympo.evaluation.verdicts import items_needed
from sympo.judges.human.export import Study, export
from sympo.judges.human.importing import read_answers, write_back
from sympo.judges.human.key import Key
from sympo.judges.human.other_judges import kappa_table
from sympo.judges.human.table import table
from sympo.protocols.judging import OPPONENTS, SAMPLES
from sympo.types import BadArgument, BadInput


def main(arguments: list[str] | None = None) -> int:
    """Make a page on which people judge responses blindly, and import their verdicts."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        return code
    except BadArgument as error:  # such as items, which is --items here
        option = error.argument.replace("_", "-")
        print(f"--{option}={error.value} {error.rule}", file=sys.stderr)
        return 2
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2


def _export(options: argparse.Namespace) -> int:
    settings = {name: getattr(options, name) for name in Study.__dataclass_fields__}
    made = export(options.runs, options.out, Study(**settings))
    print(*(f"{count:5d}  {name}" for name, count in made.asked.items()), sep="\n")
    if made.equal:
        print(f"{made.equal:5d}  with two equal responses: ties, which nobody is asked about")
    widths = ", ".join(f"±{100 * h:.0f}: {items_needed(h, 0.0)}" for h in (0.05, 0.1, 0.15))
    print(f"Items a method for a win rate's 95% interval, in points, if none is a tie: {widths}")
    print(f"For the annotators: {made.page}")
    print(f"For you only, and needed to read the answers: {made.key}")
    return 0


def _import(options: argparse.Namespace) -> int:
    key = Key.read(options.key)
    answers = [read_answers(path, key) for path in options.answers]
    done = write_back(key, options.key, answers)
    for one in answers:
        print(f"{one.annotator}: {len(one.choices)} of {len(key.items)} items answered")
    print("", table(done.items), sep="\n")
    if done.beside:
        print("", kappa_table(done.beside), sep="\n")
    print(*done.refused, sep="\n", end="\n" if done.refused else "", file=sys.stderr)
    return 1 if done.refused else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sympo.judges.human", description=main.__doc__)
    commands = parser.add_subparsers(required=True)

    made = commands.add_parser("export", help="draw responses from run folders, write page and key")
    made.set_defaults(command=_export)
    made.add_argument("runs", nargs="+", type=Path, help="folders that hold complete runs")
    made.add_argument("--out", type=Path, default=Path("study.html"), help="default: %(default)s")
    made.add_argument("--items", type=int, default=Study.items, help="default: %(default)s")
    made.add_argument("--against", choices=OPPONENTS, default=Study.against)
    made.add_argument("--samples", choices=SAMPLES, default=Study.samples)
    made.add_argument("--seed", type=int, default=Study.seed, help="draws the prompts")
    made.add_argument(
        "--annotator-seed", type=int, default=Study.annotator_seed, metavar="N",
        help="page 0, 1, ... of the study: the same prompts, answered by another method each",
    )  # fmt: skip
    made.add_argument(
        "--noise-at-least", type=float, default=Study.noise_at_least, metavar="RATE",
        help="leave out runs at lower noise (default: %(default)s)",
    )  # fmt: skip
    made.add_argument("--title", default=Study.title, help="the title of the page")

    read = commands.add_parser("import", help="write downloaded answers into the run folders")
    read.set_defaults(command=_import)
    read.add_argument("answers", nargs="+", type=Path)
    read.add_argument("--key", type=Path, required=True, help="the key of the page's study")
    return parser


if __name__ == "__main__":
    sys.exit(main())
