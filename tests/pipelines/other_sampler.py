"""A sampler with other draws, for testing cells whose sampler changes."""

from typing import Any, ClassVar

from sympo.sampling import Transformers


class Other(Transformers):
    identity: ClassVar[str] = "other"

    def sample(self, *arguments: Any, **keywords: Any) -> Any:
        *kept, seed = arguments
        return super().sample(*kept, seed + 1, **keywords)
