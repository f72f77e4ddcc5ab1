"""Reads the pickled index of `torch.distributed.checkpoint` without running code."""

import pickle
from pathlib import Path
from typing import IO, Any

from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

# all that an index of tensors contains; `BytesStorageMetadata`, of values that the planner would
# unpickle, is left out on purpose
_ALLOWED = {
    "builtins": {"dict", "list", "tuple"},
    "collections": {"OrderedDict"},
    "pathlib": {"Path", "PosixPath", "WindowsPath", "PurePosixPath"},
    "pathlib._local": {"Path", "PosixPath", "WindowsPath", "PurePosixPath"},
    "torch": {"Size", "float16", "bfloat16", "float32", "float64", "int32", "int64", "bool"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    """Makes the records of an index, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in _ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into a checkpoint")
        return super().find_class(module, name)


def read_index(file: IO[bytes]) -> Metadata:
    """Read an index; raises UnpicklingError if it refers to anything but records of tensors."""
    found = _Unpickler(file).load()
    if not isinstance(found, Metadata):
        raise pickle.UnpicklingError(f"a checkpoint begins with Metadata, not {type(found)}")
    return found


class SafeReader(FileSystemReader):
    """A reader of checkpoints whose index may come from anyone."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        with Path(self.path, ".metadata").open("rb") as file:
            metadata = read_index(file)
        if metadata.storage_meta is None:
            metadata.storage_meta = StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata
