"""Reader of GloVe's text files, and of word2vec's text and binary files (fastText's .vec is word2vec text).

Our own, since gensim does not read words that hold spaces, tabs or byte order marks, and takes five times as long.
"""

import bz2
import gzip
import lzma
import re
import zipfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy
from numpy.typing import NDArray

from ...errors import Errors

Words = list[str]
Floats = NDArray[numpy.float32]

_BLOCK = 500  # Lines that are parsed in one go.
_CHUNK = 1 << 20
_UNPACKERS: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


def open_packed(path: Path, stack: ExitStack) -> IO[bytes]:
    """Open a file that may be packed by gzip, bzip2, xz or zip. Its first bytes tell, not its name.

    RAISES (ValueError): When a zip archive does not hold exactly one file.
    """
    with path.open("rb") as file:
        magic = file.read(6)
    if zipfile.is_zipfile(path):
        archive = stack.enter_context(zipfile.ZipFile(path))
        inside = [name for name in archive.namelist() if not name.endswith("/")]
        if len(inside) != 1:
            raise ValueError(Errors.T213.format(path=path, found=inside))
        return stack.enter_context(archive.open(inside[0]))
    unpack = next((unpack for start, unpack in _UNPACKERS.items() if magic.startswith(start)), None)
    return stack.enter_context(path.open("rb") if unpack is None else unpack(path))


def read_word2vec(stream: IO[bytes], path: Path) -> tuple[Words, Floats]:
    """Read all of a file.

    RETURNS (Tuple[List[str], Floats2d]): Words in the order of the file, doubles included, and their rows.
    RAISES (ValueError): When there are no vectors, or lines that are none; with the line.
    """
    first = stream.readline().removeprefix(b"\xef\xbb\xbf")
    header = first.split()
    if len(header) == 2 and all(part.isdigit() for part in header):
        count, width = int(header[0]), int(header[1])
        second = stream.readline()
        if second and count and width and _is_binary(second):
            return _read_binary(second, stream, count, width, path)
        words, rows = _read_text(chain([second], stream), width, path, at=2)
        if len(words) != count:
            problem = f"its first line promises {count} words, but there are {len(words)}"
            raise ValueError(Errors.T205.format(path=path, error=problem))
        return words, rows
    return _read_text(chain([first], stream), max(1, len(header) - 1), path, at=1)


def _is_binary(row: bytes) -> bool:
    """Whether what follows the header is no text. The bytes of float32 numbers are rarely text, and never end in one
    number more."""
    try:
        row.decode("utf8")
        float((row.split() or [b""])[-1])
    except UnicodeDecodeError:
        return True
    except ValueError:
        return any(byte < 9 or 13 < byte < 32 for byte in row)
    return False


def _read_text(lines: Iterable[bytes], width: int, path: Path, at: int) -> tuple[Words, Floats]:
    """Read lines of a word and `width` numbers, block by block.

    width (int): Numbers in a row. (Without a header, that of the first line, in which the word has no spaces.)
    at (int): Number of the first of these lines.
    """
    words: Words = []
    rows, lines = bytearray(), iter(lines)  # A bytearray grows in place: no second copy of the table.
    while block := list(islice(lines, _BLOCK)):
        _add_block(block, width, path, at, words, rows)
        at += len(block)
    return words, numpy.frombuffer(rows, dtype=numpy.float32).reshape(len(words), width)


def _add_block(block: list[bytes], width: int, path: Path, at: int, words: Words, rows: bytearray) -> None:
    """Split lines at their first space, and parse all numbers of a block at once. Lines that this does not fit are
    taken one by one."""
    numbers = []
    for i, line in enumerate(block, start=at):
        line = line.strip(b"\r\n").replace(b"\t", b" ").rstrip(b" ")
        if not line:
            continue
        word, _, rest = line.partition(b" ")
        if rest.count(b" ") != width - 1 or b"  " in rest:
            word, *parts = line.rsplit(None, width)
            # "iphone 4" is a word with a space, "dog 0.25" has a number too many.
            if len(parts) < width or re.search(rb"\s-?\d*\.\d", word):
                _refuse(path, i, f"it takes a word and {width} numbers", line)
            rest = b" ".join(parts)
        numbers.append((i, rest))
        try:
            words.append(word.decode("utf8"))
        except UnicodeDecodeError:
            _refuse(path, i, "the word is not UTF-8", line)
    rows += _parse(numbers, width, path).tobytes()


def _parse(numbers: list[tuple[int, bytes]], width: int, path: Path) -> Floats:
    """All numbers of a block in one call; line by line where that finds a fault."""
    found = _floats(b" ".join(rest for _, rest in numbers))
    if len(found) == len(numbers) * width and numpy.isfinite(found).all():
        return found
    for i, rest in numbers:
        row = _floats(rest)
        if len(row) != width:
            _refuse(path, i, f"it takes a word and {width} numbers", rest)
        if not numpy.isfinite(row).all():
            raise ValueError(Errors.T212.format(path=path, where=f"line {i}"))
    raise ValueError(Errors.T205.format(path=path, error=f"the lines from {numbers[0][0]} on are no numbers"))


def _floats(text: bytes) -> Floats:
    try:
        with numpy.errstate(over="ignore"):  # To infinity, which is refused.
            return numpy.array(text.split(), dtype=numpy.float32)
    except ValueError:
        return numpy.zeros(0, dtype=numpy.float32)


def _refuse(path: Path, line: int, wanted: str, found: bytes) -> None:
    shown = found[:60].decode("utf8", errors="replace")
    raise ValueError(Errors.T205.format(path=path, error=f"line {line}: {wanted}. Found: {shown!r}"))


def _read_binary(begin: bytes, stream: IO[bytes], count: int, width: int, path: Path) -> tuple[Words, Floats]:
    """Read a word, a space, and the bytes of a row, `count` times.

    begin (bytes): What has been read after the header.
    """
    words: Words = []
    rows, size, at, ahead = bytearray(), 4 * width, 0, begin
    while len(words) < count:
        end = ahead.find(b" ", at)
        if end < 0 or len(ahead) < end + 1 + size:
            more = stream.read(_CHUNK + size)
            if not more:
                problem = f"it ends after {len(words)} of {count} words"
                raise ValueError(Errors.T205.format(path=path, error=problem))
            ahead, at = ahead[at:] + more, 0
            continue
        try:
            words.append(ahead[at:end].lstrip(b"\r\n").decode("utf8"))
        except UnicodeDecodeError as error:
            problem = f"word {len(words) + 1} is not UTF-8"
            raise ValueError(Errors.T205.format(path=path, error=problem)) from error
        at = end + 1 + size
        rows += ahead[end + 1 : at]
    if ahead[at:].strip() or stream.read(_CHUNK).strip():
        raise ValueError(Errors.T205.format(path=path, error=f"it goes on after the {count} words that it promises"))
    return words, numpy.frombuffer(rows, dtype="<f4").reshape(count, width)
