from collections.abc import Iterator
from dataclasses import dataclass

from sympo.data import TextDataset


@dataclass(frozen=True, kw_only=True)
class Sums(TextDataset):
    """Sums of two numbers: the right result is preferred to one that is off by one."""

    identity = "sums"
    largest: int = 20

    def rows(self, split: str) -> Iterator[dict[str, str]]:
        for a in range(self.largest):
            for b in range(self.largest):
                if (split == "test") == (b % 4 == 0):
                    right, wrong = f"It is {a + b}.", f"It is {a + b + 1}."
                    yield {"prompt": f"{a} + {b} = ?", "chosen": right, "rejected": wrong}
