"""What files in the hub's format call a model's weights, which some models rename as they load."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sympo.types import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def from_hub(model: "PreTrainedModel") -> Callable[[str], str]:
    """The model's name of a weight, from its name in a file.

    It raises BadInput for weights that `transformers` not only renames but rearranges, such as
    those of experts, because they cannot be read by rows.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping

    return _renaming(get_model_conversion_mapping(model), model.config.model_type)


def to_hub(model: "PreTrainedModel") -> Callable[[str], str]:
    """The name of a weight in a file, from the model's; raises BadInput as `from_hub` does."""
    from transformers import core_model_loading
    from transformers.conversion_mapping import get_model_conversion_mapping

    known = get_model_conversion_mapping(model, add_legacy=False)
    # left out as by `transformers`, as it is not known whether the file had the prefix; the first
    # versions do not have such transforms
    prefixes = getattr(core_model_loading, "PrefixChange", ())
    used = [one for one in reversed(known) if not isinstance(one, prefixes)]
    return _renaming([one.reverse_transform() for one in used], model.config.model_type)


def _renaming(transforms: Sequence[Any], model_type: str) -> Callable[[str], str]:
    from transformers.core_model_loading import WeightRenaming

    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    others = [one for one in transforms if not isinstance(one, WeightRenaming)]

    def rename(name: str) -> str:
        for one in renamings:
            name, _ = one.rename_source_key(name)
        if any(one.rename_source_key(name)[1] is not None for one in others):
            raise BadInput(
                f"a model of the type {model_type} computes with other weights than its files "
                f"hold ({name}), so distributed=fsdp cannot read it by rows: use distributed=ddp"
            )
        return name

    return rename
