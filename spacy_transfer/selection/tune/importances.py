"""Importance of each setting of a search."""

from .study import SCORE, Search, without_warnings

_FEWEST = 4
"""Trials with a score, below which nothing is said."""


def importances(search: Search) -> dict[str, float]:
    """Shares by PED-ANOVA (Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces"), over all trials with a score. Optuna counts finished trials only, of which there are few when
    most are ended early.

    RETURNS (Dict[str, float]): By name, the largest first; empty for too few trials, or when all scores are the same.
    """
    import optuna

    trials = [trial for trial in search.trials() if trial.state.is_finished() and SCORE in trial.user_attrs]
    scores = [float(trial.user_attrs[SCORE]) for trial in trials]
    if len(trials) < _FEWEST or len(set(scores)) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    for trial, score in zip(trials, scores, strict=True):
        study.add_trial(optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=score))
    with without_warnings():
        return dict(optuna.importance.get_param_importances(study))
