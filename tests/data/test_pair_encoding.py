from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sympo.data.chat_format import ChatFormat, RawFormat, common_prefix
from sympo.data.pair_encoding import Encoding, distinct, encode
from sympo.data.text_pair import TextPair
from sympo.types import BadInput
from tests.data.made_tokenizers import CHATML, DATED, KINDS, MAKERS, tokenizer

words = st.text(st.sampled_from("ab é😀.\n "), min_size=1, max_size=30).filter(str.strip)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def encoded(kind: str, *pairs: TextPair, length: int = 400, prompt: int = 200) -> Encoding:
    ids = np.arange(len(pairs), dtype=np.uint64)
    return encode(list(pairs), ids, ChatFormat(tokenizer(kind)), length, prompt)


@st.composite
def dialogues(draw: st.DrawFn) -> TextPair:
    said = draw(st.lists(words, min_size=1, max_size=7).filter(lambda turns: len(turns) % 2))
    turns = [user(text) if i % 2 == 0 else assistant(text) for i, text in enumerate(said)]
    return TextPair(turns, draw(words), draw(words))


@pytest.mark.parametrize("kind", KINDS)
@given(pairs=st.lists(dialogues(), min_size=1, max_size=3), room=st.integers(60, 160))
@settings(max_examples=25, deadline=None)
def test_every_pair_fits_and_ends(kind: str, pairs: list[TextPair], room: int) -> None:
    form = ChatFormat(tokenizer(kind))
    prompt = len(form.ids([form.prompt])[0]) + room // 2
    made = encoded(kind, *pairs, length=prompt + room // 2, prompt=prompt)
    for side, name in ((made.pairs.chosen, "chosen"), (made.pairs.rejected, "rejected")):
        for ids, start, asked, text in zip(
            side.ids, side.start, made.pairs.prompts, made.pairs.texts, strict=True
        ):
            assert len(ids) <= prompt + room // 2 and len(asked) <= prompt
            assert ids[-1] == form.eos and form.eos not in ids[start:-1]
            assert np.array_equal(ids[:start], asked[:start]) and start <= len(asked)
            answer = form.decode(ids[start:])
            whole = text[name].strip() if form.trims else text[name]
            if start < len(asked):
                continue  # the tokenizer joined the end of the prompt with the answer
            assert whole.startswith(answer.rstrip("\N{REPLACEMENT CHARACTER}"))
            if len(ids) < prompt + room // 2:
                assert answer == whole


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_begins_the_pair(kind: str) -> None:
    pairs = [TextPair([user("Who are you?")], "A model.", "1, 2, 3"),
             TextPair([user("Hi"), assistant("Hello"), user("Sum?")], "A  B", "é😀")]  # fmt: skip
    made = encoded(kind, *pairs).pairs
    for side in (made.chosen, made.rejected):
        for ids, start, prompt in zip(side.ids, side.start, made.prompts, strict=True):
            assert start == len(prompt) and np.array_equal(ids[:start], prompt)


def test_plain_format() -> None:
    form = ChatFormat(tokenizer("plain"))
    pair = TextPair([system("Be kind."), user("Hi"), assistant("Hello"), user("Sum?")], "Yes", "No")
    made = encoded("plain", pair).pairs
    text = "\n\nSystem: Be kind.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Sum?\n\nAssistant:"
    assert tokenizer("plain").decode(made.prompts[0]) == text
    assert tokenizer("plain").decode(made.chosen.ids[0]) == text + " Yes<eos>"
    assert form.decode(made.rejected.ids[0][made.rejected.start[0] :]) == "No"


@pytest.mark.parametrize("kind", ["stories260K", "gpt2"])
def test_plain_format_is_one_text_after_bos(kind: str) -> None:
    made, own = encoded(kind, TextPair([user("Hi")], "Yes", "No")), tokenizer(kind)
    text = own("\n\nHuman: Hi\n\nAssistant: Yes", add_special_tokens=False)["input_ids"]
    assert made.pairs.chosen.ids[0].tolist() == [own.bos_token_id, *text, own.eos_token_id]


@pytest.mark.parametrize("kind", ["chatml", "dated", "strict", "gpt2 with chatml"])
def test_pair_is_what_the_template_writes(kind: str) -> None:
    own, asked = tokenizer(kind), [user("Hi"), assistant("Hello"), user(" Sum? ")]
    made = encoded(kind, TextPair(asked, " Yes\n", "No")).pairs
    date = {"date_string": "26 Jul 2024"}
    prompt = own.apply_chat_template(asked, add_generation_prompt=True, **date)["input_ids"]
    whole = own.apply_chat_template([*asked, assistant(" Yes\n")], **date)["input_ids"]
    assert made.prompts[0].tolist() == prompt
    end = len(whole) - whole[::-1].index(ChatFormat(own).eos)
    assert made.chosen.ids[0].tolist() == whole[:end]


def test_eos_is_the_end_of_turn() -> None:
    ends = {"chatml": "<|im_end|>", "dated": "<|eot_id|>", "strict": "<end_of_turn>"}
    for kind, end in ends.items():
        assert ChatFormat(tokenizer(kind)).eos == tokenizer(kind).convert_tokens_to_ids(end)


@pytest.mark.parametrize("template", [DATED, "{{ strftime_now('%Y-%m-%d') }}" + CHATML, CHATML])
def test_date_is_fixed(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = MAKERS["chatml"]()
    made.chat_template = template
    text = ChatFormat(made).prompt
    assert ("26 Jul 2024" in text) == ("strftime_now" in template)


def test_oldest_turns_go_first() -> None:
    turns = [system("Be kind."), user("a" * 40), assistant("b" * 40), assistant("c" * 40),
             user("d" * 40), assistant("e" * 40), user("newest")]  # fmt: skip
    for limit, oldest in ((310, "a"), (250, "d"), (120, "n")):
        made = encoded("plain", TextPair(turns, "Yes", "No"), prompt=limit)
        text = tokenizer("plain").decode(made.pairs.prompts[0])
        assert text.startswith(f"\n\nSystem: Be kind.\n\nHuman: {oldest}")
        assert text.endswith("Human: newest\n\nAssistant:")
        assert made.changes.shortened.tolist() == [oldest != "a"] and not made.changes.cut.any()
        assert made.pairs.texts[0]["prompt"] == turns, "people see the whole prompt"


@pytest.mark.parametrize("kind", KINDS)
def test_newest_turn_loses_its_oldest_tokens(kind: str) -> None:
    long = " ".join(map(str, range(400)))
    asked = [user("Hi"), assistant("Hello"), user(long)]
    made = encoded(kind, TextPair(asked, "Yes", "No"), length=240, prompt=200)
    assert made.changes.shortened.all() and made.changes.cut.all()
    assert not made.changes.answers.any() and not made.dropped
    form, prompt = ChatFormat(tokenizer(kind)), made.pairs.prompts[0]
    [text] = form.prompts([[user(long)]])
    [blank] = form.prompts([[user("")]])
    assert text is not None and blank is not None
    whole, frame = form.ids([text, blank])
    head = common_prefix(whole, frame)
    assert len(prompt) == 200
    assert np.array_equal(prompt[:head], whole[:head])
    assert np.array_equal(prompt[head:], whole[-(200 - head) :])
    assert np.array_equal(made.pairs.chosen.ids[0][:200], prompt)
    assert form.decode(made.pairs.chosen.ids[0][made.pairs.chosen.start[0] :]) == "Yes"


@pytest.mark.parametrize("kind", KINDS)
def test_long_answer_keeps_its_end(kind: str) -> None:
    made = encoded(kind, TextPair([user("Hi")], "Yes " * 300, "No"), length=230)
    form, ids = ChatFormat(tokenizer(kind)), made.pairs.chosen.ids[0]
    assert len(ids) == 230 and ids[-1] == form.eos and made.changes.answers.tolist() == [1]
    assert ("Yes " * 300).startswith(form.decode(ids[made.pairs.chosen.start[0] :]))


def test_special_tokens_in_text_are_not_special() -> None:
    pair = TextPair([user("<eos>Hi")], "Y<eos>es", "No")
    made = encoded("plain", pair, TextPair([user("Hi")], "Yes", "No"))
    assert made.changes.cleaned.tolist() == [True, False]
    assert np.array_equal(made.pairs.chosen.ids[0], made.pairs.chosen.ids[1])
    assert made.pairs.texts[0]["chosen"] == "Y<eos>es"


def test_refused_rows_are_left_out_and_counted() -> None:
    good = TextPair([user("Hi")], "Yes", "No")
    bad = TextPair([user("Hi"), user("Hello")], "Yes", "No")
    made = encoded("strict", good, bad, good)
    assert made.dropped == {"dropped for a prompt that the chat template refuses": 1}
    assert made.pairs.pairs.ids.tolist() == [0, 2]
    assert not encoded("chatml", good, bad, good).dropped
    assert not len(encoded("strict", bad).pairs)


def test_system_message_without_room_is_left_out() -> None:
    good = TextPair([user("Hi")], "Yes", "No")
    made = encoded("plain", TextPair([system("a" * 300), user("Hi")], "Yes", "No"), good)
    assert made.dropped == {"dropped for a prompt without room in dataset.max_prompt_length=200": 1}
    assert made.pairs.pairs.ids.tolist() == [1]


def test_order_of_pairs_changes_nothing() -> None:
    pairs = [TextPair([user("a" * n), assistant("b"), user("c" * n)], "Yes" * n, "No")
             for n in range(1, 120, 7)]  # fmt: skip
    there, back = encoded("chatml", *pairs).pairs, encoded("chatml", *pairs[::-1]).pairs
    for one, other in zip(there.chosen.ids, reversed(back.chosen.ids), strict=True):
        assert np.array_equal(one, other)


def test_pairs_are_chosen_over_rejected() -> None:
    made = encoded("plain", *[TextPair([user("Hi")], "Yes", "No")] * 3).pairs
    assert made.pairs.first.tolist() == [0, 2, 4] and made.pairs.second.tolist() == [1, 3, 5]
    assert made.pairs.label.tolist() == [1, 1, 1] and made.pairs.gap is None


def test_tokenizer_without_eos() -> None:
    with pytest.raises(BadInput, match="no end-of-sequence token"):
        ChatFormat(tokenizer("no eos"))


def test_broken_template() -> None:
    made = MAKERS["chatml"]()
    for template, words in (("{{ raise_exception('no') }}", "no"), ("nothing", "leaves out")):
        made.chat_template = template
        with pytest.raises(BadInput, match=words):
            ChatFormat(made)


def test_room_for_an_answer() -> None:
    with pytest.raises(BadInput, match=r"^max_length=11 .*max_prompt_length=10"):
        encoded("plain", TextPair([user("Hi")], "Yes", "No"), length=11, prompt=10)


@pytest.mark.parametrize(
    ("kind", "chosen", "rejected", "why"),
    [
        ("plain", "Yes<eos>", "Yes", "once special tokens are removed"),
        ("dated", "Yes\n", " Yes", "but for white space around them"),
        ("strict", "<eos> Yes", "Yes", "but for white space around them"),
        ("plain", "a" * 300 + "b", "a" * 300 + "c", "once they are cut to dataset.max_length=230"),
    ],
)
def test_answers_that_are_read_alike_are_dropped(
    kind: str, chosen: str, rejected: str, why: str
) -> None:
    pairs = [TextPair([user("Hi")], chosen, rejected), TextPair([user("Hi")], "Yes", "No")]
    form, made = ChatFormat(tokenizer(kind)), encoded(kind, *pairs, length=230)
    assert len(made.pairs) == 2, "two equal answers are a tie for those who compare them"
    found = distinct(made, form, 230)
    [(reason, count)] = found.dropped.items()
    assert why in reason and count == 1
    assert found.pairs.pairs.ids.tolist() == [1] and found.pairs.pairs.second.tolist() == [1]
    assert np.array_equal(found.pairs.chosen.ids[0], made.pairs.chosen.ids[1])
    assert not found.changes.cleaned.any() and not found.changes.answers.any()


def test_answers_that_differ_in_white_space_alone_differ_where_it_is_kept() -> None:
    made = encoded("plain", TextPair([user("Hi")], "Yes", "Yes "))
    assert len(distinct(made, ChatFormat(tokenizer("plain")), 400).pairs) == 1


CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"q": 'the "sea"'}}}
ASKS = [user("Hi"), {**assistant(""), "tool_calls": [CALL]}]
TOLD = [*ASKS, {"role": "tool", "name": "look_up", "content": "12 miles"}]


