"""x"""


def retention_logger_v1(): ...
