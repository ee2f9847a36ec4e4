"""Several ranks in a test: forked processes, which need not import anything again."""

import multiprocessing
import os
import socket
import traceback

from spacy.cli.train import train


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run_ranks(function, *args, size=2):
    """Call a function in a process for each rank.

    function (Callable): Gets the number of its rank, and the arguments.
    RETURNS (List): What each returns; of one that fails its exception.
    """
    context, port = multiprocessing.get_context("fork"), free_port()
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    processes = [
        context.Process(target=_run, args=(rank, size, port, pipes[rank][1], function, args)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for _, end in pipes:
        end.close()
    found = []
    for begin, _ in pipes:
        try:
            found.append(begin.recv() if begin.poll(120) else "timeout")
        except EOFError:
            found.append("ended")
    for process in processes:
        process.join(5)
        process.kill()
    return found


def train_rank(config, output, overrides=None):
    """Call `spacy train` as one of several ranks. It fails if another one makes the folder at the same time. So the
    folder is made before, as docs/ranks.md says."""
    output.mkdir(exist_ok=True)
    train(config, output, overrides=overrides or {})


def _run(rank, size, port, pipe, function, args):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        pipe.send(function(rank, *args))
    except BaseException as error:
        traceback.print_exc()
        pipe.send(error)