@pytest.mark.parametrize(
    ("kind", "prompt", "left"),
    [
        ("plainest", [system("Be kind."), user("Hi")], "system turns"),
        ("plainest", ASKS, "tool calls"),
        ("chatml", ASKS, "tool calls"),
        ("chatml", TOLD, "tool calls"),
        ("plainest", [user("Hi"), {"role": "tool", "content": "12 miles"}], "tool turns"),
        ("tools", TOLD, None),
        ("plainest", [user("Hi"), assistant("Hello"), user(" Sum? ")], None),
        ("dated", [system(" Be kind.\n"), user("\tHi\n")], None),
    ],
)
def test_what_a_template_leaves_out_is_found_in_every_row(
    kind: str, prompt: list[dict[str, Any]], left: str | None
) -> None:
    kept = TextPair([user("Hi")], "Yes", "No")
    made = encoded(kind, kept, TextPair(prompt, "Yes", "No"), kept)
    dropped = {} if left is None else {f"dropped for {left} that the chat template leaves out": 1}
    assert made.dropped == dropped and len(made.pairs) == 3 - len(dropped)


def test_a_template_for_tools_writes_calls_and_results() -> None:
    written = tokenizer("tools").decode(encoded("tools", TextPair(TOLD, "A", "B")).pairs.prompts[0])
    assert "look_up" in written and "sea" in written and "12 miles" in written


