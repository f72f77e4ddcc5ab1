"""Several processes that train each cell together: joining, sharing work, dividing weights."""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.distributed.checkpoints import load_into as load_into
    from sympo.distributed.checkpoints import save_sharded as save_sharded
    from sympo.distributed.file_weights import read_weights as read_weights
    from sympo.distributed.folders import gather_to_folder as gather_to_folder
    from sympo.distributed.gradients import clip_by_global_norm as clip_by_global_norm
    from sympo.distributed.gradients import global_norm as global_norm
    from sympo.distributed.memory import Peaks as Peaks
    from sympo.distributed.sharding import call_gathered as call_gathered
    from sympo.distributed.sharding import draw_sharded as draw_sharded
    from sympo.distributed.sharding import load_sharded as load_sharded
    from sympo.distributed.sharding import shard as shard

# loaded when first asked for, because they import torch
_MODULES = {
    "Peaks": "sympo.distributed.memory",
    "call_gathered": "sympo.distributed.sharding",
    "clip_by_global_norm": "sympo.distributed.gradients",
    "draw_sharded": "sympo.distributed.sharding",
    "gather_to_folder": "sympo.distributed.folders",
    "global_norm": "sympo.distributed.gradients",
    "load_into": "sympo.distributed.checkpoints",
    "load_sharded": "sympo.distributed.sharding",
    "read_weights": "sympo.distributed.file_weights",
    "save_sharded": "sympo.distributed.checkpoints",
    "shard": "sympo.distributed.sharding",
}
__all__ = [
    "Peaks",
    "call_gathered",
    "clip_by_global_norm",
    "draw_sharded",
    "gather_to_folder",
    "global_norm",
    "load_into",
    "load_sharded",
    "read_weights",
    "save_sharded",
    "shard",
]

__getattr__ = loader(__name__, _MODULES)
