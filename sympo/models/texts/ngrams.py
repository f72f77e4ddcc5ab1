"""Counts of the n-grams of words in many texts, in little memory.

An n-gram occurs in no more texts than its parts, so longer n-grams are sought only where their
parts are frequent. Texts are kept as numbers, and no n-gram is ever made a string: a string in a
dictionary takes about 150 bytes, and most n-grams of a corpus occur once.
"""

import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Ints = npt.NDArray[np.signedinteger[Any]]
# two or more letters, digits or underscores
WORD = re.compile(r"\b\w\w+\b")
# texts that are counted together
BLOCK = 1024
# instead of a word's number: a rare word, the end of a text
RARE, END = -1, -2


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.lower())


def ngrams(text: str, longest: int) -> list[tuple[str, ...]]:
    """All n-grams of a text, 1 <= n <= longest, sorted."""
    found = words(text)
    sizes = range(1, min(longest, len(found)) + 1)
    return sorted(tuple(found[i : i + n]) for n in sizes for i in range(len(found) - n + 1))


class Ngrams:
    """The n-grams, 1 <= n <= longest, that occur in at least `min_df` of some texts.

    Columns of counts are in the alphabetical order of the n-grams, as in scikit-learn. `len` is the
    number of columns.
    """

    def __init__(self, texts: Sequence[str], longest: int, min_df: int) -> None:
        blocks = self._numbered(texts, min_df)
        # of each length from 2 on, sorted: the number of the n-gram without its last word, times
        # the number of words, plus the number of its last word
        self._keys: list[Ints] = []
        numbers = blocks
        for length in range(1, longest):
            keys = self._frequent(blocks, numbers, length, min_df)
            if not len(keys):
                break
            self._keys.append(keys)
            if length + 1 < longest:
                numbers = [
                    self._longer(block, one, length, keys)
                    for block, one in zip(blocks, numbers, strict=True)
                ]
        self._columns = self._ordered()

    def __len__(self) -> int:
        return sum(map(len, self._columns))

    def counts(self, texts: Sequence[str]) -> "csr_matrix":
        """How often each n-gram occurs in each text; (len(texts), len(self)) float32."""
        from scipy.sparse import csr_matrix

        size, lengths = len(self), [np.zeros(1, dtype=np.int64)]
        columns, data = [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.float32)]
        for block in _blocks(texts, self._number):
            ends = block == END
            places, counts = np.unique(self._places(block, ends, size), return_counts=True)
            lengths.append(np.bincount(places // max(size, 1), minlength=int(ends.sum())))
            columns.append((places % max(size, 1)).astype(np.int32))
            data.append(counts.astype(np.float32))
        content = (
            np.concatenate(data),
            np.concatenate(columns),
            np.cumsum(np.concatenate(lengths)),
        )
        return csr_matrix(content, shape=(len(texts), size), dtype=np.float32)

    def _number(self, found: Iterable[str]) -> Iterable[int]:
        return map(self._numbers.get, found, repeat(RARE))

    def _places(self, block: Ints, ends: npt.NDArray[np.bool_], size: int) -> Ints:
        """Row * size + column of every n-gram of a block."""
        row, numbers, places = np.cumsum(ends) * size, block, []
        for length, columns in enumerate(self._columns, 1):
            if length > 1:
                numbers = self._longer(block, numbers, length - 1, self._keys[length - 2])
            known = np.flatnonzero(numbers >= 0)
            places.append(row[known] + columns[numbers[known]])
        return np.concatenate(places)

    def _numbered(self, texts: Sequence[str], min_df: int) -> list[Ints]:
        """Number the words that are in enough texts, alphabetically; returns the texts' blocks."""
        met: defaultdict[str, int] = defaultdict()
        met.default_factory = met.__len__
        blocks = list(_blocks(texts, partial(map, met.__getitem__)))
        occurs = np.zeros(len(met), dtype=np.int64)
        for block in blocks:
            inside = block >= 0
            each = np.cumsum(~inside)[inside] * len(met) + block[inside]
            occurs += np.bincount(_distinct(each) % max(len(met), 1), minlength=len(met))
        frequent = sorted(word for word, number in met.items() if occurs[number] >= min_df)
        self._numbers = {word: number for number, word in enumerate(frequent)}
        renamed = np.full(len(met) + 2, RARE, dtype=np.intc)
        renamed[END] = END
        renamed[[met[word] for word in frequent]] = np.arange(len(frequent))
        return [renamed[block] for block in blocks]

    def _frequent(
        self, blocks: Sequence[Ints], numbers: Sequence[Ints], length: int, min_df: int
    ) -> Ints:
        """The keys of the n-grams one longer than `length` that are in enough texts, sorted."""
        found, size = np.empty(sum(map(len, blocks)), dtype=np.int64), 0
        bound = (len(self._keys[-1]) if self._keys else len(self._numbers)) * len(self._numbers)
        for block, one in zip(blocks, numbers, strict=True):
            places, keys = self._candidates(block, one, length)
            # each text once
            each = _distinct(np.cumsum(block == END)[places] * bound + keys) % max(bound, 1)
            found[size : size + len(each)] = each
            size += len(each)
        found = found[:size]
        found.sort()
        # equal to the one so many places further: in as many texts
        enough = found[: max(size - min_df + 1, 0)]
        return _distinct(enough[enough == found[min_df - 1 :]])

    def _candidates(self, block: Ints, numbers: Ints, length: int) -> tuple[Ints, Ints]:
        """Where n-grams one longer than `length` begin whose parts are known, and their keys.

        numbers: of the n-grams of that length that begin at each place of the block; negative if
            there is none.
        """
        places = np.flatnonzero((numbers[:-1] >= 0) & (numbers[1:] >= 0))
        keys = numbers[places].astype(np.int64) * len(self._numbers) + block[places + length]
        return places, keys

    def _longer(self, block: Ints, numbers: Ints, length: int, known: Ints) -> Ints:
        """The numbers of the n-grams one longer than `length` at each place."""
        places, keys = self._candidates(block, numbers, length)
        found = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        made, right = np.full(len(block), RARE, dtype=np.intc), known[found] == keys
        made[places[right]] = found[right]
        return made

    def _ordered(self) -> list[Ints]:
        """The column of each n-gram, by length: an n-gram comes before those that it begins."""
        sizes = [np.ones(len(self._numbers), dtype=np.int64)]
        sizes += [np.ones(len(keys), dtype=np.int64) for keys in self._keys]
        begins = [keys // len(self._numbers) for keys in self._keys]
        for n in reversed(range(len(begins))):  # with all that it begins
            np.add.at(sizes[n], begins[n], sizes[n + 1])
        columns = [np.cumsum(sizes[0]) - sizes[0]]
        for begin, size in zip(begins, sizes[1:], strict=True):
            before = np.cumsum(size) - size
            first = np.searchsorted(begin, begin)  # of those with the same beginning
            columns.append(columns[-1][begin] + 1 + before - before[first])
        return columns


def _blocks(
    texts: Sequence[str], number: Callable[[Iterable[str]], Iterable[int]]
) -> Iterator[Ints]:
    """The texts as the numbers of their words, END after each."""
    for first in range(0, len(texts), BLOCK):
        block = array("i")
        for text in texts[first : first + BLOCK]:
            block.extend(number(words(text)))
            block.append(END)
        yield np.frombuffer(block, dtype=np.intc)


def _distinct(numbers: Ints) -> Ints:
    """Numbers of at least 0, sorted and each once; sorts its argument."""
    numbers.sort()
    return numbers[np.flatnonzero(np.diff(numbers, prepend=-1))]
