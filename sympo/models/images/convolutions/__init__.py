"""Convolution, max-pool and ReLU: compiled C++ on CPU, Triton on a GPU, PyTorch anywhere else."""

__all__: list[str] = []
