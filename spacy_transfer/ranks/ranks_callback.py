"""`spacy-transfer.Ranks.v1`: a callback that makes `spacy train` or `spacy pretrain` one of many ranks."""

import io
from collections.abc import Callable
from typing import Any

from spacy.language import Language
from spacy.util import registry
from thinc.api import NumpyOps, get_current_ops

from .._compat import replace_next_training
from ..checks import COUNT, require
from ..pretraining.running import running_pretraining
from .process_group import ProcessGroup, number_of_ranks
from .shared_pretraining import SharedPretraining
from .shared_training import NAME, SharedTraining
from .start_checks import check_start

Callback = Callable[[Language], object]
LogStep = Callable[[dict[str, Any] | None], None]


def create_ranks_v1(*, timeout: int = 1800, then: Callback | None = None) -> Callback:
    """For `[initialize.after_init]`: training by many processes, which torch's launcher starts on one machine or many:

        mkdir -p training
        torchrun --nproc-per-node 2 -m spacy train config.cfg --output training

    Every process, a rank, gets its share of each batch. Gradients of all components are summed over the ranks before
    the step: so a step is that of one process with the whole batch. The first rank evaluates, logs and writes, and all
    stop together. Without the launcher, or with one process, the callback does nothing. `spacy pretrain` goes alike.

    timeout (int): For how many seconds a rank waits for the others. They wait while the first rank evaluates.
    then (Optional[Callable[[Language], object]]): Another callback, which is called first: spaCy has one place for
        both.
    RETURNS (Callable[[Language], object]): The callback.
    RAISES (ValueError): When ranks differ at the start: see `check_start`.
    """
    require("initialize.after_init", COUNT, timeout=timeout)

    def join(nlp: Language) -> None:
        if then is not None:
            then(nlp)
        if number_of_ranks() > 1:
            group = ProcessGroup(timeout, use_gpu=not isinstance(get_current_ops(), NumpyOps))
            running = running_pretraining()
            if running is not None:
                SharedPretraining(nlp, group, running)
                return
            try:
                check_start(nlp, group)
            except BaseException as error:
                group.tell(error)
                raise
            replace_next_training(nlp, lambda train, *args, **kwargs: _train(group, train, *args, **kwargs))

    return join


def _train(
    group: ProcessGroup, train: Callable[..., Any], nlp: Language, output: object = None, **settings: Any
) -> object:
    """spaCy's training loop, on one rank."""
    training = SharedTraining(nlp, group)
    block = nlp.config["training"]["logger"]
    if not group.is_first:
        output, settings = None, {**settings, "stdout": io.StringIO()}
    registry.loggers.register(NAME, func=lambda: _first_logger(training, block) if group.is_first else _no_logger)
    nlp.config["training"]["logger"] = {"@loggers": NAME}
    try:
        return train(nlp, output, **settings)
    except BaseException as error:
        group.tell(error)
        raise
    finally:
        nlp.config["training"]["logger"] = block
        training.stop()
        group.close()


def _first_logger(training: SharedTraining, block: dict[str, Any]) -> Callable[..., tuple[LogStep, Callable]]:
    """The logger of the config."""

    def setup(nlp: Language, *streams: Any) -> tuple[LogStep, Callable[[], None]]:
        nlp.config["training"]["logger"] = block  # What is saved has the config as it was written.
        with training.alone():
            # Not before: a training that goes on removes a file of rows first.
            log, finalize = registry.resolve({"logger": block})["logger"](nlp, *streams)

        def log_step(info: dict[str, Any] | None) -> None:
            with training.alone():
                log(info)

        return log_step, finalize

    return setup


def _no_logger(nlp: Language, *streams: Any) -> tuple[LogStep, Callable[[], None]]:
    return lambda info: None, lambda: None
