"""Keyword arguments of `initialize` that come in groups, since spaCy's config has them one by one."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from itertools import chain

from ..types import GetExamples


def takes(**groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """For `initialize` of heads: the fields of dataclasses become keyword arguments, and so keys of
    `[initialize.components.NAME]`. The method gets each group as one argument.

    **groups (type): The dataclasses, by argument.
    """
    kind = inspect.Parameter.KEYWORD_ONLY
    keys = {
        argument: [inspect.Parameter(key.name, kind, default=key.default, annotation=key.type) for key in fields(group)]
        for argument, group in groups.items()
    }

    def grouped(initialize: Callable[..., None]) -> Callable[..., None]:
        @wraps(initialize)
        def initialize_in_groups(self: object, get_examples: GetExamples, **settings: object) -> None:
            for argument, group in groups.items():
                given = {key.name: settings.pop(key.name) for key in keys[argument] if key.name in settings}
                settings[argument] = group(**given)
            initialize(self, get_examples, **settings)

        # spaCy checks the block against the signature.
        signature = inspect.signature(initialize)
        own = [parameter for name, parameter in signature.parameters.items() if name not in groups]
        parameters = [*own, *chain.from_iterable(keys.values())]
        vars(initialize_in_groups)["__signature__"] = signature.replace(parameters=parameters)
        return initialize_in_groups

    return grouped
