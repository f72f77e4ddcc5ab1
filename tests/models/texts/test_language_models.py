"""Language models by config: made here, or read from a folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from sympo.models.texts.language_models import TinyLM
from sympo.models.texts.pretrained_models import Hub
from sympo.types import BadInput, Vocabulary
from tests.conftest import DATA

VOCABULARY = Vocabulary(size=10, bos=None, eos=8, pad=9)
STORIES = DATA / "stories260K"


def tiny(**changes: object) -> TinyLM:
    settings = {"hidden_size": 16, "intermediate_size": 24, "layers": 1, "heads": 2}
    return TinyLM(**{"max_positions": 32, **settings, **changes})  # type: ignore[arg-type]


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    if not STORIES.is_dir():
        pytest.skip("the tiny pretrained Llama is not beside this checkout")
    return Path(shutil.copytree(STORIES, tmp_path / "model", copy_function=shutil.copy))


def test_weights_depend_on_the_seed_alone() -> None:
    state = torch.get_rng_state()
    a, b, c = (tiny().build(VOCABULARY, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_adapters_alone_are_trained_and_start_at_nothing() -> None:
    model = tiny(lora_rank=2)
    base = model.build(VOCABULARY, 0)
    ids = torch.arange(6)[None]
    before = base(ids).logits
    adapted = model.adapt(base, 0)
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    assert torch.equal(adapted(ids).logits, before)
    assert tiny().adapt(base, 0) is base


def test_a_saved_model_is_read_back(tmp_path: Path) -> None:
    model = tiny()
    built = model.build(VOCABULARY, 0)
    built.save_pretrained(tmp_path)
    assert list(tmp_path.glob("*.safetensors"))
    loaded = model.load(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in built.state_dict().items())


def test_hub_folder(stories: Path) -> None:
    model = Hub(name_or_path=str(stories))
    model.check()
    assert model.sizes() == (512, 512)
    assert len(model.tokenizer()) == 512
    built = model.build(VOCABULARY, 0)
    assert {p.dtype for p in built.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("config.json", ["config.json"]),
        ("model.safetensors", ["safetensors"]),
        ("tokenizer.json", ["tokenizer"]),
    ],
)
def test_a_missing_file_is_named(stories: Path, file: str, words: list[str]) -> None:
    (stories / file).unlink()
    with pytest.raises(BadInput) as error:
        Hub(name_or_path=str(stories)).check()
    assert str(stories) in str(error.value) and "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


def test_broken_weights_are_one_sentence(stories: Path) -> None:
    (stories / "model.safetensors").write_bytes(b"{")
    with pytest.raises(BadInput, match=r"model\.safetensors is not a complete"):
        Hub(name_or_path=str(stories)).check()


def test_a_model_of_another_kind_is_one_sentence(stories: Path) -> None:
    (stories / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(BadInput, match=r"config\.json does not describe a causal language model"):
        Hub(name_or_path=str(stories)).check()


@pytest.mark.parametrize("text", ["{", '{"model_type": "unheard-of"}'])
def test_a_broken_config_is_one_sentence(stories: Path, text: str) -> None:
    (stories / "config.json").write_text(text)
    with pytest.raises(BadInput, match=r"config\.json does not describe") as error:
        Hub(name_or_path=str(stories)).check()
    assert "\n" not in str(error.value)


def test_a_missing_shard_is_named(stories: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (stories / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match=r"lacks model-00002-of-00002\.safetensors"):
        Hub(name_or_path=str(stories)).check()


@pytest.mark.parametrize("targets", ["nonsense", ["q_proj", "nonsense2"], "q_proj"])
def test_adapters_need_layers_that_are_there(stories: Path, targets: object) -> None:
    model = Hub(name_or_path=str(stories), lora_rank=2, lora_targets=targets)  # type: ignore[arg-type]
    hash(model)
    if targets == "nonsense":
        with pytest.raises(BadInput, match=r"^lora_targets=nonsense"):
            model.check()
    else:
        model.check()


def test_pickled_weights_are_not_read(stories: Path) -> None:
    (stories / "model.safetensors").rename(stories / "pytorch_model.bin")
    with pytest.raises(BadInput, match="can run code"):
        Hub(name_or_path=str(stories)).check()


def test_a_name_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput, match=r"nobody/nothing.*hub") as error:
        Hub(name_or_path="nobody/nothing").check()
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; set it to the folder of a local copy")


def test_fingerprint_follows_content_and_not_the_place(stories: Path, tmp_path: Path) -> None:
    before = Hub(name_or_path=str(stories)).fingerprint()
    moved = tmp_path / "elsewhere"
    shutil.copytree(stories, moved)
    assert Hub(name_or_path=str(moved)).fingerprint() == before
    changed = tmp_path / "changed"
    shutil.copytree(stories, changed)
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | {"rope_theta": 1.0}))
    assert Hub(name_or_path=str(changed)).fingerprint() != before
