"""For the reference: docstrings as Markdown, when griffe has read them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).parents[1]))
from press.markup import as_markdown


class PlainDocstrings(griffe.Extension):
    """Makes Markdown of every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
