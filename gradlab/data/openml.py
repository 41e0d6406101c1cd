"""A data set of openml.org by name, through scikit-learn's fetcher and its cache."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

from gradlab.base.errors import ConfigError, DataError, Problem
from gradlab.base.grammar import Parameter, Value, bind, write_item
from gradlab.data.dataset import AUTO, Samples
from gradlab.data.registry import parse_parameters

PARAMETERS: Mapping[str, Parameter] = {
    "version": Parameter(
        default=None, meaning="version of the data set; unset: the active one", low=1, integer=True
    )
}

PLAIN_TYPES = {"dtype": None, "low_memory": False}
"""Read nominal columns as what they hold: as categories, scikit-learn up to 1.9 fails on numbers with pandas 3.1."""


def parse_openml(text: str, where: str) -> tuple[str, dict[str, Value]]:
    """NAME and the parameters of `openml:NAME` or `openml:NAME:version=2`. Raises ConfigError."""
    name, *rest = text.split(":")[1:] or [""]
    if not re.fullmatch(r"[A-Za-z0-9_.()-]+", name):
        raise ConfigError(
            Problem(where, f"{text!r} names no data set of OpenML", "openml:NAME, as in openml:iris")
        )
    given = parse_parameters("openml", rest, where).given
    return name, bind(given, PARAMETERS, "openml", where)


def canonical_openml(text: str, where: str) -> str:
    """`openml:NAME`, with its version where one is given. Raises ConfigError."""
    name, values = parse_openml(text, where)
    return write_item(f"openml:{name}", values, PARAMETERS)


def load_openml(text: str, target: str, where: str, task: str = AUTO) -> Samples:
    """The data set `text`, its default target (or the columns `target`) as what is to be learned.

    Fetched once, then read from scikit-learn's cache (`~/scikit_learn_data`, or SCIKIT_LEARN_DATA). Raises
    ConfigError for a wrong text, DataError when it cannot be fetched or its columns are not numbers.
    """
    name, values = parse_openml(text, where)
    source, named = canonical_openml(text, where), [part.strip() for part in target.split(",")]
    from sklearn.datasets import fetch_openml

    from gradlab.data.targets import no_such_target, table_from_frame

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on several versions and on each retry
            fetched = fetch_openml(
                name,
                version=int(values["version"]) if "version" in values else "active",
                target_column=([*named] if len(named) > 1 else target) or "default-target",
                as_frame=True,
                parser="pandas",
                read_csv_kwargs=PLAIN_TYPES,
                n_retries=1,
                delay=0.2,
            )
    except OSError as error:  # urllib's errors are OSErrors, a damaged cache is too
        raise DataError(
            Problem(
                source,
                f"it is not in scikit-learn's cache and could not be fetched: {error}",
                hint="connect to the network once, or give a file: --data FILE.csv --target COLUMN",
            )
        ) from error
    except (ValueError, KeyError) as error:
        raise DataError(
            Problem(source, f"OpenML could not give it: {error}", hint="see openml.org/search")
        ) from error
    frame = fetched.frame
    if len(fetched.target_names) != len(named):
        raise no_such_target("", [str(column) for column in frame.columns], source, len(frame))
    for column in frame.select_dtypes(exclude="number"):  # ARFF may quote a value, which read_csv keeps
        frame[column] = frame[column].replace(r"^'(.*)'$", r"\1", regex=True)
    return table_from_frame(frame, fetched.target_names, source, task)