THOUGHT = "Let me see.\n</think>\n\n"


def test_thoughts_of_earlier_turns_that_are_left_out_are_counted() -> None:
    asked = [user("Hi"), assistant(f"<think>\n{THOUGHT}Hello"), user("Sum?")]
    pairs = [TextPair(asked, f"{THOUGHT}3", f"{THOUGHT}4"), TextPair([user("Hi")], *2 * [THOUGHT])]
    made = encoded("thinking", *pairs)
    assert made.changes.thoughts.tolist() == [True, False] and not made.dropped
    words = "prompts lost thoughts of earlier turns, which the chat template leaves out"
    assert made.changes.counts()[words] == 1


@pytest.mark.parametrize("opening", ["", "<think>\n", " <think>"])
def test_an_answer_goes_on_with_the_thought_that_its_prompt_opens(opening: str) -> None:
    pair = TextPair([user("Hi")], f"{opening}{THOUGHT}Yes", f"{opening}{THOUGHT}No")
    for kind in ("thinking", "empty thought"):
        own, made = tokenizer(kind), encoded(kind, pair).pairs
        asked = own.apply_chat_template(pair.prompt, add_generation_prompt=True, tokenize=False)
        assert own.decode(made.prompts[0]) == asked
        assert own.decode(made.chosen.ids[0]) == f"{asked}{THOUGHT}Yes{own.eos_token}"
        assert made.chosen.start[0] == len(made.prompts[0])


