"""C++ that is compiled for the processor at hand on first use, and calls to it."""

__all__: list[str] = []
