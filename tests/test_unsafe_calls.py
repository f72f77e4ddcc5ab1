"""Nothing that is read can run code: calls that could are listed here, each with its reason, and
files that try are refused in one sentence."""

import ast
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from experiments.run_data import dataset_of
from sympo.data import PreferenceSet
from sympo.identity import Identity
from sympo.models.texts import Hub, model_files
from sympo.outcomes import TestSet
from sympo.runs import checkpoints
from sympo.runs.folder import RunFolder
from sympo.runs.names import CellName
from sympo.types import BadInput
from tests.conftest import ROOT

ROOMS = ("sympo", "experiments", "hydra_plugins")
SOURCES = [ROOT / "run.py", *(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))]
# reading calls by the end of their name; a value says which argument makes one safe, None that
# nothing does
READS: dict[str, tuple[str, Any] | None] = {
    "torch.load": ("weights_only", True),
    "pickle.load": None, "pickle.loads": None, "pickle.Unpickler": None, "cloudpickle.load": None,
    "cloudpickle.loads": None, "dill.load": None, "dill.loads": None, "marshal.load": None,
    "marshal.loads": None, "shelve.open": None, "joblib.load": None, "pd.read_pickle": None,
    "yaml.load": None, "yaml.unsafe_load": None, "yaml.full_load": None, "yaml.load_all": None,
    "eval": None, "exec": None, "os.system": None, "os.popen": None,
    "torch.hub.load": None, "torch.jit.load": None, "jsonpickle.decode": None,
}  # fmt: skip
# (file, call): why it runs nothing of what is read
ALLOWED = {
    ("experiments/run_authors.py", "exec"): "the authors' own script, whose folder the user names",
    ("experiments/list_classes.py", "exec"): "functions of the project's own losses",
    ("experiments/list_classes.py", "eval"): "properties that the project's own losses declare",
}
# keyword arguments that let a call run code of what it reads
SWITCHES = {"allow_pickle", "trust_remote_code", "shell"}


def named(call: ast.Call) -> str:
    return ast.unparse(call.func)


def calls(file: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield node


def value_of(call: ast.Call, argument: str) -> Any:
    found = [word.value for word in call.keywords if word.arg == argument]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


def unsafe(call: ast.Call) -> str:
    """The name of a call that could run code of what it reads; empty if it cannot."""
    name = named(call)
    for end, safe in READS.items():
        is_it = name == end or (name.endswith(f".{end}") and "." in end)
        if is_it and (safe is None or value_of(call, safe[0]) is not safe[1]):
            return end
    return next((s for s in SWITCHES if value_of(call, s) not in (None, False)), "")


def test_no_call_can_run_what_it_reads() -> None:
    found = {
        (file.relative_to(ROOT).as_posix(), name)
        for file in SOURCES
        for call in calls(file)
        if (name := unsafe(call))
    }
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("torch.load(f)", "torch.load"),
        ("torch.load(f, weights_only=False)", "torch.load"),
        ("torch.load(f, weights_only=True)", ""),
        ("pickle.loads(b)", "pickle.loads"),
        ("np.load(f, allow_pickle=True)", "allow_pickle"),
        ("np.load(f)", ""),
        ("yaml.load(f, yaml.Loader)", "yaml.load"),
        ("yaml.safe_load(f)", ""),
        ("model.eval()", ""),
        ("eval(x)", "eval"),
        ("subprocess.run(c, shell=True)", "shell"),
        ("A.from_pretrained(f, trust_remote_code=True)", "trust_remote_code"),
    ],
)
def test_the_search_finds(code: str, name: str) -> None:
    (call,) = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    assert unsafe(call) == name


def test_remote_code_is_off_and_data_sets_run_no_scripts() -> None:
    """The one variable that turns remote code on is the setting of models, false by default."""
    assert Hub().trust_remote_code is False
    given = {
        (file.relative_to(ROOT).as_posix(), ast.unparse(word.value))
        for file in SOURCES
        for call in calls(file)
        for word in call.keywords
        if word.arg == "trust_remote_code"
    }
    assert {value for _, value in given} <= {
        "False", "trust_remote_code", "self._trusts_code", "self.trust_remote_code",
    }, given  # fmt: skip
    assert not [file for file, _ in given if file.startswith("sympo/data")]


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[Bomb]:
    fuse = tmp_path / "ran"
    pickle.loads(pickle.dumps(Bomb(fuse)))
    assert fuse.exists(), "it works"
    fuse.unlink()
    yield Bomb(fuse)
    assert not fuse.exists()


