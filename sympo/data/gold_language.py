"""A small language whose true reward is known, so that win rates need no judge.

Texts are walks of a Markov chain over `tokens` symbols from one of the first `topics` symbols. The
first `prompt_length` ones are a prompt, the rest an answer, which stops with probability `stop`
after each symbol once it has `shortest_answer` of them. The reward of an answer adds up what its
symbols are worth to the topic, the first symbol of the prompt:

    r(x, a) = reward_scale / sqrt(longest_answer) * sum_t W[x_1, a_t],  W ~ N(0, 1) each.

A policy that is fine-tuned on texts answers prompts; pairs of its answers are labelled by
Bradley-Terry on r.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np

from sympo import ranges, seeding
from sympo.numeric import sigmoid
from sympo.ranges import Count, Positive, Range, Seed, Width
from sympo.types import (
    Account,
    BadInput,
    Encoded,
    Preferences,
    SplitAccount,
    TokenPairs,
    Vocabulary,
    chosen_over_rejected,
)

# its chain is a matrix of them all, in memory and hashed for every cell
MOST_TOKENS = 4096


class Answers(Protocol):
    """What a sampler returns: one answer per prompt."""

    @property
    def ids(self) -> Sequence[np.ndarray]: ...


Sampler = Callable[[Sequence[np.ndarray], int], Answers]
# a split is drawn again, so often at most, until it has prompts enough that no other split has
DRAWS_OF_PROMPTS = 20


@dataclass(frozen=True, kw_only=True)
class GoldLanguage:
    """Settings of the language and of the pairs.

    language_seed: draws the chain and W; the cells' seeds draw prompts, answers and labels.
    concentration: of the Dirichlet rows of the chain; below 1, few symbols follow each symbol.
    corpus_texts: what supervised fine-tuning sees. temperature: of the Bradley-Terry labels,
        P(a over b) = sigmoid(temperature (r(a) - r(b))).
    beside_corpus: settings that the corpus does not depend on.
    """

    from_policy: ClassVar[bool] = True
    on_rendered: ClassVar = ""
    scored: ClassVar[bool] = False
    beside_corpus: ClassVar = frozenset(
        {"reward_scale", "temperature", "train_pairs", "validation_pairs", "test_pairs"}
    )

    tokens: Annotated[int, Range(least=2, most=MOST_TOKENS)]
    topics: Annotated[int, Range(least=1, most=MOST_TOKENS)]
    prompt_length: Width
    shortest_answer: Width
    longest_answer: Width
    stop: Annotated[float, Range(above=0, below=1)]
    concentration: Positive
    reward_scale: Positive
    language_seed: Seed
    corpus_texts: Count
    train_pairs: Count
    validation_pairs: Count
    test_pairs: Count
    temperature: Positive = 1.0

    def check(self) -> None:
        """Refuse settings that cannot work."""
        ranges.check(self)
        if self.longest_answer < self.shortest_answer:
            raise BadInput(
                f"dataset.longest_answer={self.longest_answer} must be at least "
                f"dataset.shortest_answer={self.shortest_answer}"
            )
        if self.topics > self.tokens:
            raise BadInput(
                f"dataset.topics={self.topics} must be at most dataset.tokens={self.tokens}"
            )
        if not np.isfinite(self._chain).all():
            raise BadInput(
                f"dataset.concentration={self.concentration} is too small: some symbol would be "
                "followed by itself alone"
            )

    @property
    def max_prompt_length(self) -> int:
        return self.prompt_length

    @property
    def max_length(self) -> int:
        """Tokens of the longest prompt and answer, the end of sequence included."""
        return self.prompt_length + self.longest_answer + 1

    def fingerprint(self) -> str:
        """A hash of the language, which the settings determine, and of how prompts are split."""
        digest = hashlib.blake2b(b"no prompt in two splits", digest_size=8)
        digest.update(self._chain.tobytes())
        digest.update(self._worth.tobytes())
        return digest.hexdigest()

    def vocabulary(self, tokenizer: Any) -> Vocabulary:
        """The symbols, an end of sequence and a padding token; no tokenizer is used."""
        if tokenizer is not None:
            raise BadInput(
                f"dataset=gold_language has {self.tokens} symbols of its own, which no tokenizer "
                "knows: use model=tiny_lm with model.tokenizer_path=null"
            )
        return Vocabulary(size=self.tokens + 2, bos=None, eos=self.tokens, pad=self.tokens + 1)

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuse any tokenizer."""
        self.vocabulary(tokenizer)

    @cached_property
    def _chain(self) -> np.ndarray:
        """P(next | symbol), (tokens, tokens); no symbol follows itself."""
        draw = seeding.generator(self.language_seed, "gold language", "chain")
        rows = draw.dirichlet(np.full(self.tokens, self.concentration), self.tokens)
        np.fill_diagonal(rows, 0)
        with np.errstate(invalid="ignore"):
            return rows / rows.sum(1, keepdims=True)

    @cached_property
    def _worth(self) -> np.ndarray:
        """W, (topics, tokens)."""
        draw = seeding.generator(self.language_seed, "gold language", "worth")
        return draw.standard_normal((self.topics, self.tokens))

    def gold_reward(
        self, prompts: Sequence[np.ndarray], answers: Sequence[np.ndarray]
    ) -> np.ndarray:
        """r(x, a) of each prompt and answer, symbols only; (n,)."""
        # by counts, so that the order of an answer's symbols cannot break a tie
        counts = np.array(
            [np.bincount(answer, minlength=self.tokens)[: self.tokens] for answer in answers]
        )
        topics = np.array([prompt[0] for prompt in prompts])
        scale = self.reward_scale / np.sqrt(self.longest_answer)
        return scale * (counts * self._worth[topics]).sum(1)

    def _walk(self, draw: np.random.Generator, texts: int, length: int) -> np.ndarray:
        """Walks of the chain from a uniform topic; (texts, length)."""
        steps = np.cumsum(self._chain, axis=1)
        walk = np.empty((texts, length), np.int64)
        walk[:, 0] = draw.integers(self.topics, size=texts)
        for t in range(1, length):
            passed = steps[walk[:, t - 1]] < draw.random((texts, 1))
            walk[:, t] = np.minimum(passed.sum(1), self.tokens - 1)
        return walk

    def corpus(self, tokenizer: Any) -> Encoded:
        """Unlabelled texts of the language, each closed by the end of sequence."""
        draw = seeding.generator(self.language_seed, "gold language", "corpus")
        walks = self._walk(draw, self.corpus_texts, self.prompt_length + self.longest_answer)
        lengths = self.shortest_answer - 1 + draw.geometric(self.stop, self.corpus_texts)
        ends = self.prompt_length + np.minimum(lengths, self.longest_answer)
        ids = [np.append(walk[:end], self.tokens) for walk, end in zip(walks, ends, strict=True)]
        return Encoded(ids, np.full(self.corpus_texts, self.prompt_length))

    def preferences(self, seed: int, tokenizer: Any, sample: Sampler) -> Preferences:
        """Pairs of answers that the policy gives to fresh prompts, labelled by Bradley-Terry.

        sample(prompts, seed): one answer of the policy to each prompt.
        """
        made: dict[str, TokenPairs] = {}
        accounts: dict[str, SplitAccount] = {}
        for number, name in enumerate(("train", "validation", "test")):
            seen = {prompt.tobytes() for split in made.values() for prompt in split.prompts}
            size = getattr(self, f"{name}_pairs")
            made[name], accounts[name] = self._split(seed, name, size, number << 32, seen, sample)
        return Preferences(**made, account=Account(accounts))

    def _split(
        self, seed: int, name: str, pairs: int, first: int, seen: set[bytes], sample: Sampler
    ) -> tuple[TokenPairs, SplitAccount]:
        """Pairs of one split; seen: the prompts of other splits, which it leaves out."""
        # some more than asked for, because pairs of equal answers are passed over
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
                f"other split has, {len(kept)} got two different answers; ask for fewer pairs, a "
                "longer dataset.prompt_length, or a policy that varies more after fine-tuning"
            )
        asked = kept[-1] + 1
        account = SplitAccount(
            asked + passed,
            pairs,
            {
                "dropped for a prompt of another split": passed,
                "dropped for two equal answers of the policy": asked - pairs,
            },
            {},
        )
        prompts = [prompts[i] for i in kept]
        a, b = [a[i] for i in kept], [b[i] for i in kept]
        gap = self.gold_reward(prompts, a) - self.gold_reward(prompts, b)
        ids = first + np.arange(pairs, dtype=np.uint64)
        swapped = seeding.uniform(seed, "label", ids) >= sigmoid(self.temperature * gap)
        chosen = [b[i] if swapped[i] else a[i] for i in range(pairs)]
        rejected = [a[i] if swapped[i] else b[i] for i in range(pairs)]
        made = TokenPairs(
            pairs=chosen_over_rejected(ids, np.where(swapped, -gap, gap)),
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
        return made, account

    def _after(self, prompts: Sequence[np.ndarray], answers: Sequence[np.ndarray]) -> Encoded:
        """Answers behind their prompts, closed by the end of sequence also where it was cut."""
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
        tokenizer: Any,
        max_length: int,
    ) -> TokenPairs:
        """Two answers to each prompt, given as texts, as a model reads them; none is cut."""
        self.vocabulary(tokenizer)
        prompts = [self.ids(dialogue[0]["content"]) for dialogue in dialogues]
        sides = [
            self._after(prompts, [self.ids(text) for text in side]) for side in (first, second)
        ]
        places = chosen_over_rejected(np.arange(len(prompts), dtype=np.uint64))
        return TokenPairs(places, sides[0], sides[1], prompts, [{}] * len(prompts))

    def ids(self, text: str) -> np.ndarray:
        """The symbols of a text; BadInput where it holds something else."""
        words = text.split()
        for word in words:
            if not (word[0] == "s" and word[1:].isdigit() and int(word[1:]) < self.tokens):
                raise BadInput(
                    f"{word!r} is no symbol of dataset=gold_language, which are s0 to "
                    f"s{self.tokens - 1}"
                )
        return np.array([int(word[1:]) for word in words], dtype=np.int64)

    def text(self, ids: np.ndarray, tokenizer: Any) -> str:
        """Symbols as words, `s0` to `s31`; the end of sequence is left out."""
        return " ".join(f"s{symbol}" for symbol in ids if symbol < self.tokens)
