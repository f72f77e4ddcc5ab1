"""A language model as judge, behind any server that speaks OpenAI's protocol."""

import asyncio
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

import httpx
import openai
from aiolimiter import AsyncLimiter

from sympo.judges.replies import (
    KEY,
    NoAnswer,
    Refusal,
    api_key,
    failure,
    refusal,
    verdict,
)
from sympo.judges.templates import fill, read_template
from sympo.protocols.judging import Judge, JudgeStopped, OnVerdict, Tokens
from sympo.ranges import Range
from sympo.types import BadArgument, BadInput, Comparison, Verdict

CRITERIA = ("helpful", "harmless")
OPENAI = "https://api.openai.com/v1"
# after so many comparisons in a row without an answer the server counts as down
PATIENCE = 32
# the client's pool holds no more connections
AtOnce = Annotated[int, Range(least=1, most=1000)]
Price = Annotated[float, Range(least=0, most=10**6)]
# of English, for an estimate
CHARACTERS_PER_TOKEN = 4
# what a server's chat template may add to a prompt
TEMPLATE_TOKENS = 100


class Spending:
    """Tokens and dollars spent, and the dollars that requests in flight may come to.

    uncounted: replies without a possible token count, which are charged the most they can cost.
        works: whether the server has ever answered.
    """

    def __init__(self) -> None:
        self.prompt_tokens = self.completion_tokens = self.uncounted = 0
        self.dollars = self.reserved = 0.0
        self.works = False

    @property
    def note(self) -> str:
        """A note beside the dollars, if needed."""
        note = f" ({self.uncounted:,} replies without a usable token count, at their maximum)"
        return note * bool(self.uncounted)


