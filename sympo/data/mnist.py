"""MNIST in torchvision's layout, from a local folder or downloaded."""

import contextlib
import gzip
import io
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sympo.data.images import ImageDataset, LabelledImages
from sympo.ranges import Count
from sympo.types import BadArgument, BadInput

FILES = {
    "train images": ("train-images-idx3-ubyte", 3),
    "train labels": ("train-labels-idx1-ubyte", 1),
    "test images": ("t10k-images-idx3-ubyte", 3),
    "test labels": ("t10k-labels-idx1-ubyte", 1),
}
OFFER = "set it to a folder that holds MNIST/raw, or use dataset=digits"


@dataclass(frozen=True, kw_only=True)
class MNIST(ImageDataset):
    """60,000 training and 10,000 official test images, 28x28, grey levels 0 to 255.

    path: a folder that holds `MNIST/raw` with the four IDX files, plain or gzipped; it is only
        read. None downloads them once into `data/` through torchvision.
    official_test: whether the test split is the official one. As in the authors' code, without it
        each seed draws its test images from those training images that the other splits leave.
    Source: LeCun, Cortes and Burges (1998).
    """

    identity: ClassVar[str] = "mnist"
    content_only: ClassVar[bool] = True
    outside_identity: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str | None = None
    train_images: Count = 30_000
    validation_images: Count = 30_000
    train_pairs: Count = 10_000
    validation_pairs: Count = 10_000
    official_test: bool = True

    def read(self) -> LabelledImages:
        folder = Path(self.path).expanduser() if self.path is not None else _download()
        raw = folder / "MNIST" / "raw"
        if not raw.is_dir():
            raise BadArgument(
                "path", self.path, f"has no MNIST: {raw.absolute()} is not a folder; {OFFER}"
            )
        arrays = {name: _read_idx(raw, stem, rank) for name, (stem, rank) in FILES.items()}
        for split in ("train", "test"):
            images, labels = arrays[f"{split} images"], arrays[f"{split} labels"]
            if len(images) != len(labels):
                raise BadInput(
                    f"{raw.absolute()} holds {len(images)} {split} images but {len(labels)} labels"
                )
            if images.shape[1:] != (28, 28) or labels.max() > 9:
                raise BadInput(
                    f"{raw.absolute()} holds {split} images of {images.shape[1]}x{images.shape[2]} "
                    f"pixels with labels up to {labels.max()}; MNIST's are 28x28, up to 9"
                )
        if not self.official_test:
            labels = arrays["train labels"].astype(np.int64)
            return LabelledImages(arrays["train images"], labels)
        return LabelledImages(
            np.concatenate([arrays["train images"], arrays["test images"]]),
            np.concatenate([arrays["train labels"], arrays["test labels"]]).astype(np.int64),
            test=len(arrays["test labels"]),
        )


def _read_idx(raw: Path, stem: str, rank: int) -> np.ndarray:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    plain, zipped = raw / stem, raw / f"{stem}.gz"
    if not plain.is_file() and not zipped.is_file():
        raise BadArgument(
            "path",
            raw.parents[1],
            f"is incomplete: {raw.absolute()} has neither {plain.name} nor {zipped.name}; {OFFER}",
        )
    source = plain if plain.is_file() else zipped
    read = read_image_file if rank == 3 else read_label_file
    try:
        if source is plain:
            found: np.ndarray = read(str(plain)).numpy()
            return found
        # torchvision reads plain files only, and the folder may be read-only
        with tempfile.NamedTemporaryFile() as unzipped:
            unzipped.write(gzip.decompress(zipped.read_bytes()))
            unzipped.flush()
            found = read(unzipped.name).numpy()
            return found
    except (ValueError, AssertionError, RuntimeError, KeyError, IndexError, TypeError, OSError,
            EOFError, zlib.error) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{source.absolute()} is not a readable IDX file: {reason}") from error


def _download() -> Path:
    from filelock import FileLock
    from torchvision.datasets import MNIST as Download

    root = Path("data")
    try:
        root.mkdir(exist_ok=True)
        with FileLock(root / ".mnist.lock"), contextlib.redirect_stdout(io.StringIO()):
            Download(str(root), download=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise BadArgument(
            "path",
            "null",
            f"downloads MNIST, which is not in {(root / 'MNIST' / 'raw').absolute()} and could not "
            f"be downloaded ({reason}); {OFFER}",
        ) from error
    return root
