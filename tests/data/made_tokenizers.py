"""Small byte-level tokenizers, plain and with chat templates, and the real ones where they are."""

from functools import cache
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.conftest import DATA

CHATML = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
# in the manner of Llama 3.2: a dated system message of its own, and contents are trimmed
DATED = """{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday Date: " + date_string + "\n\n" }}
{{- system + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}"""
# in the manner of Gemma: no system message, roles alternate, the end of turn is not the eos token
STRICT = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('role') }}
{% endif %}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}
{% endif %}
{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] | trim + '<end_of_turn>\n' }}
{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>assistant\n' }}{% endif %}"""

# in the manner of DeepSeek-R1: an answer begins in a thought, and earlier thoughts are left out
THINKING = """{{ bos_token }}{% for message in messages %}
{%- set said = message['content'] %}{% if message['role'] == 'assistant' %}
{%- set said = said.split('</think>')[-1] %}{% endif %}
{{- '<|' + message['role'] + '|>' + said }}
{%- if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}"""
# in the manner of Qwen3-Thinking: a finished answer has an empty thought
EMPTY_THOUGHT = """{% for message in messages %}{{ '<|' + message['role'] + '|>' }}
{%- if message['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}
{{- message['content'] + eos_token }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}"""
# in the manner of Mistral: no place for system messages, tools or what is called
PLAINEST = """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}
{{- '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}
{{- message['content'] + eos_token }}{% endif %}{% endfor %}"""
# in the manner of Hermes: calls and results of tools
TOOLS = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>' + ({'name': call.function.name, 'arguments': call.function.arguments} | tojson)
+ '</tool_call>' }}{% endfor %}
{{- message['content'] + '<|im_end|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""


def _bytes(eos: str | None, *special: str, template: str | None = None, **more: Any) -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, **more)
    made.add_special_tokens({"additional_special_tokens": list(special)})
    made.chat_template = template
    return made


def real(name: str) -> Any:
    if not (DATA / name).is_dir():
        pytest.skip(f"the {name} tokenizer is not beside this checkout (../shared/data/{name})")
    return AutoTokenizer.from_pretrained(DATA / name)


def _chatml_gpt2() -> Any:
    made = real("gpt2_tokenizer")
    made.add_special_tokens(
        {"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]}
    )
    made.chat_template = CHATML
    return made


MAKERS = {
    "plain": lambda: _bytes("<eos>"),
    "chatml": lambda: _bytes("<|im_end|>", "<|im_start|>", template=CHATML),
    "dated": lambda: _bytes(
        "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>",
        template=DATED, bos_token="<|begin_of_text|>",
    ),
    "strict": lambda: _bytes(
        "<eos>", "<start_of_turn>", "<end_of_turn>", template=STRICT, bos_token="<bos>"
    ),
    "thinking": lambda: _bytes("<eos>", "<|user|>", "<|assistant|>", template=THINKING),
    "empty thought": lambda: _bytes("<eos>", "<|user|>", "<|assistant|>", template=EMPTY_THOUGHT),
    "plainest": lambda: _bytes("<eos>", template=PLAINEST),
    "tools": lambda: _bytes("<|im_end|>", "<|im_start|>", template=TOOLS),
    "no eos": lambda: _bytes(None),
    "stories260K": lambda: real("stories260K"),
    "gpt2": lambda: real("gpt2_tokenizer"),
    "gpt2 with chatml": _chatml_gpt2,
}  # fmt: skip
# that write every dialogue of user and assistant, and close every answer
KINDS = [name for name in MAKERS if name not in ("no eos", "thinking", "plainest")]


@cache
def tokenizer(kind: str) -> Any:
    return MAKERS[kind]()
