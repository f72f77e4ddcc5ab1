"""Passes of a step, with half as many tokens at a time once a GPU's memory runs out."""

from collections.abc import Callable
from typing import TypeVar

import torch

Found = TypeVar("Found")


class Passes:
    """How many tokens pass through a model at a time.

    tokens: at first. longest: tokens of the longest row, than which a pass cannot be smaller.
    undo: drops what interrupted work has left behind. note: shows a message. divided: whether other
    processes take part in each pass, which cannot be repeated then.
    """

    def __init__(
        self,
        tokens: int,
        longest: int,
        device: torch.device,
        note: Callable[[str], None],
        undo: Callable[[], None] = lambda: None,
        divided: bool = False,
    ) -> None:
        self.tokens, self.longest, self.divided = tokens, longest, divided
        self.device, self.note, self.undo = device, note, undo

    def run(self, work: Callable[[int], Found]) -> Found:
        """work(tokens); out of memory, it is repeated from the same random state with half as many.

        Raises torch.OutOfMemoryError if the longest row alone does not fit.
        """
        while True:
            random = random_state(self.device)
            try:
                return work(self.tokens)
            except torch.OutOfMemoryError as error:
                if self.divided:
                    error.add_note(f"job.tokens_per_pass={self.tokens} is too many here: set less")
                    raise
                if self.tokens <= self.longest:
                    error.add_note(
                        f"the longest row alone, {self.longest} tokens, does not fit: "
                        "job.gradient_checkpointing=true takes less memory"
                    )
                    raise
            # outside the handler, whose error holds the tensors of the interrupted pass
            self.undo()
            release(self.device)
            set_random_state(random, self.device)
            self.tokens //= 2
            self.note(
                f"out of GPU memory: repeating with {self.tokens:,} tokens per pass, which changes "
                "numbers by rounding only"
            )


RandomState = tuple[torch.Tensor, torch.Tensor | None]


def random_state(device: torch.device) -> RandomState:
    """The state of the CPU's generator, and of a GPU's."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


def set_random_state(state: RandomState, device: torch.device) -> None:
    cpu, cuda = state
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda, device)


def release(device: torch.device) -> None:
    """Give memory that PyTorch holds for later back to a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
