"""Sampler: what a trial is to try, a function of the seed, the trial's place and the trials before."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from edgernn.search.notes import begun_before

STARTUP_TRIALS = 8
"""Trials at random, before those that came out well say what to try."""


class NumberedSampler(BaseSampler):
    """Tree-structured Parzen estimators of two objectives (Ozaki et al. 2022), seeded anew for each trial.

    So workers never repeat each other. Trials that were begun again do not count, so that a search that goes on samples
    as one that was never interrupted.
    """

    def __init__(self, seed: int) -> None:
        """Begin with a seed."""
        self._seed = seed
        self._sampler = self._of(0)

    def _of(self, number: int) -> TPESampler:
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the trial."""
        before = study.get_trials(deepcopy=False)[: trial.number + 1]
        again = sum(bool(begun_before(each)) for each in before)
        self._sampler = self._of(trial.number - again)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what is sampled jointly."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what was sampled jointly."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:  # noqa: ANN401, Optuna's own
        """Return a value for one parameter."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Keep what the trial said of its constraints."""
        self._sampler.after_trial(study, trial, state, values)
