"""People as judges: a blind page to judge on, and the way back into the run folders."""

__all__: list[str] = []
