"""A language model as judge, behind any server that speaks OpenAI's protocol."""

import asyncio
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
import openai
from aiolimiter import AsyncLimiter

from sympo.judges.replies import (
    KEY,
    MOST_TOKENS,
    NoAnswer,
    Refusal,
    api_key,
    failure,
    refusal,
    verdict,
)
from sympo.judges.templates import fill, read_template
from sympo.protocols.judging import Judge, JudgeStopped, OnVerdict
from sympo.types import BadInput, Comparison, Verdict

CRITERIA = ("helpful", "harmless")
OPENAI = "https://api.openai.com/v1"
# so many comparisons one after another without an answer: the server is not there
PATIENCE = 32
# the client's pool holds no more connections
MOST_AT_ONCE = 1000
# of English, for an estimate
CHARACTERS_PER_TOKEN = 4
# what a server's chat template may add to a prompt
TEMPLATE_TOKENS = 100


_WITHIN: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "max_tokens": (1, MOST_TOKENS),
    "max_retries": (0, 1000),
    "concurrency": (1, MOST_AT_ONCE),
    "seed": (-(2**63), 2**63 - 1),
    "price_per_million_prompt_tokens": (0, 10**6),
    "price_per_million_completion_tokens": (0, 10**6),
}
_ABOVE_0 = {"timeout": 86_400, "requests_per_minute": 10**6, "max_cost": 10**9}


class Spending:
    """Tokens and dollars spent, and the dollars that requests in flight may come to.

    uncounted: replies whose tokens the server did not count, or counted to what cannot be; they
        cost the most that they can. works: whether the server was ever seen to answer.
    """

    def __init__(self) -> None:
        self.prompt_tokens = self.completion_tokens = self.uncounted = 0
        self.dollars = self.reserved = 0.0
        self.works = False

    @property
    def note(self) -> str:
        """What to say beside the dollars, if anything."""
        told = (
            f" ({self.uncounted:,} replies without a usable token count, at the most they can be)"
        )
        return told * bool(self.uncounted)


