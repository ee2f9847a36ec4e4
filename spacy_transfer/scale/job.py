"""A job: which rows go into which shard, which shards are done, and by what the job is known again."""

import contextlib
import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy
from spacy import util
from spacy.vocab import Vocab

from ..errors import Errors
from ..integrity import read_checked, write_checked, write_whole
from ..types import Config
from .input_files import InputFile
from .input_rows import Fields, Row, read_rows
from .outputs import Format

WORK = ".job"
"""Folder in the output for what the job needs: its file, files that are being written, errors by shard."""
ERRORS = "errors.jsonl"


class Part(NamedTuple):
    """Rows of one file that go into a shard.

    file (int): Its index.
    number (int), offset (int): Of the first row; see `input_rows.Row`.
    size (int): How many.
    """

    file: int
    number: int
    offset: int
    size: int


@dataclass(frozen=True)
class Settings:
    """All that the output depends on, beside pipeline and input files.

    format (str), columns (Sequence[str]): Of the output.
    shard_size (int): Rows in a shard.
    """

    format: Format = "jsonl"
    columns: Sequence[str] = ()
    fields: Fields = Fields()
    shard_size: int = 10_000


@dataclass(frozen=True)
class Job:
    """What is to be done. It stands in a file in the output folder, so that every process can read it.

    folder (Path): The output.
    pipeline (str): Name or folder.
    known_by (Dict[str, str]): Fingerprints of what the output depends on.
    shards (List[List[Part]]): What goes into each.
    """

    folder: Path
    pipeline: str
    known_by: dict[str, str]
    settings: Settings
    files: list[InputFile]
    shards: list[list[Part]]

    @property
    def work(self) -> Path:
        return self.folder / WORK

    def shard(self, number: int) -> Path:
        """RETURNS (Path): The file of a shard, which is there when the shard is done."""
        return self.folder / f"shard-{number:06d}.{self.settings.format}"

    def errors(self, number: int) -> Path:
        """RETURNS (Path): The file of the rows of a shard that broke, which is there if there are any."""
        return self.work / f"errors-{number:06d}.jsonl"

    def count(self, number: int) -> int:
        """RETURNS (int): Rows that go into a shard."""
        return sum(part.size for part in self.shards[number])

    def rows(self, number: int, vocab: Vocab) -> Iterator[Row]:
        """YIELDS (Row): The rows of a shard."""
        for part in self.shards[number]:
            file, found = self.files[part.file], 0
            for row in read_rows(file, self.settings.fields, vocab, part.number, part.offset, part.size):
                found += 1
                yield row
            if found != part.size:
                raise ValueError(Errors.T962.format(file=file.url, was=part.size, now=found))

    def todo(self) -> list[int]:
        """RETURNS (List[int]): Numbers of the shards that are not there."""
        there = {path.name for path in self.folder.iterdir()}
        return [number for number in range(len(self.shards)) if self.shard(number).name not in there]

    def save(self) -> None:
        """Write the file of the job."""
        self.work.mkdir(parents=True, exist_ok=True)
        found = {key: value for key, value in asdict(self).items() if key != "folder"}
        _save(self.work / "job.json", found)

    def gather_errors(self) -> int:
        """Write the rows that broke into one file, in their order.

        RETURNS (int): How many there are.
        """
        undone = set(self.todo())
        done = (self.errors(number) for number in range(len(self.shards)) if number not in undone)
        lines = b"".join(path.read_bytes() for path in done if path.exists())
        if lines or (self.folder / ERRORS).exists():
            try:
                write_whole(self.folder / ERRORS, lines)
            except OSError as error:
                raise ValueError(Errors.T968.format(path=self.folder / ERRORS, error=error)) from error
        return lines.count(b"\n")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder, and keep a second command out of it. The lock ends with the process, however that ends.

    RAISES (ValueError): When another command writes there, something else is there, or nothing can be written.
    """
    from filelock import FileLock, Timeout

    # One look: a second command may make WORK at this moment.
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.is_file() or (there and WORK not in there):
        raise ValueError(Errors.T970.format(folder=folder))
    try:
        (folder / WORK).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / WORK / "lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise ValueError(Errors.T978.format(folder=folder)) from error
    except OSError as error:
        raise ValueError(Errors.T968.format(path=folder, error=error)) from error
    try:
        yield
    finally:
        lock.release()


def _save(path: Path, found: Config) -> None:
    try:
        write_checked(path, json.dumps(found).encode())
    except OSError as error:
        raise ValueError(Errors.T968.format(path=path, error=error)) from error


def load_job(folder: Path) -> Job | None:
    """RETURNS (Optional[Job]): The job of a folder; None if it has none yet.

    RAISES (ValueError): When the file is damaged.
    """
    path = folder / WORK / "job.json"
    if not path.exists():
        return None
    found = json.loads(read_checked(path))
    settings = Settings(**{**found["settings"], "fields": Fields(*found["settings"]["fields"])})
    files = [InputFile(**file) for file in found["files"]]
    shards = [[Part(*part) for part in shard] for shard in found["shards"]]
    return Job(folder, found["pipeline"], found["known_by"], settings, files, shards)


def open_job(folder: Path, pipeline: str, files: list[InputFile], settings: Settings, code: Path | None = None) -> Job:
    """The job of an output folder: the one that is there, if it is the same, or a new one.

    code (Optional[Path]): A file of Python that the pipeline needs.
    RAISES (ValueError): When the folder holds another job, or the input cannot be read.
    """
    # Other processes have other working folders.
    pipeline = str(Path(pipeline).resolve()) if Path(pipeline).exists() else pipeline
    known_by = fingerprints(pipeline, files, settings, code)
    old = load_job(folder)
    if old is not None:
        _check_same(old, known_by, files)
    shards = plan(files, settings) if old is None else old.shards
    # The same files may lie elsewhere now.
    job = Job(folder, pipeline, known_by, settings, files, shards)
    if job != old:
        job.save()
    for part in job.work.glob("shard-*.part"):
        part.unlink(missing_ok=True)
    return job


def _check_same(old: Job, known_by: dict[str, str], files: Sequence[InputFile]) -> None:
    others = [key for key, value in known_by.items() if old.known_by.get(key) != value]
    if "input" in others:
        before, now = ({(file.name, file.size, file.stamp) for file in each} for each in (old.files, files))
        others[others.index("input")] = f"input ({min(before ^ now)[0]})"
    if others:
        raise ValueError(Errors.T969.format(folder=old.folder, what=" and ".join(others)))


def fingerprints(pipeline: str, files: Sequence[InputFile], settings: Settings, code: Path | None) -> dict[str, str]:
    """RETURNS (Dict[str, str]): By what a job is known again."""
    inputs = [(file.name, file.size, file.stamp) for file in files]
    return {
        "pipeline": pipeline_fingerprint(pipeline),
        "input": hashlib.sha256(json.dumps(inputs).encode()).hexdigest(),
        "--code": "" if code is None else hashlib.sha256(code.read_bytes()).hexdigest(),
        "--format": settings.format,
        "--columns": ",".join(settings.columns),
        "--text": settings.fields.text,
        "--id": settings.fields.id,
        "--shard-size": str(settings.shard_size),
    }


def pipeline_fingerprint(pipeline: str) -> str:
    """RETURNS (str): sha256 over the files of a pipeline: equal for equal files, wherever they lie."""
    folder = util.get_package_path(pipeline) if util.is_package(pipeline) else Path(pipeline)
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".pyc", ".part")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def plan(files: Sequence[InputFile], settings: Settings) -> list[list[Part]]:
    """Read all input once, and say which rows go into which shard.

    RAISES (ValueError): When a file cannot be read, has no text at all, or two rows have the same id.
    """
    shards, room, hashes = list[list[Part]](), 0, array("q")
    names, like_made = {file.name for file in files}, set[str]()
    for index, file in enumerate(files):
        good, broken = 0, ""
        for row in read_rows(file, settings.fields, Vocab()):
            if not room:
                shards.append([])
                room = settings.shard_size
            if not shards[-1] or shards[-1][-1].file != index:
                shards[-1].append(Part(index, row.number, row.offset, 0))
            last = shards[-1][-1]
            shards[-1][-1] = last._replace(size=last.size + 1)
            room -= 1
            good += not row.error
            broken = broken or row.error
            if row.has_id:
                hashes.append(hash(row.id))
                name, _, number = row.id.rpartition(":")
                is_own = row.id == f"{file.name}:{row.number}"
                if name in names and number.isdigit() and not is_own:
                    like_made.add(row.id)
        if broken and not good:
            raise ValueError(Errors.T963.format(file=file.url, error=f"no row can be read; of the first one {broken}"))
    if not shards:
        raise ValueError(Errors.T960.format(source=files[0].url, error="there is no text in it"))
    _check_ids(files, settings.fields, hashes, like_made)
    return shards


def _check_ids(files: Sequence[InputFile], fields: Fields, hashes: "array[int]", like_made: set[str]) -> None:
    """Ids of a billion rows do not fit into memory, but their hashes do.

    like_made (Set[str]): Given ids that are what a row without an id might get.
    """
    found = numpy.sort(numpy.frombuffer(hashes, dtype="int64")) if hashes else numpy.zeros(0, dtype="int64")
    twice = {*found[1:][found[1:] == found[:-1]].tolist(), *map(hash, like_made)}
    seen = dict[str, str]()
    for file in files if twice else ():
        for row in read_rows(file, fields, Vocab()):
            if (row.has_id or row.id in like_made) and hash(row.id) in twice:
                where = f"{file.name}:{row.number}"
                if row.id in seen:
                    raise ValueError(Errors.T971.format(id=row.id, one=seen[row.id], other=where, field=fields.id))
                seen[row.id] = where
