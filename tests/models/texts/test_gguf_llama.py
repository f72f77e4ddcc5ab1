"""A Llama read from a GGUF file is the model that was written to it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sympo.models.texts.gguf_llama import convert
from sympo.types import BadInput
from tests.models.texts import tiny_gguf

pytest.importorskip("gguf")
IDS = torch.arange(40)[None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """The file, the folder that it was converted to, and the model that was written."""
    root = tmp_path_factory.mktemp("gguf")
    file, model = root / "tiny.gguf", tiny_gguf.model()
    tiny_gguf.write(file, model)
    (root / "folder").mkdir()
    convert(file, root / "folder")
    return file, root / "folder", model


def test_weights_and_logits_are_those_written(made: tuple[Path, Path, Any]) -> None:
    _, folder, model = made
    found, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys"))
    expected = model.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in found.state_dict().items())
    assert torch.equal(found(IDS).logits, model(IDS).logits)


def test_transformers_reads_the_same_model(made: tuple[Path, Path, Any]) -> None:
    file, folder, _ = made
    theirs = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    ours = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(ours(IDS).logits, theirs(IDS).logits)


def test_the_tokenizer_splits_digits_and_knows_special_tokens(
    made: tuple[Path, Path, Any],
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made[1])
    text = "<|im_start|>he he 12\n\n3 é<|im_end|>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "<|im_start|>", "he", "Ġ", "he", "Ġ", "1", "2", "ĊĊ", "3", "Ġ", "Ã", "©", "<|im_end|>",
    ]  # fmt: skip
    assert tokenizer.decode(ids) == text
    special = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.pad_token)
    assert special == ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_end|>")
    assert tokenizer.model_max_length == 256
    chat = [{"role": "user", "content": "he"}]
    written = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert written == "<|im_start|>user\nhe<|im_end|>\n<|im_start|>assistant\n"


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "other.gguf", tiny_gguf.model(), pre="qwen2")
    with pytest.raises(BadInput, match=r"other\.gguf is not a Llama with the tokenizer of SmolLM"):
        convert(tmp_path / "other.gguf", tmp_path)
