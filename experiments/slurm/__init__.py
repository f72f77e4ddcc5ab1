"""Cells as tasks of SLURM job arrays: submitted by submitit, watched by squeue."""