@dataclass(frozen=True, kw_only=True)
class OpenAIJudge(Judge):
    """Asks a chat model which of two answers is better; its verdict is the mark that it ends with.

    base_url: null is OPENAI_BASE_URL, or else OpenAI's own. temperature, seed: null leaves them to
    the server. max_tokens: of the judge's words and thoughts. prompts: a template file per
    criterion, see `sympo.judges.templates`. concurrency: requests at once. requests_per_minute:
    evenly spaced, retries included. timeout: seconds without a sign of the server. max_retries: of
    a request that is refused for now (429, 5xx), timed out or cut. price_per_million_*: USD.
    max_cost: USD that this judge may cost in one run of the program, without what requests that got
    no answer cost; tokens that the server does not count, or counts to what cannot be, cost the
    most that they can.

    The key of the verdicts holds the server, the model and the text of the templates.
    """

    not_asked: ClassVar[frozenset[str]] = Judge.not_asked | {
        "concurrency", "requests_per_minute", "timeout", "max_retries", "max_cost",
        "price_per_million_prompt_tokens", "price_per_million_completion_tokens",
    }  # fmt: skip

    base_url: str | None = None
    model: str = "gpt-4o-mini"
    temperature: float | None = 0.0
    max_tokens: int = 256
    seed: int | None = 0
    prompts: dict[str, str] = field(
        default_factory=lambda: {name: f"prompts/{name}.txt" for name in CRITERIA}, hash=False
    )
    concurrency: int = 32
    requests_per_minute: float | None = None
    timeout: float = 60.0
    max_retries: int = 6
    price_per_million_prompt_tokens: float = 0.15
    price_per_million_completion_tokens: float = 0.60
    max_cost: float | None = None

    _spending: Spending = field(default_factory=Spending, repr=False, compare=False)

    def check(self) -> None:
        super().check()
        self._check_numbers()
        if not self.model:
            raise BadInput("judge.model is empty: it must name a model of the server")
        self._check_server()
        named = isinstance(self.prompts, dict) and not set(CRITERIA) - set(self.prompts)
        if not named or not all(isinstance(path, str) for path in self.prompts.values()):
            raise BadInput(
                f"judge.prompts={self.prompts} must name a file for {' and '.join(CRITERIA)}"
            )
        for name, path in self.prompts.items():
            read_template(f"judge.prompts.{name}", path)

    def _check_numbers(self) -> None:
        for key, (low, high) in _WITHIN.items():
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                bounds = f"between {low} and {high}" if high < 1e4 else f"at least {low}"
                most = f" and at most {high:,}" if value > high >= 1e4 else ""
                raise BadInput(f"judge.{key}={value} is not allowed: it must be {bounds}{most}")
        for key, high in _ABOVE_0.items():
            value = getattr(self, key)
            if value is not None and not 0 < value <= high:
                most = f" and at most {high:,}" if value > high else ""
                raise BadInput(f"judge.{key}={value} is not allowed: it must be above 0{most}")
        if self.max_cost and not self.price(1, 1):
            raise BadInput(
                f"judge.max_cost={self.max_cost} needs prices: set "
                "judge.price_per_million_prompt_tokens and the one of completion tokens"
            )

    def _check_server(self) -> None:
        where = "judge.base_url" if self.base_url else "OPENAI_BASE_URL"
        try:
            url = urlsplit(self.server)
        except ValueError:
            url = urlsplit("")
        if url.username or url.password or url.query:
            # the value is not shown, which may be a secret
            raise BadInput(
                f"{where} is not allowed: it must hold no user, password or query, which would be "
                f"kept in results; a key is read from {KEY}"
            )
        if url.scheme not in ("http", "https") or not url.hostname:
            raise BadInput(
                f"{where}={self.server} is not allowed: it must be like http://localhost:8000/v1"
            )
        key = api_key()
        if not key and self.server == OPENAI:
            raise BadInput(
                f"judge=openai needs a key in the environment, {KEY}, or a server of your own, "
                "judge.base_url"
            )
        if not (key.isascii() and key.isprintable()):
            raise BadInput(f"{KEY} holds characters that a key cannot have")

    @property
    def server(self) -> str:
        """The address that is asked."""
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")

    @property
    def spending(self) -> Spending:
        """By this judge so far."""
        return self._spending

    @cached_property
    def templates(self) -> dict[str, str]:
        """The text of each criterion's template."""
        return {name: read_template(f"judge.prompts.{name}", p) for name, p in self.prompts.items()}

    def key(self) -> dict[str, Any]:
        return {**super().key(), "base_url": self.server, "prompts": self.templates}

    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        if unknown := {one.criterion for one in comparisons} - set(self.templates):
            raise BadInput(f"judge.prompts has no file for the criterion {sorted(unknown)[0]}")
        asyncio.run(_Round(self, comparisons, on_verdict).run())

    def known_to_work(self) -> None:
        self._spending.works = True

    def estimate(self, comparisons: Sequence[Comparison]) -> str:
        written = sum(len(fill(self.templates[one.criterion], one)) for one in comparisons)
        tokens, most = written // CHARACTERS_PER_TOKEN, len(comparisons) * self.max_tokens
        words = f"{len(comparisons):,} questions to ask, some {tokens:,} tokens"
        if not self.price(1, 1):
            return words
        dollars = f"${self.price(tokens, 0):.2f} to ${self.price(tokens, most):.2f}"
        return f"{words}, {dollars} at the set prices"

    def cost(self) -> str:
        spent = self.spending
        words = f"{spent.prompt_tokens + spent.completion_tokens:,} tokens"
        if not self.price(1, 1):
            return f"{words} so far"
        return f"{words}, ${spent.dollars:.4f} so far{spent.note}"

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """USD."""
        return (
            prompt_tokens * self.price_per_million_prompt_tokens
            + completion_tokens * self.price_per_million_completion_tokens
        ) / 1e6


