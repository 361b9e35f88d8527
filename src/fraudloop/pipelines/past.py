"""From a file to the folds of past days that choices are made on: what `compare` and `tune` read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.domain.definitions import FeatureSet, parse_duration_us
from fraudloop.errors import InputError
from fraudloop.pipelines.data import column_map
from fraudloop.pipelines.features import features_of, fold_file
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.config import TrainConfig
from fraudloop.training.folds import Dataset, Past, past_of
from fraudloop.training.splits import Period

DEFAULT_LABEL_DELAY: Final = "7d"


@dataclass(frozen=True, slots=True)
class Source:
    """Which payments, and how they are read: the options that `train`, `compare` and `tune` have in common.
    train_days, test_days: `A..B`, whole days in the map's zone; without them as `train` has it."""

    path: Path
    columns: str | Path = "native"
    features: str | Path | FeatureSet | None = None
    train_days: str | None = None
    test_days: str | None = None
    label_delay: str = DEFAULT_LABEL_DELAY
    labels: Path | None = None
    profiles: Path | None = None
    max_rejected: float = DEFAULT_MAX_REJECTED


def read_past(source: Source, config: TrainConfig, settings: Settings, progress: Progress = silent) -> tuple[Dataset, Past]:
    """Read, fold and split; InputError says what in the file, the map, the periods or the configuration cannot be used."""
    zone = column_map(source.columns, settings).shape.zone
    feature_set = features_of(source.features, source.columns)
    delay_us = parse_duration_us(source.label_delay, "--label-delay")
    train = None if source.train_days is None else Period.parse(source.train_days, "--train")
    test = None if source.test_days is None else Period.parse(source.test_days, "--test")
    folded = fold_file(
        source.path, source.columns, feature_set, settings=settings, labels=source.labels, profiles=source.profiles, max_rejected=source.max_rejected,
        progress=progress,
    )  # fmt: skip
    data = Dataset.of(
        folded.table, feature_set.names, delay_us, zone, config.categories, folded.labels, (*config.withheld, *folded.withheld)
    )
    return data, past_of(data, config, train, test)


def make_folder(out: Path) -> Path:
    """The folder for results, made before any work is done; InputError if that cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be made a folder ({error.strerror})") from error
    return out
