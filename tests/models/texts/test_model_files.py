"""The digests beside a saved model reveal files that have changed since."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sympo.models.texts import classifiers, model_files
from sympo.models.texts.classifiers import Released, TinyReward
from sympo.models.texts.pretrained_models import Hub
from sympo.types import BadInput, Vocabulary, within

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    tiny = TinyReward(hidden_size=8, intermediate_size=8, layers=1, heads=2, max_positions=8)
    model = tiny.build(Vocabulary(size=10, bos=None, eos=8, pad=9), 0)
    classifiers.save(model, None, "", folder)
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def _damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_a_saved_model_is_sealed_as_b2sum_would(copied: Path) -> None:
    lines = (copied / model_files.SEAL).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["config.json", WEIGHTS]
    if shutil.which("b2sum"):
        said = subprocess.check_output(["b2sum", "--check", model_files.SEAL], cwd=copied)
        assert said.count(b": OK") == 2
    Released(name_or_path=str(copied)).check()


def test_the_fingerprint_is_that_of_the_model_alone(copied: Path) -> None:
    sealed = Released(name_or_path=str(copied)).fingerprint()
    (copied / model_files.SEAL).unlink()
    assert Released(name_or_path=str(copied)).fingerprint() == sealed


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_a_changed_file_is_named(copied: Path, name: str) -> None:
    _damage(copied / name)
    with pytest.raises(BadInput) as error, within("judge"):
        Released(name_or_path=str(copied)).check()
    assert str(error.value) == (
        f"{copied / name} differs from what its run saved: copy it again, or run the cell again "
        "with force=true; if you changed it on purpose, delete saved.b2sums beside it"
    )
    with pytest.raises(BadInput, match=name):
        Hub(name_or_path=str(copied)).check_files()


def test_a_lost_file_and_empty_digests_are_named(copied: Path) -> None:
    (copied / WEIGHTS).unlink()
    with pytest.raises(BadInput, match=f"{WEIGHTS} differs"):
        model_files.check_seal(copied)
    (copied / model_files.SEAL).write_text("")
    with pytest.raises(BadInput, match=f"{model_files.SEAL} differs"):
        model_files.check_seal(copied)


def test_other_folders_and_added_files_pass(copied: Path) -> None:
    (copied / "tokenizer.json").write_text("{}")
    model_files.check_seal(copied)
    _damage(copied / WEIGHTS)
    (copied / model_files.SEAL).unlink()
    model_files.check_seal(copied)


def test_a_model_that_is_saved_again_is_sealed_again(copied: Path) -> None:
    _damage(copied / WEIGHTS)
    model_files.seal(copied)
    model_files.check_seal(copied)
