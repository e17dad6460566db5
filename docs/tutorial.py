"""Do what docs/tutorial.md says, in a temporary folder, and make its pictures, docs/tutorial/*.png.

python docs/tutorial.py     # exits with 1 where what is printed is not what the page shows
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
from press.pictures import reduce  # noqa: E402
from press.walk import same, walk  # noqa: E402


def main() -> int:
    """Walk through the page; return the exit status."""
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for block, shown, printed in walk(text, Path(folder)):
            if not same(shown, printed):
                print(f"line {block.line} shows\n{shown}\nbut this was printed:\n{printed}", file=sys.stderr)
                wrong = 1
        (DOCS / "tutorial").mkdir(exist_ok=True)
        for name in re.findall(r"\(tutorial/([\w-]+\.png)\)", text):
            shutil.copy(Path(folder, name), DOCS / "tutorial" / name)
            reduce(DOCS / "tutorial" / name)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
