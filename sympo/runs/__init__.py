"""Run folders, shared stages, checkpoints, and how runs are called."""

from sympo.runs.folder import RunFolder, run_folders
from sympo.runs.names import CellName
from sympo.runs.stages import Stages

__all__ = ["CellName", "RunFolder", "Stages", "run_folders"]
