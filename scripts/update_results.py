"""Put what the demo printed into docs/results.md, between its markers.

    python scripts/update_results.py NAME=FILE [NAME=FILE ...]

The text of FILE goes between <!-- NAME --> and <!-- /NAME -->: a table as it is, anything else as preformatted text.
"""

import re
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results.md"


def fill(page: str, name: str, text: str) -> str:
    """RETURNS (str): The page with the block of that name replaced."""
    text = text.strip()
    block = text if text.startswith(("|", "<!--", "#")) else f"```\n{text}\n```"
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"{PAGE.name} has no place for it: <!-- {name} --> ... <!-- /{name} -->")
    return pattern.sub(lambda match: f"{match[1]}\n{block}\n\n{match[2]}", page)


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    text = PAGE.read_text(encoding="utf8")
    for argument in sys.argv[1:]:
        name, path = argument.split("=", 1)
        text = fill(text, name, Path(path).read_text(encoding="utf8"))
    PAGE.write_text(text, encoding="utf8")


if __name__ == "__main__":
    main()