class _Round:
    """One call of `compare`: a fixed number of workers that take one comparison after another."""

    def __init__(
        self, judge: OpenAIJudge, comparisons: Sequence[Comparison], on_verdict: OnVerdict
    ) -> None:
        self.judge, self.on_verdict = judge, on_verdict
        self.left = iter(enumerate(comparisons))
        self.total, self.answered, self.failed_in_a_row = len(comparisons), 0, 0
        self.in_flight, self.last, self.too_dear = 0, "", False
        self.refused, self.dear = 0, 0.0
        self.released = asyncio.Event()

    async def run(self) -> None:
        """Ask for all; raises JudgeStopped where some got no answer."""
        stopped: BaseException | None = None
        async with self._client() as client:
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(min(self.judge.concurrency, self.total)):
                        workers.create_task(self._work(client))
            except BaseExceptionGroup as several:
                stopped = several.exceptions[0]
        if stopped:
            raise stopped
        if self.too_dear:
            spent = self.judge.spending
            raise JudgeStopped(
                f"judge.max_cost={self.judge.max_cost}: the next question may cost "
                f"${self.dear:.5f} and ${spent.dollars:.5f} are spent{spent.note}; "
                f"{self._unanswered()}; a higher one, or another run, asks for these"
            )
        if self.answered < self.total:
            raise self._gave_up()

    def _client(self) -> openai.AsyncOpenAI:
        judge = self.judge
        hooks = []
        if judge.requests_per_minute:
            # one at a time, as a burst would exceed the rate; in a hook, so that it holds for
            # retries, too
            limiter = AsyncLimiter(1, 60 / judge.requests_per_minute)

            async def wait(_: Any) -> None:
                await limiter.acquire()

            hooks.append(wait)
        return openai.AsyncOpenAI(
            api_key=api_key() or "none",  # the client insists on one
            base_url=judge.server,
            timeout=judge.timeout,
            max_retries=judge.max_retries,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": hooks}),
        )

    async def _work(self, client: openai.AsyncOpenAI) -> None:
        for number, comparison in self.left:
            prompt = fill(self.judge.templates[comparison.criterion], comparison)
            # a token is at least a byte, so no request can hold more
            limit = len(prompt.encode()) + TEMPLATE_TOKENS
            most = self.judge.price(limit, self.judge.max_tokens)
            if not await self._reserve(most):
                return
            try:
                heard = await self._ask(client, prompt, limit)
            finally:
                self._release(most)
            self._hear(number, heard)

    async def _reserve(self, most: float) -> bool:
        """Wait until a request fits under the ceiling; False where it never will."""
        ceiling = math.inf if self.judge.max_cost is None else self.judge.max_cost
        spending = self.judge.spending
        while not self.too_dear and spending.dollars + spending.reserved + most > ceiling:
            if self.in_flight:
                self.released.clear()
                await self.released.wait()
            else:
                self.too_dear, self.dear = True, most
                self.released.set()
        if not self.too_dear:
            self.in_flight += 1
            spending.reserved += most
        return not self.too_dear

    def _release(self, most: float) -> None:
        self.in_flight -= 1
        self.judge.spending.reserved -= most
        self.released.set()

    async def _ask(self, client: openai.AsyncOpenAI, prompt: str, limit: int) -> Verdict | NoAnswer:
        """limit: the tokens that the prompt can be at most."""
        judge, spending = self.judge, self.judge.spending
        body = {
            "model": judge.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": judge.max_tokens,
            "temperature": judge.temperature,
            "seed": judge.seed,
        }
        try:
            # not chat.completions.create, which spends a seventh of the processor's time here on
            # checking types and building objects; nor read by the client, which fails on some
            reply = await client.post(
                "/chat/completions",
                body={key: value for key, value in body.items() if value is not None},
                cast_to=httpx.Response,
            )
        except openai.APIStatusError as error:
            return refusal(error, judge.model, judge.server, spending.works)
        except (openai.OpenAIError, ValueError) as error:
            return failure(error)
        heard = verdict(reply.content)
        if isinstance(heard, Verdict):
            self._spend(heard, limit)
        return heard

    def _spend(self, heard: Verdict, limit: int) -> None:
        judge, spending = self.judge, self.judge.spending
        spending.prompt_tokens += heard.prompt_tokens
        spending.completion_tokens += heard.completion_tokens
        spending.uncounted += not (heard.prompt_tokens and heard.completion_tokens)
        # where the server does not count, what they can have been
        spending.dollars += judge.price(
            heard.prompt_tokens or limit, heard.completion_tokens or judge.max_tokens
        )

    def _hear(self, number: int, heard: Verdict | NoAnswer) -> None:
        if isinstance(heard, Verdict):
            self.failed_in_a_row = 0
            self.answered += 1
            self.on_verdict(number, heard)
            self._count_refusals(heard)
            return
        self.last = heard.reason
        self.failed_in_a_row += 1
        if heard.final:
            raise JudgeStopped(f"{heard.reason}: {self._unanswered()}", final=True)
        if self.failed_in_a_row >= PATIENCE:
            raise self._gave_up(final=True)

    def _count_refusals(self, heard: Verdict) -> None:
        """A server that refuses all it is asked is not set up for this."""
        spending = self.judge.spending
        spending.works = spending.works or not isinstance(heard, Refusal)
        self.refused += isinstance(heard, Refusal)
        if self.refused >= PATIENCE and not spending.works:
            told = f"{self.judge.server} refuses every request (last: {heard.raw})"
            raise JudgeStopped(f"{told}: {self._unanswered()}", final=True)

    def _gave_up(self, final: bool = False) -> JudgeStopped:
        told = f"{self._unanswered()} (last: {self.last}); run again to ask for these"
        if not self.judge.spending.works:
            told = f"{self.judge.server} does not answer, is it running? {told}"
        return JudgeStopped(told, final)

    def _unanswered(self) -> str:
        return f"{self.total - self.answered:,} of {self.total:,} comparisons got no answer"
