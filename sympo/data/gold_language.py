"""A small language whose true reward is known, so that win rates need no judge.

A text is a walk of a Markov chain over `tokens` symbols, started at one of the first `topics`. Its
first `prompt_length` symbols are the prompt, the rest the response, which stops with probability
`stop` after each symbol once it has `shortest_answer` of them. The reward of a response sums the
worth of its symbols to the topic, the first symbol of the prompt:

    r(x, a) = reward_scale / sqrt(longest_answer) * sum_t W[x_1, a_t],  W ~ N(0, 1) each.

A policy that was fine-tuned on such texts responds to prompts; pairs of its responses are labelled
by Bradley-Terry on r, or on a distortion of r: with s = reward_scale and u = min(r / s,
2 label_peak - r / s),

    f(r) = s sign(u) |u|^label_power.

label_power changes the magnitudes of r and keeps its order; rewards above s label_peak are turned
round, which changes the order. Win rates, gaps and correlations are always those of r.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np

from sympo import ranges, seeding
from sympo.numeric import sigmoid
from sympo.protocols.data import SamplePolicy
from sympo.protocols.judging import LabelledPair, Split
from sympo.ranges import Count, Positive, Range, Seed, Width
from sympo.types import (
    Account,
    BadArgument,
    BadInput,
    Encoded,
    Preferences,
    SplitAccount,
    TokenPairs,
    Vocabulary,
    chosen_over_rejected,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# the chain is a matrix of tokens x tokens, in memory and hashed for every cell
MOST_TOKENS = 4096
# how often prompts are drawn at most, until enough of them are in no other split
DRAWS_OF_PROMPTS = 20


@dataclass(frozen=True)
class _Continuations:
    ids: Sequence[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class GoldLanguage:
    """Settings of the language and of the pairs.

    language_seed: draws the chain and W; the cells' seeds draw prompts, responses and labels.
    concentration: of the Dirichlet rows of the chain; below 1, few symbols follow each symbol.
    corpus_texts: number of texts for supervised fine-tuning.
    temperature: of the Bradley-Terry labels, P(a over b) = sigmoid(temperature (f(a) - f(b))).
    label_power, label_peak: of f, the distorted reward that the labels follow; no peak if None.
    """

    identity: ClassVar[str] = "gold_language"
    outside_identity: ClassVar[frozenset[str]] = frozenset()
    holds: ClassVar[Literal["images", "texts"]] = "texts"
    from_policy: ClassVar[bool] = True
    on_rendered: ClassVar[str] = ""
    scored: ClassVar[bool] = False
    twice_judged: ClassVar[bool] = False
    sourced: ClassVar[bool] = True
    annotated: ClassVar[bool] = False
    beside_corpus: ClassVar[frozenset[str]] = frozenset(
        {
            *("reward_scale", "temperature", "label_power", "label_peak"),
            *("train_pairs", "validation_pairs", "test_pairs"),
        }
    )

    tokens: Annotated[int, Range(least=2, most=MOST_TOKENS)] = 32
    topics: Annotated[int, Range(least=1, most=MOST_TOKENS)] = 4
    prompt_length: Width = 6
    shortest_answer: Width = 6
    longest_answer: Width = 16
    stop: Annotated[float, Range(above=0, below=1)] = 0.15
    concentration: Positive = 0.3
    reward_scale: Positive = 3.0
    language_seed: Seed = 0
    corpus_texts: Count = 10_000
    train_pairs: Count = 4000
    validation_pairs: Count = 1000
    test_pairs: Count = 1000
    temperature: Positive = 1.0
    label_power: Positive = 1.0
    label_peak: Annotated[float, Range()] | None = None

    def check(self) -> None:
        """Raise BadArgument for settings that cannot work."""
        ranges.check(self)
        if self.longest_answer < self.shortest_answer:
            raise BadArgument(
                "longest_answer",
                self.longest_answer,
                f"must be at least shortest_answer={self.shortest_answer}",
            )
        if self.topics > self.tokens:
            raise BadArgument("topics", self.topics, f"must be at most tokens={self.tokens}")
        if not np.isfinite(self._chain).all():
            raise BadArgument(
                "concentration",
                self.concentration,
                "is too small: some symbol would be followed only by itself",
            )

    @property
    def max_prompt_length(self) -> int:
        return self.prompt_length

    @property
    def max_length(self) -> int:
        """Tokens of the longest prompt and response, the end of sequence included."""
        return self.prompt_length + self.longest_answer + 1

    def fingerprint(self) -> str:
        """A hash of the chain and of the worth of symbols."""
        digest = hashlib.blake2b(b"no prompt in two splits", digest_size=8)
        digest.update(self._chain.tobytes())
        digest.update(self._worth.tobytes())
        return digest.hexdigest()

    def vocabulary(self, tokenizer: "PreTrainedTokenizerBase | None") -> Vocabulary:
        """The symbols, an end of sequence and a padding token; no tokenizer is used."""
        if tokenizer is not None:
            raise BadInput(
                f"dataset=gold_language has {self.tokens} symbols, which no tokenizer knows: use "
                "model=tiny_lm with model.tokenizer_path=null"
            )
        return Vocabulary(size=self.tokens + 2, bos=None, eos=self.tokens, pad=self.tokens + 1)

    def check_tokenizer(self, tokenizer: "PreTrainedTokenizerBase | None") -> None:
        """Refuse any tokenizer."""
        self.vocabulary(tokenizer)

    @cached_property
    def _chain(self) -> np.ndarray:
        """P(next | symbol), (tokens, tokens); no symbol follows itself."""
        draw = seeding.generator(self.language_seed, "gold language", "chain")
        rows = draw.dirichlet(np.full(self.tokens, self.concentration), self.tokens)
        np.fill_diagonal(rows, 0)
        with np.errstate(invalid="ignore"):
            chain: np.ndarray = rows / rows.sum(1, keepdims=True)
        return chain

    @cached_property
    def _worth(self) -> np.ndarray:
        """W, (topics, tokens)."""
        draw = seeding.generator(self.language_seed, "gold language", "worth")
        return draw.standard_normal((self.topics, self.tokens))

    def gold_reward(
        self, prompts: Sequence[np.ndarray], answers: Sequence[np.ndarray]
    ) -> np.ndarray:
        """r(x, a) of each prompt and response, symbols only; (n,)."""
        # by counts, so that the order of a response's symbols cannot break a tie
        counts = np.array(
            [np.bincount(answer, minlength=self.tokens)[: self.tokens] for answer in answers]
        )
        topics = np.array([prompt[0] for prompt in prompts])
        scale = self.reward_scale / np.sqrt(self.longest_answer)
        reward: np.ndarray = scale * (counts * self._worth[topics]).sum(1)
        return reward

    @property
    def distorts(self) -> bool:
        """Whether labels follow another reward than the true one."""
        return self.label_power != 1 or self.label_peak is not None

    def label_reward(self, reward: np.ndarray) -> np.ndarray:
        """f(r), the reward that the labels follow; r itself by default; (n,)."""
        unit = reward / self.reward_scale
        if self.label_peak is not None:
            unit = np.minimum(unit, 2 * self.label_peak - unit)
        if self.label_power == 1:  # without rounding by division
            return reward if self.label_peak is None else self.reward_scale * unit
        distorted: np.ndarray = self.reward_scale * np.sign(unit) * np.abs(unit) ** self.label_power
        return distorted

    def _walk(self, draw: np.random.Generator, texts: int, length: int) -> np.ndarray:
        """Walks of the chain from a uniform topic; (texts, length)."""
        return self._walk_from(draw, draw.integers(self.topics, size=texts), length)

    def _walk_from(self, draw: np.random.Generator, first: np.ndarray, length: int) -> np.ndarray:
        """Walks of the chain from given symbols (n,), which they include; (n, length)."""
        steps = np.cumsum(self._chain, axis=1)
        walk = np.empty((len(first), length), np.int64)
        walk[:, 0] = first
        for t in range(1, length):
            passed = steps[walk[:, t - 1]] < draw.random((len(first), 1))
            walk[:, t] = np.minimum(passed.sum(1), self.tokens - 1)
        return walk

    def corpus(self, tokenizer: "PreTrainedTokenizerBase | None") -> Encoded:
        """Unlabelled texts of the language, each closed by the end of sequence."""
        draw = seeding.generator(self.language_seed, "gold language", "corpus")
        walks = self._walk(draw, self.corpus_texts, self.prompt_length + self.longest_answer)
        ends = self.prompt_length + self._lengths(draw, self.corpus_texts)
        ids = [np.append(walk[:end], self.tokens) for walk, end in zip(walks, ends, strict=True)]
        return Encoded(ids, np.full(self.corpus_texts, self.prompt_length))

    def _lengths(self, draw: np.random.Generator, texts: int) -> np.ndarray:
        lengths = self.shortest_answer - 1 + draw.geometric(self.stop, texts)
        return np.minimum(lengths, self.longest_answer)

    def labelled(self, split: Split) -> Sequence[LabelledPair]:
        """Pairs of the language's own texts, labelled by Bradley-Terry: no policy is needed."""
        all_splits = self.preferences(self.language_seed, None, self._continued)
        splits = {
            "train": all_splits.train,
            "validation": all_splits.validation,
            "test": all_splits.test,
        }
        made = splits[split]
        return [
            LabelledPair(
                int(number), [{"role": "user", "content": text["prompt"]}],
                text["chosen"], text["rejected"],
            )
            for number, text in zip(made.pairs.ids, made.texts, strict=True)
        ]  # fmt: skip

    def _continued(self, prompts: Sequence[np.ndarray], seed: int) -> "_Continuations":
        """A continuation of each prompt by the chain."""
        draw = seeding.generator(seed, "gold language", "continuations")
        last = np.array([prompt[-1] for prompt in prompts])
        walks = self._walk_from(draw, last, 1 + self.longest_answer)[:, 1:]
        lengths = self._lengths(draw, len(prompts))
        ids = [np.append(w[:n], self.tokens) for w, n in zip(walks, lengths, strict=True)]
        return _Continuations(ids)

    def preferences(
        self, seed: int, tokenizer: "PreTrainedTokenizerBase | None", sample: SamplePolicy
    ) -> Preferences:
        """Pairs of the reference policy's responses to fresh prompts, labelled by Bradley-Terry.

        sample(prompts, seed): one response of that policy to each prompt. Raises BadInput if too
        few prompts get two different responses.
        """
        sizes = {
            "train": self.train_pairs,
            "validation": self.validation_pairs,
            "test": self.test_pairs,
        }
        made: dict[str, TokenPairs] = {}
        accounts: dict[str, SplitAccount] = {}
        for number, name in enumerate(sizes):
            seen = {prompt.tobytes() for split in made.values() for prompt in split.prompts}
            made[name], accounts[name] = self._split(
                seed, name, sizes[name], number << 32, seen, sample
            )
        return Preferences(**made, account=Account(accounts))

    def _split(
        self, seed: int, name: str, pairs: int, first: int, seen: set[bytes], sample: SamplePolicy
    ) -> tuple[TokenPairs, SplitAccount]:
        """Pairs of one split; seen: the prompts of other splits, which it skips."""
        # some more than asked for, because pairs of equal responses are dropped
        drawn = pairs + pairs // 8 + 16
        draw = seeding.generator(seed, "gold language", name)
        walks: list[np.ndarray] = []
        walked = 0
        for _ in range(DRAWS_OF_PROMPTS):
            fresh = self._walk(draw, drawn, self.prompt_length)
            walked += len(fresh)
            walks += [walk for walk in fresh if walk.tobytes() not in seen]
            if len(walks) >= drawn:
                break
        passed = walked - len(walks)
        prompts = walks[:drawn]
        drawn = len(prompts)
        a, b = (
            sample(prompts, seeding.derive(seed, "gold language", name, side)).ids
            for side in ("a", "b")
        )
        kept = [i for i in range(drawn) if not np.array_equal(a[i], b[i])][:pairs]
        if len(kept) < pairs:
            raise BadInput(
                f"the {name} split has {len(kept)} of {pairs} pairs: of {drawn} prompts that no "
                f"other split has, {len(kept)} got two different responses; ask for fewer pairs, a "
                "longer prompt_length, or a policy that varies more after fine-tuning"
            )
        asked = kept[-1] + 1
        account = SplitAccount(
            asked + passed,
            pairs,
            {
                "dropped for a prompt of another split": passed,
                "dropped for two equal responses of the reference policy": asked - pairs,
            },
            {},
        )
        prompts = [prompts[i] for i in kept]
        a, b = [a[i] for i in kept], [b[i] for i in kept]
        rewards = self.gold_reward(prompts, a), self.gold_reward(prompts, b)
        gap = rewards[0] - rewards[1]
        followed = self.label_reward(rewards[0]) - self.label_reward(rewards[1])
        ids = first + np.arange(pairs, dtype=np.uint64)
        swapped = seeding.uniform(seed, "label", ids) >= sigmoid(self.temperature * followed)
        chosen = [b[i] if swapped[i] else a[i] for i in range(pairs)]
        rejected = [a[i] if swapped[i] else b[i] for i in range(pairs)]
        made = TokenPairs(
            pairs=chosen_over_rejected(
                ids,
                np.where(swapped, -gap, gap),
                np.where(swapped, -followed, followed) if self.distorts else None,
            ),
            chosen=self._after(prompts, chosen),
            rejected=self._after(prompts, rejected),
            prompts=prompts,
            texts=[
                {
                    "prompt": self.text(prompt, None),
                    "chosen": self.text(good, None),
                    "rejected": self.text(bad, None),
                }
                for prompt, good, bad in zip(prompts, chosen, rejected, strict=True)
            ],
        )
        return self.described(made), account

    def described(self, made: TokenPairs) -> TokenPairs:
        """Pairs of this data set with their length gap, in symbols, and their topic as source."""
        topics = np.array([prompt[0] for prompt in made.prompts], dtype=np.uint64)
        gap = made.chosen.lengths - made.rejected.lengths
        return replace(made, pairs=replace(made.pairs, length_gap=gap, source=topics))

    def _after(self, prompts: Sequence[np.ndarray], answers: Sequence[np.ndarray]) -> Encoded:
        """Responses after their prompts, each closed by an end of sequence, even if it was cut."""
        end = np.array([self.tokens])
        ids = [
            np.concatenate([prompt, answer[answer < self.tokens], end])
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        return Encoded(ids, np.full(len(ids), self.prompt_length))

    def answered(
        self,
        dialogues: Sequence[Sequence[Mapping[str, str]]],
        first: Sequence[str],
        second: Sequence[str],
        tokenizer: "PreTrainedTokenizerBase | None",
        max_length: int,
    ) -> TokenPairs:
        """Two responses to each prompt, given as texts, as token ids; none is cut."""
        self.vocabulary(tokenizer)
        prompts = [self.ids(dialogue[0]["content"]) for dialogue in dialogues]
        sides = [
            self._after(prompts, [self.ids(text) for text in side]) for side in (first, second)
        ]
        places = chosen_over_rejected(np.arange(len(prompts), dtype=np.uint64))
        return TokenPairs(places, sides[0], sides[1], prompts, [{}] * len(prompts))

    def ids(self, text: str) -> np.ndarray:
        """The symbols of a text; raises BadInput if it contains anything else."""
        words = text.split()
        for word in words:
            if not (word[0] == "s" and word[1:].isdigit() and int(word[1:]) < self.tokens):
                raise BadInput(
                    f"{word!r} is not a symbol of dataset=gold_language, which are s0 to "
                    f"s{self.tokens - 1}"
                )
        return np.array([int(word[1:]) for word in words], dtype=np.int64)

    def text(
        self, ids: Sequence[int] | np.ndarray, tokenizer: "PreTrainedTokenizerBase | None"
    ) -> str:
        """Symbols as words, `s0` to `s31`; the end of sequence is left out."""
        return " ".join(f"s{symbol}" for symbol in ids if symbol < self.tokens)

    def length(self, text: str) -> int:
        """The symbols of a response."""
        return len(text.split())
