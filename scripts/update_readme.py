"""Put what the scripts printed into the README, between its markers.

    python scripts/update_readme.py NAME=FILE [NAME=FILE ...]

The text of FILE goes between <!-- NAME --> and <!-- /NAME -->: a table as it is, anything else as preformatted text.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def fill(readme: str, name: str, text: str) -> str:
    """RETURNS (str): The README with the block of that name replaced."""
    text = text.strip()
    block = text if text.startswith(("|", "<!--", "#")) else f"```\n{text}\n```"
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    if not pattern.search(readme):
        raise SystemExit(f"README.md has no place for it: <!-- {name} --> ... <!-- /{name} -->")
    return pattern.sub(lambda match: f"{match[1]}\n{block}\n\n{match[2]}", readme)


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    readme = README.read_text(encoding="utf8")
    for argument in sys.argv[1:]:
        name, path = argument.split("=", 1)
        readme = fill(readme, name, Path(path).read_text(encoding="utf8"))
    README.write_text(readme, encoding="utf8")


if __name__ == "__main__":
    main()
