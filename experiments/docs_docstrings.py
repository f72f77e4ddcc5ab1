"""Docstrings on the documentation's site: each explained name becomes a paragraph."""

import re
from typing import Any

from griffe import Extension, Object

# at the start of a line, `name:` or `one, other:`; a name in capitals is a word, such as Source
EXPLAINED = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*): ", re.MULTILINE)


class Paragraphs(Extension):
    """Starts a paragraph at each explained name."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = EXPLAINED.sub(r"\n**\1**: ", obj.docstring.value)
