"""Where the weights of a policy are: whole in each process, or divided among processes."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sympo.distributed import processes
from sympo.models.texts.language_models import LanguageModel
from sympo.models.texts.policies import Policy
from sympo.pipelines.cell import Cell
from sympo.types import Vocabulary

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from sympo.pipelines.reference import Reference


class Placement(ABC):
    """Makes the policies of a cell from its reference's settings, with their weights in place."""

    def __init__(self, source: "Reference", cell: Cell) -> None:
        self.source, self.cell = source, cell

    @abstractmethod
    def built(self, vocabulary: Vocabulary) -> Any:
        """The model before supervised fine-tuning."""

    @abstractmethod
    def loaded(self, model: LanguageModel, folder: Path) -> Any:
        """A model from a folder in the hub's format."""

    @abstractmethod
    def restored(self, model: LanguageModel, base: Any, folder: Path) -> Any:
        """The trained model that a policy saved to a folder; base: the model before training."""

    @abstractmethod
    def policy(self, model: Any) -> Policy:
        """A policy with one of these models."""

    @abstractmethod
    def write(self, model: Any, folder: Path) -> None:
        """Write a model to a folder in the hub's format, by the first process."""


class Whole(Placement):
    """Every process holds all weights."""

    def built(self, vocabulary: Vocabulary) -> Any:
        return self.source.model.build(vocabulary, self.source.sft.seed)

    def loaded(self, model: LanguageModel, folder: Path) -> Any:
        return model.load(folder)

    def restored(self, model: LanguageModel, base: Any, folder: Path) -> Any:
        return model.restored(base, folder)

    def policy(self, model: Any) -> Policy:
        return self.source.policy(model, self.cell.dataset.max_length, self.cell.device)

    def write(self, model: Any, folder: Path) -> None:
        if processes.first():
            model.save_pretrained(folder)


class Divided(Placement):
    """Every process holds its rows of each weight, and reads no others."""

    def built(self, vocabulary: Vocabulary) -> Any:
        from sympo.distributed import draw_sharded

        model, seed = self.source.model, self.source.sft.seed
        if model.released is not None:
            return self.loaded(model, model.released)
        return draw_sharded(lambda: model.build(vocabulary, seed), self._mesh, self._precision)

    def loaded(self, model: LanguageModel, folder: Path) -> Any:
        from sympo.distributed import load_sharded

        return load_sharded(folder, self._mesh, self._precision)

    def restored(self, model: LanguageModel, base: Any, folder: Path) -> Any:
        return self.loaded(model, folder)

    def policy(self, model: Any) -> Policy:
        from sympo.models.texts.sharded_policies import ShardedPolicy
        from sympo.pipelines.reference import checkpoint_activations

        if self.source.gradient_checkpointing:
            checkpoint_activations(model)
        return ShardedPolicy(model, self.source.precision, self.cell.dataset.max_length)

    def write(self, model: Any, folder: Path) -> None:
        from sympo.distributed import gather_to_folder

        gather_to_folder(model, folder)

    @property
    def _mesh(self) -> "DeviceMesh":
        from torch.distributed.device_mesh import init_device_mesh

        return init_device_mesh(self.cell.device.partition(":")[0], (processes.size(),))

    @property
    def _precision(self) -> Any:
        return self.source.precision


def placement(source: "Reference", cell: Cell) -> Placement:
    """How the cell's setting `distributed` places weights."""
    return (Divided if cell.divided else Whole)(source, cell)
