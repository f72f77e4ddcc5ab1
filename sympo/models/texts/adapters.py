"""Whether a language model carries adapters of `peft`, and the model without them."""

import sys
from typing import Any


def adapted(model: Any) -> bool:
    """Whether a model is one of `peft`'s."""
    # not imported here: it takes a second, and a model with adapters has imported it
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def base(model: Any) -> Any:
    """The model of `transformers` inside."""
    return model.get_base_model() if adapted(model) else model


def merged(model: Any) -> Any:
    """The model with its adapters merged into the weights, which changes them in place."""
    return model.merge_and_unload() if adapted(model) else model
