"""The embedded language: its texts, its true reward, and pairs of a policy's answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from sympo.data.gold_language import GoldLanguage
from sympo.noise import LengthDependent, SourceDependent
from sympo.types import BadInput

SETTINGS = {
    "tokens": 8, "topics": 3, "prompt_length": 6, "shortest_answer": 2, "longest_answer": 5,
    "stop": 0.3, "concentration": 0.5, "reward_scale": 2.0, "language_seed": 0,
    "corpus_texts": 4000, "train_pairs": 400, "validation_pairs": 50, "test_pairs": 60,
}  # fmt: skip


def language(**changes: object) -> GoldLanguage:
    return GoldLanguage(**{**SETTINGS, **changes})  # type: ignore[arg-type]


@dataclass
class Given:
    ids: Sequence[np.ndarray]


def uniform(prompts: Sequence[np.ndarray], seed: int) -> Given:
    """Stands for a policy that says any symbols, two to five, and mostly ends."""
    draw = np.random.default_rng(seed)
    answers = [draw.integers(8, size=draw.integers(2, 6)) for _ in prompts]
    return Given([np.append(a, 8) if len(a) < 5 else a for a in answers])


def test_corpus_walks_the_chain() -> None:
    own = language()
    corpus = own.corpus(None)
    counts = np.zeros((8, 8))
    for ids in corpus.ids:
        assert ids[-1] == 8 and ids[0] < 3 and 6 + 2 + 1 <= len(ids) <= 6 + 5 + 1
        np.add.at(counts, (ids[:-2], ids[1:-1]), 1)
    assert np.all(np.diag(counts) == 0)
    seen = counts / counts.sum(1, keepdims=True)
    assert np.abs(seen - own._chain).max() < 0.05
    # lengths: at least 2, then geometric, cut at 5
    lengths = np.array([len(ids) - 7 for ids in corpus.ids])
    assert abs((lengths == 2).mean() - 0.3) < 0.03
    assert abs((lengths == 5).mean() - 0.7**3) < 0.03


def test_reward_is_the_sum_of_what_symbols_are_worth_to_the_topic() -> None:
    own = language()
    worth = own._worth
    found = own.gold_reward([np.array([2, 7, 1])], [np.array([4, 4, 0, 8])])
    assert found[0] == pytest.approx(2 / np.sqrt(5) * (2 * worth[2, 4] + worth[2, 0]))


def test_pairs_are_labelled_by_bradley_terry() -> None:
    own = language(train_pairs=20000)
    made = own.preferences(0, None, uniform)
    train = made.train
    gap = train.pairs.gap
    assert gap is not None and len(train) == 20000 and np.all(train.pairs.label == 1)
    chosen = [ids[6:] for ids in train.chosen.ids]
    rejected = [ids[6:] for ids in train.rejected.ids]
    assert np.allclose(
        gap, own.gold_reward(train.prompts, chosen) - own.gold_reward(train.prompts, rejected)
    )
    # of pairs with |gap| near g, a share sigmoid(g) has the better answer chosen
    for low, high in ((0.4, 0.6), (1.4, 1.6)):
        near = (np.abs(gap) > low) & (np.abs(gap) < high)
        expected = np.mean(1 / (1 + np.exp(-np.abs(gap[near]))))
        error = 4 * np.sqrt(0.25 / near.sum())
        assert abs((gap[near] > 0).mean() - expected) < error


def test_noise_models_see_lengths_and_topics() -> None:
    made = language().preferences(0, None, uniform).train
    pairs = made.pairs
    assert pairs.length_gap is not None and pairs.source is not None
    symbols = [[len(text[side].split()) for text in made.texts] for side in ("chosen", "rejected")]
    np.testing.assert_array_equal(pairs.length_gap, np.subtract(*symbols))
    np.testing.assert_array_equal(pairs.source, [prompt[0] for prompt in made.prompts])
    for model in (LengthDependent(), SourceDependent()):
        rates = model.rates(0.3, pairs, seed=0)
        assert rates.mean() == pytest.approx(0.3) and len(set(rates)) == 3
    few = np.arange(0, 400, 7)
    part = made.take(few).pairs
    np.testing.assert_array_equal(part.length_gap, pairs.length_gap[few])
    np.testing.assert_array_equal(part.source, pairs.source[few])


def test_pairs_end_and_differ_and_share_their_prompt() -> None:
    made = language().preferences(0, None, uniform)
    for split, size in ((made.train, 400), (made.validation, 50), (made.test, 60)):
        assert len(split) == size == len(split.texts)
        for i in range(size):
            chosen, rejected = split.chosen.ids[i], split.rejected.ids[i]
            assert chosen[-1] == rejected[-1] == 8 and (chosen == 8).sum() == 1
            assert not np.array_equal(chosen, rejected)
            assert np.array_equal(chosen[:6], split.prompts[i])
            assert np.array_equal(rejected[:6], split.prompts[i])
        assert split.texts[0]["prompt"].split() == [f"s{s}" for s in split.prompts[0]]
    ids = np.concatenate([made.train.pairs.ids, made.validation.pairs.ids, made.test.pairs.ids])
    assert len(np.unique(ids)) == len(ids)


def test_seeds_draw_prompts_and_not_the_language() -> None:
    own = language()
    first, again, other = (own.preferences(seed, None, uniform).train for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first.prompts, again.prompts, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first.prompts, other.prompts, strict=True))
    assert language().fingerprint() == own.fingerprint()
    assert language(language_seed=1).fingerprint() != own.fingerprint()
    assert language(reward_scale=3.0).fingerprint() == own.fingerprint()  # a setting of its own


def test_settings_and_fingerprint_of_the_default_language() -> None:
    GoldLanguage().check()
    assert GoldLanguage().fingerprint() == "2b4aefe485c8aa2a"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"longest_answer": 1}, "^longest_answer=1 must be at least shortest_answer=2$"),
        ({"topics": 9}, "^topics=9 must be at most tokens=8$"),
        ({"concentration": 1e-6}, "^concentration=1e-06 is too small"),
        ({"stop": 0.0}, "^stop=0.0 is not allowed"),
    ],
)
def test_bad_settings(changes: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        language(**changes).check()


def test_policy_that_says_one_thing_is_refused() -> None:
    def constant(prompts: Sequence[np.ndarray], seed: int) -> Given:
        return Given([np.array([1, 2, 8]) for _ in prompts])

    with pytest.raises(BadInput, match="the train split has 0 of 400 pairs"):
        language().preferences(0, None, constant)


def test_vocabulary_is_its_own() -> None:
    vocabulary = language().vocabulary(None)
    assert (vocabulary.size, vocabulary.eos, vocabulary.pad) == (10, 8, 9)
    with pytest.raises(BadInput, match="model=tiny_lm"):
        language().vocabulary(object())


def test_text_and_symbols_are_each_others_inverse() -> None:
    own = language()
    ids = np.array([3, 0, 7])
    assert own.text(np.append(ids, 8), None) == "s3 s0 s7"
    assert np.array_equal(own.ids("s3 s0 s7"), ids) and len(own.ids("")) == 0
    for text in ("s8", "s-1", "x3", "s3 hello"):
        with pytest.raises(BadInput, match="s0 to s7"):
            own.ids(text)


def test_answers_given_as_texts_are_those_given_as_symbols() -> None:
    own = language()
    test = own.preferences(0, None, uniform).test
    dialogues = [[{"role": "user", "content": text["prompt"]}] for text in test.texts]
    sides = ([text[side] for text in test.texts] for side in ("chosen", "rejected"))
    read = own.answered(dialogues, *sides, None, 64)
    for side in ("chosen", "rejected"):
        wanted, found = getattr(test, side), getattr(read, side)
        assert all(map(np.array_equal, wanted.ids, found.ids))
        assert np.array_equal(wanted.start, found.start)


def test_no_prompt_is_in_two_splits() -> None:
    # 3 * 7^2 prompts at most: without care most test prompts would be training prompts
    own = language(prompt_length=3, train_pairs=60, validation_pairs=10, test_pairs=20)
    made = own.preferences(0, None, uniform)
    splits = [
        {p.tobytes() for p in split.prompts} for split in (made.train, made.validation, made.test)
    ]
    left_out = made.account.splits["test"].left_out
    assert left_out.keys() == {
        "dropped for a prompt of another split",
        "dropped for two equal responses of the reference policy",
    }
    assert left_out["dropped for a prompt of another split"] > 0
    assert not (splits[0] & splits[1] or splits[0] & splits[2] or splits[1] & splits[2])
    with pytest.raises(BadInput, match="a longer prompt_length"):
        language(prompt_length=2).preferences(0, None, uniform)


def test_labelled_pairs_need_no_policy_and_are_texts_of_the_language() -> None:
    language = GoldLanguage(test_pairs=300, train_pairs=300)
    pairs = language.labelled("test")
    assert len(pairs) == 300 and language.labelled("test") == pairs
    train = {pair.prompt[0]["content"] for pair in language.labelled("train")}
    for pair in pairs:
        assert pair.prompt[0]["content"] not in train and pair.chosen != pair.rejected
        for text in (pair.chosen, pair.rejected):
            walk = language.ids(f"{pair.prompt[0]['content']} {text}")
            assert (language._chain[walk[:-1], walk[1:]] > 0).all()
            assert language.shortest_answer <= len(text.split()) <= language.longest_answer
    shortest = [len(text.split()) == 6 for pair in pairs for text in (pair.chosen, pair.rejected)]
    assert np.mean(shortest) == pytest.approx(language.stop, abs=0.05)


def test_labels_can_follow_a_distortion_of_the_reward() -> None:
    reward = np.array([-4.0, -1.0, 0.0, 1.0, 3.0, 4.0])  # -2, -0.5, 0, 0.5, 1.5, 2 in units of 2
    assert language().label_reward(reward) is reward
    cubed = language(label_power=3).label_reward(reward)
    np.testing.assert_allclose(cubed, [-16, -0.25, 0, 0.25, 6.75, 16])
    peaked = language(label_peak=1).label_reward(reward)
    np.testing.assert_allclose(peaked, [-4, -1, 0, 1, 1, 0])  # 1.5 becomes 0.5, 2 becomes 0
    both = language(label_peak=1, label_power=2).label_reward(reward)
    np.testing.assert_allclose(both, [-8, -0.5, 0, 0.5, 0.5, 0])


def test_distorted_labels_leave_the_true_gap_as_it_is() -> None:
    plain = language().preferences(0, None, uniform).train
    peaked = language(label_peak=-10).preferences(0, None, uniform).train
    # far above the peak the order is reversed: better responses are mostly rejected
    gap = peaked.pairs.gap
    assert gap is not None and plain.pairs.gap is not None
    np.testing.assert_array_equal(np.abs(gap), np.abs(plain.pairs.gap))
    # what the labels follow is kept only if it is not the true reward
    assert peaked.pairs.score_gap is not None and plain.pairs.score_gap is None
    np.testing.assert_allclose(peaked.pairs.score_gap, -gap)
    assert np.mean(gap) < -0.3 and np.mean(plain.pairs.gap) > 0.3
