"""cuDNN's attention, which is off wherever shapes change from call to call."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def without_cudnn_attention() -> Iterator[None]:
    """Exclude cuDNN from `scaled_dot_product_attention` inside the context.

    cuDNN plans every new shape, forward and backward, some 45 ms each on an H200.
    """
    enabled: bool = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(enabled)