@dataclass(frozen=True, kw_only=True)
class OpenAIJudge(Judge):
    """Asks a chat model which of two responses is better; the verdict is the mark at the end.

    base_url: None is OPENAI_BASE_URL, or else OpenAI's own. temperature, seed: None leaves them to
    the server. max_tokens: of the reply, reasoning included. prompts: a template file for each
    criterion, see `sympo.judges.templates`. concurrency: requests at once. requests_per_minute:
    evenly spaced, retries included. timeout: seconds without a sign of the server. max_retries: of
    a request that was turned away for now (429, 5xx), timed out or lost. price_per_million_*: USD.
    max_cost: USD that this judge may cost in one run of the program, not counting requests without
    an answer; replies without a possible token count are charged the most they can cost.

    The key of the verdicts holds the server, the model and the text of the templates.
    """

    identity: ClassVar[str] = "openai"
    outside_identity: ClassVar[frozenset[str]] = Judge.outside_identity | {
        "concurrency", "requests_per_minute", "timeout", "max_retries", "max_cost",
        "price_per_million_prompt_tokens", "price_per_million_completion_tokens",
    }  # fmt: skip

    base_url: str | None = None
    model: str = "gpt-4o-mini"
    temperature: Annotated[float, Range(least=0, most=2)] | None = 0.0
    max_tokens: Tokens = 256
    seed: Annotated[int, Range(least=-(2**63), most=2**63 - 1)] | None = 0
    prompts: dict[str, str] = field(
        default_factory=lambda: {name: f"prompts/{name}.txt" for name in CRITERIA}, hash=False
    )
    concurrency: AtOnce = 32
    requests_per_minute: Annotated[float, Range(above=0, most=10**6)] | None = None
    timeout: Annotated[float, Range(above=0, most=86_400)] = 60.0
    max_retries: Annotated[int, Range(least=0, most=1000)] = 6
    price_per_million_prompt_tokens: Price = 0.15
    price_per_million_completion_tokens: Price = 0.60
    max_cost: Annotated[float, Range(above=0, most=10**9)] | None = None

    _spending: Spending = field(default_factory=Spending, repr=False, compare=False)

    def check(self) -> None:
        super().check()
        if self.max_cost and not self.price(1, 1):
            raise BadArgument(
                "max_cost",
                self.max_cost,
                "needs prices: set price_per_million_prompt_tokens and "
                "price_per_million_completion_tokens",
            )
        if not self.model:
            raise BadArgument("model", "", "is empty: it must name a model of the server")
        self._check_server()
        named = isinstance(self.prompts, dict) and not set(CRITERIA) - set(self.prompts)
        if not named or not all(isinstance(path, str) for path in self.prompts.values()):
            raise BadArgument(
                "prompts", self.prompts, f"must name a file for {' and '.join(CRITERIA)}"
            )
        for name, path in self.prompts.items():
            read_template(f"prompts.{name}", path)

    def _check_server(self) -> None:
        try:
            url = urlsplit(self.server)
        except ValueError:
            url = urlsplit("")
        if url.username or url.password or url.query:
            # the value is not shown, as it may be a secret
            raise self._bad_server(
                "...",
                "is not allowed: it must not hold a user, password or query, which would end up in "
                f"results; a key is read from {KEY}",
            )
        if url.scheme not in ("http", "https") or not url.hostname:
            raise self._bad_server(
                self.server, "is not allowed: it must be like http://localhost:8000/v1"
            )
        key = api_key()
        if not key and self.server == OPENAI:
            raise BadArgument(
                "base_url",
                self.base_url,
                f"needs a key in the environment, {KEY}; or give a server of your own",
            )
        if not (key.isascii() and key.isprintable()):
            raise BadInput(f"{KEY} holds characters that a key cannot have")

    def _bad_server(self, value: str, rule: str) -> BadInput:
        if self.base_url:
            return BadArgument("base_url", value, rule)
        return BadInput(f"OPENAI_BASE_URL={value} {rule}")

    @property
    def server(self) -> str:
        """The address of the server."""
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")

    @property
    def spending(self) -> Spending:
        """The spending of this judge so far."""
        return self._spending

    @cached_property
    def templates(self) -> dict[str, str]:
        """The text of each criterion's template."""
        return {name: read_template(f"prompts.{name}", p) for name, p in self.prompts.items()}

    def key(self) -> dict[str, Any]:
        # the model even if it is the default, which may be another one day
        return {
            **super().key(),
            "base_url": self.server,
            "model": self.model,
            "prompts": self.templates,
        }

    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        if unknown := {one.criterion for one in comparisons} - set(self.templates):
            raise BadArgument(
                "prompts", self.prompts, f"lacks a file for the criterion {sorted(unknown)[0]}"
            )
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
    """One call of `compare`: a fixed number of workers, each taking one comparison at a time."""

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
        """Ask everything; raises JudgeStopped if some got no answer."""
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
                f"max_cost={self.judge.max_cost}: the next question may cost "
                f"${self.dear:.5f} and ${spent.dollars:.5f} are spent{spent.note}; "
                f"{self._unanswered()}; a higher max_cost, or another run, asks for these"
            )
        if self.answered < self.total:
            raise self._gave_up()

    def _client(self) -> openai.AsyncOpenAI:
        judge = self.judge
        hooks = []
        if judge.requests_per_minute:
            # one at a time, as a burst would exceed the rate; in a hook, to include retries
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
        """Wait until a request fits under the ceiling; False if it never will."""
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
        """limit: the most tokens that the prompt can have."""
        judge, spending = self.judge, self.judge.spending
        body = {
            "model": judge.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": judge.max_tokens,
            "temperature": judge.temperature,
            "seed": judge.seed,
        }
        try:
            # not chat.completions.create, which spends a seventh of the CPU time here on checking
            # types and building objects; the client also fails to read some replies
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
        # the most they can have been if the server does not count
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
        """Stop if the server refuses everything: it is not set up for this."""
        spending = self.judge.spending
        spending.works = spending.works or not isinstance(heard, Refusal)
        self.refused += isinstance(heard, Refusal)
        if self.refused >= PATIENCE and not spending.works:
            reason = f"{self.judge.server} refuses every request (last: {heard.raw})"
            raise JudgeStopped(f"{reason}: {self._unanswered()}", final=True)

    def _gave_up(self, final: bool = False) -> JudgeStopped:
        reason = f"{self._unanswered()} (last: {self.last}); run again to ask for these"
        if not self.judge.spending.works:
            reason = f"{self.judge.server} does not answer, is it running? {reason}"
        return JudgeStopped(reason, final)

    def _unanswered(self) -> str:
        return f"{self.total - self.answered:,} of {self.total:,} comparisons got no answer"
