"""SymPO: the laboratory for preference optimization under noisy labels."""

__version__ = "0.1.0"
