import pytest

from .teachers import stock_pipeline


@pytest.fixture(scope="session")
def stock(tmp_path_factory):
    """Folder of a pipeline with a tok2vec, tagger, parser, ner and textcat that know the rules of `util.gold`."""
    path = tmp_path_factory.mktemp("teachers") / "stock"
    stock_pipeline().to_disk(path)
    return path