def test_a_checkpoint(bomb: Bomb, tmp_path: Path) -> None:
    name = CellName("reward_model", "digits", "ramp", 0.3, "symmetric", "small_cnn", 0)
    run = RunFolder(tmp_path, name, Identity({"seed": 0}))
    run.unfinished.mkdir(parents=True)
    notes: list[str] = []
    for content in (pickle.dumps(bomb), _zipped(bomb)):
        run.checkpoint.write_bytes(content)
        assert checkpoints.load(run, Bomb, notes.append) is None
    assert len(notes) == 2 and all("not readable (UnpicklingError)" in note for note in notes)


def _zipped(bomb: Bomb) -> bytes:
    file = io.BytesIO()
    torch.save({"format": checkpoints.FORMAT, "state": bomb}, file)
    return file.getvalue()


def test_arrays(bomb: Bomb) -> None:
    """As the outcomes and stages of a run hold them."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=True, ids=np.array([bomb], dtype=object))
    with pytest.raises(ValueError):
        TestSet.load(content.getvalue())
    content.seek(0)
    with np.load(content) as found, pytest.raises(ValueError, match="allow_pickle=False"):
        found["ids"]


def test_weights(bomb: Bomb, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "pytorch_model.bin").write_bytes(_zipped(bomb))
    with pytest.raises(BadInput, match="lacks weights in safetensors; other formats are not read"):
        Hub(name_or_path=str(folder)).check()
    (folder / "model.safetensors").write_bytes(_zipped(bomb))
    with pytest.raises(BadInput, match="is not a complete safetensors file"):
        Hub(name_or_path=str(folder)).check()


def test_code_beside_weights(bomb: Bomb, tmp_path: Path) -> None:
    """A model, and a tokenizer, that bring classes of their own."""
    folder = tmp_path / "model"
    folder.mkdir()
    code = f"from pathlib import Path\nPath({str(bomb.file)!r}).touch()\nclass M: ...\n"
    (folder / "own.py").write_text(code)
    auto = {"AutoConfig": "own.M", "AutoModelForCausalLM": "own.M"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto}))
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")
    tokenizer = {"tokenizer_class": "M", "auto_map": {"AutoTokenizer": ["own.M", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput) as error:
        Hub(name_or_path=str(folder)).check()
    assert str(error.value).startswith(f"{folder / 'config.json'} does not describe a causal")
    assert str(error.value).endswith(
        "it needs code that comes with it, which runs only with trust_remote_code=true"
    )
    with pytest.raises(BadInput, match="does not load"):
        model_files.tokenizer(str(folder), trust_remote_code=False)


def test_code_that_is_permitted_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "own.py").touch()
    with pytest.raises(BadInput, match="lacks"):
        Hub(name_or_path=str(tmp_path), trust_remote_code=True).check()
    assert caplog.messages == [
        f"trust_remote_code=true: code that comes with {tmp_path} may run on this machine: own.py"
    ]


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train.parquet", "train.pkl"])
def test_data(bomb: Bomb, tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(pickle.dumps(bomb))
    with pytest.raises(BadInput):
        PreferenceSet(path=str(tmp_path / "data")).check()


def test_a_config(bomb: Bomb, tmp_path: Path) -> None:
    folder = tmp_path / "runs/policy/digits/ramp/noise=0/seed=0-12345678"
    folder.mkdir(parents=True)
    attack = f"dataset: !!python/object/apply:pathlib.Path.touch [{bomb.file}]\n"
    for text in (attack, f"dataset: !!python/object/new:os.system ['touch {bomb.file}']\n"):
        (folder / "config.yaml").write_text(text)
        with pytest.raises(BadInput, match=r"is not the config of a run \(ConstructorError\)"):
            dataset_of(folder)
        with pytest.raises(yaml.YAMLError):
            yaml.safe_load(text)


def test_a_stage(bomb: Bomb, tmp_path: Path) -> None:
    """A stage whose file was exchanged, even with a digest that fits."""
    file = tmp_path / "logps.npz"
    with zipfile.ZipFile(file, "w") as archive:
        array = io.BytesIO()
        np.save(array, np.array([bomb], dtype=object), allow_pickle=True)
        archive.writestr("train.npy", array.getvalue())
    with np.load(file) as found, pytest.raises(ValueError):
        found["train"]
