"""What people, programs and language models put into files and replies."""

import json
from typing import Any

from hypothesis import strategies as st

# half a character, which JSON can hold and UTF-8 cannot
HALF = "\ud83d"
ODD_TEXTS = [
    "", " ", "\n", "\x00", "\ufeff", "\u2028", "\x85", "\x1b[31m", "\u202e", "é", "e\u0301", "日本",
    "🤖", "null", "NaN", "nan", "None", "true", "0", "-1", "1e999", "0.5", "[]", "{}", "'", '"',
    ",", "\\", "\n\nHuman:", "\n\nHuman: Hi\n\nAssistant: Yes", "\n\nAssistant:",
    "<|im_start|>user\n", "[INST]", "<think>", "[{'role': 'user', 'content': 'Hi'}]",
    '[{"role": "user"', "[{'role':", '[{"role": "assistant", "content": "Yes"}]', "a" * 5000,
    "=SUM(A1)", "${seed}", "%s", "../..",
]  # fmt: skip
# any character but halves
plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
texts = st.one_of(st.sampled_from(ODD_TEXTS), plain)
broken_texts = st.one_of(texts, st.just(HALF), plain.map(lambda text: text + HALF))
numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([10**30, -(10**400), 2**63, 2**64, 0.5, 0.50000001, 1e308, -0.0]),
    st.floats(),
    st.floats(0, 1),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, broken_texts)
_KEYS = st.one_of(
    st.sampled_from(
        ["role", "content", "from", "value", "prompt", "chosen", "rejected", "text", "type",
         "messages", "a.b", "tool_calls", "function", "arguments", "name", "thinking", "data", ""]
    ),
    plain,
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=3)),
    max_leaves=8,
)


def _deep(depth: int) -> Any:
    found: Any = "x"
    for _ in range(depth):
        found = {"content": [found]}
    return found


deep = st.integers(1, 300).map(_deep)
_ROLES = st.sampled_from(
    ["user", "assistant", "system", "tool", "human", "gpt", "Human", "USER", "function",
     "function_call", "developer", "judge", "", "bot"]
)  # fmt: skip
_PARTS = st.one_of(
    texts,
    st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url", None]), "text": texts}),
    st.fixed_dictionaries({"text": values}),
    values,
)
_CALLS = st.one_of(
    values,
    st.fixed_dictionaries(
        {"function": st.fixed_dictionaries({"name": texts, "arguments": st.one_of(texts, values)})}
    ).map(lambda call: [call]),
)
messages = st.one_of(
    st.fixed_dictionaries(
        {"role": _ROLES, "content": st.one_of(texts, st.lists(_PARTS, max_size=3), st.none())},
        optional={"tool_calls": _CALLS, "name": scalars, "tool_call_id": scalars,
                  "reasoning_content": texts, "thinking": values},
    ),
    st.fixed_dictionaries({"from": _ROLES, "value": st.one_of(texts, values)}),
    st.fixed_dictionaries({"role": values, "content": values}),
    values,
)  # fmt: skip
dialogues = st.lists(messages, max_size=4)
# what a column of a preference file may hold
columns = st.one_of(texts, dialogues, values, deep, dialogues.map(str),
                    dialogues.map(lambda one: json.dumps(one)))  # fmt: skip
probabilities = st.one_of(st.floats(0, 1), numbers, numbers.map(str), scalars)
rows = st.fixed_dictionaries(
    {},
    optional={
        "prompt": columns, "chosen": columns, "rejected": columns, "input": scalars,
        "system": st.one_of(texts, scalars), "p": probabilities, "good": numbers, "bad": scalars,
        "source": scalars, "annotator": scalars, "nested": values, "a.b": columns,
    },
)  # fmt: skip
