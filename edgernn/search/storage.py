"""Storage: where the workers of a search meet: a database that keeps the plan and all trials."""

import contextlib
import copy
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from edgernn.search.optuna import quiet
from edgernn.search.plan import Plan
from edgernn.search.sampler import NumberedSampler
from edgernn_runtime.errors import InputError, OutputExistsError, RunError, first_line

HEARTBEAT_S: Final = 5
GRACE_S: Final = 20
"""A worker that says nothing for so long is dead, and its trial is begun again."""

_RETRIES: Final = 2
_LOCKED_S: Final = 60
DATABASE: Final = "search.db"
"""The database of a search that names no other, in its folder."""

DEATHS: Final = "deaths"
"""The attribute of a trial that counts the workers that died over it."""

_KEY: Final = "edgernn"


def file_storage(folder: Path) -> str:
    """Return the URL of the database that lies in a search's own folder."""
    return URL.create("sqlite", database=str(folder.absolute() / DATABASE)).render_as_string()


def create_study(url: str, name: str, plan: Plan) -> optuna.Study:
    """Return a new study that holds a plan, the trial of the defaults first in its queue.

    Raises:
        RunError: If the storage cannot be reached.
        OutputExistsError: If it holds a study of that name.
    """
    with quiet(), _reached(url):
        storage = _opened(url)
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=["minimize", "minimize"],
                sampler=NumberedSampler(plan.settings.seed),
            )
        except optuna.exceptions.DuplicatedStudyError as error:
            raise OutputExistsError(
                f"{shown(url)} already holds a search called {name}; join it with --resume, or name another --study"
            ) from error
        study.set_metric_names(["valid_loss", "step_us"])
        study.enqueue_trial(plan.space.parameters(plan.settings), user_attrs={"default": True})
        study.set_user_attr(_KEY, plan.to_json())
        return study


def open_study(url: str, name: str) -> tuple[optuna.Study, Plan]:
    """Return the study of a name and the plan that it holds.

    Raises:
        RunError: If the storage cannot be reached, holds no study of that name, or one of something else.
    """
    with quiet(), _reached(url):
        try:
            study = optuna.load_study(storage=_opened(url), study_name=name)
        except KeyError as error:
            raise RunError(f"{shown(url)} holds no search called {name}; begin one without --resume") from error
        plan = Plan.from_json(study.user_attrs.get(_KEY))
        study.sampler = NumberedSampler(plan.settings.seed)
        return study, plan


@contextlib.contextmanager
def kept_reaching(url: str) -> Iterator[None]:
    """Turn the loss of a storage into a RunError that says how to go on; a heartbeat that fails with it is silent."""
    hook = threading.excepthook
    threading.excepthook = lambda failed: None if _lost(failed.exc_value) else hook(failed)
    try:
        yield
    except Exception as error:
        cause = _lost(error)
        if cause is None:
            raise
        raise RunError(
            f"the search lost its storage {shown(url)}: {_reason(cause)}; when it is back, go on with --resume"
        ) from error
    finally:
        threading.excepthook = hook


def shown(url: str) -> str:
    """Return a storage's URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def _died(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Queue a trial whose worker has died again, unless that has happened too often."""
    deaths = int(trial.user_attrs.get(DEATHS, 0)) + 1
    if deaths <= _RETRIES:
        again = copy.copy(trial)
        again.user_attrs = {**trial.user_attrs, DEATHS: deaths}
        put_back(study, again)


def put_back(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Queue a trial that did not come to its end again, as one that goes on with its run."""
    with quiet():
        RetryHeartbeatStaleTrialCallback()(study, trial)


def _opened(url: str) -> RDBStorage:
    sqlite = make_url(url).get_backend_name() == "sqlite"
    return RDBStorage(
        url,
        engine_kwargs={"connect_args": {"timeout": _LOCKED_S}} if sqlite else None,
        heartbeat_interval=HEARTBEAT_S,
        grace_period=GRACE_S,
        heartbeat_stale_trial_callback=_died,
    )


@contextlib.contextmanager
def _reached(url: str) -> Iterator[None]:
    """Turn what goes wrong while a storage is opened into one error."""
    logging.getLogger("alembic").setLevel(logging.ERROR)
    try:
        make_url(url)
    except ArgumentError as error:
        raise InputError(
            "the storage is no URL of a database; write sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from error
    try:
        yield
    except (SQLAlchemyError, ImportError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"the storage {shown(url)} could not be reached: {_reason(error)}; check --storage, and that it runs"
        ) from error


def _lost(error: BaseException | None) -> Exception | None:
    """Return the database's error that an error came from; None if it came from something else."""
    while error is not None:
        if isinstance(error, SQLAlchemyError | optuna.exceptions.StorageInternalError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _reason(error: Exception) -> str:
    """Return what a database said, without what it was asked."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else None
    return re.sub(r"^\(\S+\) ", "", first_line(cause or error))
