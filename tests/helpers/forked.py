"""run.py in a process forked from one that has imported this module.

Not imported by the tests themselves: only by the process that forks.
"""

import os
import runpy
import sys

# the libraries that run.py imports while it runs; not the project, which notes when it started
import datasets  # noqa: F401
import hydra  # noqa: F401
import matplotlib.backends.backend_agg  # noqa: F401
import pyarrow.parquet  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.feature_extraction.text
import sklearn.linear_model  # noqa: F401
import torchvision  # noqa: F401
import transformers.generation
import transformers.models.llama.modeling_llama  # noqa: F401

from tests.conftest import ROOT


def run(arguments: list[str], environment: dict[str, str], out: str, err: str) -> None:
    """Run it with an environment, writing its output to two files."""
    for number, stream, name in ((1, sys.stdout, out), (2, sys.stderr, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), number)
        stream.reconfigure(line_buffering=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = ["run.py", *arguments]
    runpy.run_path("run.py", run_name="__main__")