def test_answers_without_a_thought_where_the_prompt_opens_one() -> None:
    pairs = [TextPair([user("Hi")], "Yes", "No"), TextPair([user("Hi")], f"{THOUGHT}Yes", "No")]
    made = encoded("thinking", *pairs)
    assert not len(made.pairs)
    reason = "dropped for an answer that does not close the <think> of the chat template"
    assert made.dropped == {reason: 2}
    # a template whose finished answers have an empty thought closes it for them
    made, own = encoded("empty thought", pairs[0]), tokenizer("empty thought")
    written = own.apply_chat_template([user("Hi"), assistant("Yes")], tokenize=False)
    assert own.decode(made.pairs.chosen.ids[0]) == written


def test_bytes_that_are_no_text_are_decoded_without_the_prompt() -> None:
    own = MAKERS["stories260K"]()
    own.chat_template = CHATML  # whose line break is a byte to this tokenizer
    form = ChatFormat(own)
    broken = own.convert_tokens_to_ids(["<0xFF>", "<0xFE>"])
    assert set(form.decode(broken)) == {"\N{REPLACEMENT CHARACTER}"}
    prompt, whole = form.ids([form.prompt, f"{form.prompt}Yes"])
    assert form.decode(whole[len(prompt) :]) == "Yes"


RENDERED = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_raw_prompts_are_taken_as_they_are() -> None:
    own, ids = tokenizer("chatml"), np.zeros(1, dtype=np.uint64)
    pair = TextPair([user(RENDERED)], "Yes<|im_end|>", " No")
    made = encode([pair], ids, RawFormat(own), 400, 200)
    assert own.decode(made.pairs.prompts[0]) == RENDERED
    assert own.decode(made.pairs.chosen.ids[0]) == f"{RENDERED}Yes<|im_end|>"
    assert own.decode(made.pairs.rejected.ids[0]) == f"{RENDERED} No<|im_end|>"
    assert made.changes.cleaned.tolist() == [True] and not made.dropped
    answer = made.pairs.rejected.ids[0][made.pairs.rejected.start[0] :]
    assert RawFormat(own).decode(answer) == " No"
    # the same pair, given as messages
    wanted = encoded("chatml", TextPair([user("Hi")], "Yes", " No")).pairs
    assert np.array_equal(made.pairs.chosen.ids[0], wanted.chosen.ids[0])


@pytest.mark.parametrize("text", ["Hi", "<s>Hi"])
def test_a_raw_prompt_begins_as_its_tokenizer_begins_any_text(text: str) -> None:
    own, ids = tokenizer("stories260K"), np.zeros(1, dtype=np.uint64)
    made = encode([TextPair([user(text)], "Yes", "No")], ids, RawFormat(own), 400, 200)
    assert made.pairs.prompts[0].tolist() == own("Hi")["input_ids"]
