"""A sampler that draws in its own way, for cells that are asked for with another one."""

from typing import Any, ClassVar

from sympo.sampling import Transformers


class Other(Transformers):
    identity: ClassVar[str] = "other"

    def sample(self, *arguments: Any, **keywords: Any) -> Any:
        *kept, seed = arguments
        return super().sample(*kept, seed + 1, **keywords)
