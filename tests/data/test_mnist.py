import gzip
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sympo.data.mnist import FILES, MNIST
from sympo.types import BadInput


def mnist(path: Path) -> MNIST:
    return MNIST(path=str(path), train_images=20, validation_images=10, train_pairs=5,
                 validation_pairs=2)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A made MNIST of 40 training and 10 test images in the original format, gzipped."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, (stem, rank) in FILES.items():
        count = 40 if name.startswith("train") else 10
        shape = (count, 28, 28) if rank == 3 else (count,)
        values = rng.integers(0, 256 if rank == 3 else 10, shape).astype(np.uint8)
        head = struct.pack(f">I{rank}I", 0x800 + rank, *shape)
        (raw / f"{stem}.gz").write_bytes(gzip.compress(head + values.tobytes()))
    return tmp_path


def content(folder: Path) -> dict[Path, str]:
    return {p: hashlib.md5(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def test_reads_gzipped_files_and_writes_nothing(folder: Path) -> None:
    before = content(folder)
    images = mnist(folder).read()
    assert images.pixels.shape == (50, 28, 28) and images.test == 10
    assert content(folder) == before


def test_plain_files_are_the_same(folder: Path) -> None:
    zipped = mnist(folder).fingerprint()
    for path in list(folder.rglob("*.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert mnist(folder).fingerprint() == zipped


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_damaged_file_is_named(folder: Path, damage: str, plain: bool) -> None:
    path = folder / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    if plain:
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path = path.with_suffix("")
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-500], "garbage": b"no idx file" * 9, "empty": b""}[damage])
    with pytest.raises(BadInput, match=path.name) as error:
        mnist(folder).read()
    assert "\n" not in str(error.value)


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(BadInput, match=r"t10k-labels-idx1-ubyte.*dataset=digits"):
        mnist(folder).read()


def test_labels_that_do_not_fit_the_images(folder: Path) -> None:
    raw = folder / "MNIST" / "raw"
    (raw / "train-labels-idx1-ubyte.gz").write_bytes(
        (raw / "t10k-labels-idx1-ubyte.gz").read_bytes()
    )
    with pytest.raises(BadInput, match="40 train images but 10 labels"):
        mnist(folder).read()


def test_real_mnist(mnist_folder: Path) -> None:
    data = MNIST(path=str(mnist_folder))
    assert data.fingerprint() == "6c703d5d8c236e8d"
    data.check()
    draw = data.draw(0)
    assert len(data.images.rewards) == 70_000
    assert 4400 < len(draw.test) < 4600  # 5,000 disjoint pairs, a tenth of them ties
    # torchvision's well-known constants, up to which half of the images is used
    assert draw.mean / 255 == pytest.approx(0.1307, abs=0.001)
    assert draw.std / 255 == pytest.approx(0.3081, abs=0.001)


def test_test_images_of_the_training_split(folder: Path) -> None:
    official = mnist(folder).draw(0)
    for seed in (0, 1):
        own = replace(mnist(folder), official_test=False).draw(seed)
        splits = [np.union1d(split.first, split.second) for split in (own.train, own.validation)]
        assert len(own.pixels) == 40 and len(own.test_images) == 10
        assert not set(own.test_images) & set(np.concatenate(splits))
    # the training pairs of a seed are the same
    same = replace(mnist(folder), official_test=False).draw(0)
    np.testing.assert_array_equal(official.train.ids, same.train.ids)
    assert set(official.test_images) == set(range(40, 50))
