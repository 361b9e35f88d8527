"""Tracking against real servers: runs in PostgreSQL, artifacts and rows in S3, and a run trained again on a second clone
that knows nothing but their addresses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fraudloop.errors import TrackingError
from fraudloop.pipelines.reproduce import BITS, reproduce
from fraudloop.pipelines.tracking import mirror_store, write_run
from fraudloop.pipelines.train import Trained
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import Settings
from fraudloop.training.datasets import ArtifactStore, fetch, file_hash, open_store, restore
from fraudloop.training.tracking import TAG_DATASET, Tracker, Tracking
from tests.servers import mlflow_server, postgresql_database, s3_bucket
from tests.tracked import shop, train_shop
from tools.check_tree import tracked

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "fraud-runs"

#: What a second machine runs: the command's own function, with nothing of the first in reach.
AGAIN = """
import json, sys
from pathlib import Path
import fraudloop
from fraudloop.pipelines.reproduce import reproduce
from fraudloop.settings import Settings
found = reproduce(sys.argv[1], settings=Settings(tracking=sys.argv[2], artifacts=sys.argv[3]))
print(json.dumps({**found.to_dict(), "package": fraudloop.__file__}))
"""


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with s3_bucket(BUCKET) as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        yield env


@pytest.fixture(scope="module")
def tracking(environment: dict[str, str]) -> Iterator[Tracking]:
    with postgresql_database(f"fraudloop_test_{os.getpid()}") as uri:
        yield Tracking(uri, f"s3://{BUCKET}/team", "payments")


@pytest.fixture(scope="module")
def trained(tracking: Tracking, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A tracked model; of the machine that trained it nothing but the bundle is left."""
    folder = tmp_path_factory.mktemp("first")
    out = train_shop(shop(folder / "shop"), folder / "model", tracking)
    shutil.rmtree(folder / "shop")
    return out


def test_the_run_is_in_the_database_and_its_files_are_in_the_bucket(trained: Trained, tracking: Tracking, tmp_path: Path) -> None:
    import boto3

    assert trained.run is not None
    tracker = Tracker(tracking)
    run = tracker.client.get_run(trained.run)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test.all.average_precision"] == trained.report["test"]["all"]["average_precision"]
    assert tracker.bundle_of(trained.run, tmp_path).hash == trained.bundle.hash
    keys = {row["Key"] for row in boto3.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert f"team/runs/{trained.run}/artifacts/bundle/manifest.json" in keys
    assert f"team/datasets/{run.data.tags[TAG_DATASET]}/content" in keys


def test_the_rows_come_back_from_the_bucket_and_are_kept_once(trained: Trained, tracking: Tracking, tmp_path: Path) -> None:
    store = open_store(f"{tracking.artifacts}/datasets")
    assert isinstance(store, ArtifactStore)
    manifest = restore(store, trained.bundle.origin["dataset"]["hash"])
    files = fetch(store, manifest, tmp_path)
    assert {role: file_hash(path) for role, path in files.items()} == {role: file.sha256 for role, file in manifest.files.items()}
    for path in files.values():
        store.put(path, file_hash(path))
    (tmp_path / "other").write_text("x")
    with pytest.raises(TrackingError, match="holds no file"):
        store.get(file_hash(tmp_path / "other"), tmp_path / "copy")


def test_rows_that_were_changed_in_the_bucket_are_refused(trained: Trained, tracking: Tracking, tmp_path: Path) -> None:
    import boto3

    (tmp_path / "rows.csv").write_text("id,amount\n1,2\n")
    digest = file_hash(tmp_path / "rows.csv")
    store = open_store(f"{tracking.artifacts}/damaged")
    store.put(tmp_path / "rows.csv", digest)
    boto3.client("s3").put_object(Bucket=BUCKET, Key=f"team/damaged/{digest}/content", Body=b"id,amount\n1,3\n")
    with pytest.raises(TrackingError, match="no longer those of its name"):
        store.get(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_the_registry_is_mirrored_into_the_database(trained: Trained, tracking: Tracking, tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "store")
    bundle = store.put(trained.bundle)
    store.set_alias("payments@champion", bundle, expected=None, who="ada", why="the first", at_us=0, action="promote")
    assert mirror_store(store, "payments", tracking).created == (bundle,)
    again = mirror_store(store, "payments", tracking)
    assert (again.created, again.changed) == ((), ())
    client = Tracker(tracking).client
    version = client.get_model_version_by_alias("payments", "champion")
    assert (version.run_id, version.tags["stage"], version.tags["who"]) == (trained.run, "Production", "ada")


def test_a_bucket_that_is_not_there_loses_no_bundle(trained: Trained, tracking: Tracking, tmp_path: Path) -> None:
    tracker = Tracker(Tracking(tracking.uri, "s3://no-such-bucket/x", "elsewhere"))
    with pytest.raises(TrackingError, match=r"The bundle is saved in .*fraudloop models track"):
        write_run(tracker, trained.bundle)
    failed = tracker.client.search_runs([tracker.experiment_id])
    assert [run.info.status for run in failed] == ["FAILED"]


def second_clone(folder: Path, *, with_git: bool) -> Path:
    """The project's source in another place: a clone, or a copy of the files that git knows, as they are now."""
    if with_git:
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(folder)], check=True, capture_output=True)
        return folder / "src"
    for path in tracked(ROOT / "src"):
        target = folder / "src" / path.relative_to(ROOT / "src")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder / "src"


def reproduced(source: Path, home: Path, run: str, tracking: Tracking, environment: dict[str, str], **more: str) -> dict[str, Any]:
    """`reproduce` in an interpreter that has the packages, and of everything else only what is named here."""
    home.mkdir()
    # The same bits are promised for one platform; a BLAS that is told to be that of another processor is of another one.
    platform = {name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")}
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(source),
        "PYTHONHASHSEED": "77",
        **platform,
        **environment,
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, run, tracking.uri, str(tracking.artifacts)], cwd=home, env=env, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["package"]).is_relative_to(source)
    return found


def test_a_second_copy_with_the_addresses_alone_trains_the_same_bits(
    trained: Trained, tracking: Tracking, environment: dict[str, str], tmp_path: Path
) -> None:
    source = second_clone(tmp_path / "clone", with_git=False)
    # The machine code of the same kernels is at hand, so that the test does not wait for the compiler.
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(ROOT / "src" / "fraudloop" / "_compiled")
    found = reproduced(
        source, tmp_path / "home", str(trained.run), tracking, environment, FRAUDLOOP_CACHE_DIR=str(tmp_path / "cache"), POLARS_MAX_THREADS="1",
        OMP_NUM_THREADS="3",
    )  # fmt: skip
    assert (found["proved"], found["files"], found["changed"]) == (BITS, [], [])
    assert found["content"]["after"] == trained.bundle.content


@pytest.mark.prove
def test_a_second_clean_clone_that_compiles_its_own_kernels_trains_the_same_bits(
    trained: Trained, tracking: Tracking, environment: dict[str, str], tmp_path: Path
) -> None:
    source = second_clone(tmp_path / "clone", with_git=True)
    found = reproduced(source, tmp_path / "home", str(trained.run), tracking, environment)
    assert found["proved"] == BITS


@pytest.mark.prove
def test_a_tracking_server_that_serves_the_artifacts_needs_nothing_but_its_url(tmp_path: Path) -> None:
    with mlflow_server(tmp_path) as url:
        own = Tracking(url)
        trained = train_shop(shop(tmp_path / "shop"), tmp_path / "model", own)
        shutil.rmtree(tmp_path / "shop")
        assert reproduce(str(trained.run), settings=Settings(tracking=url)).proved == BITS
        assert reproduce(str(tmp_path / "model"), settings=Settings(tracking=url)).proved == BITS
        store = BundleStore(tmp_path / "store")
        bundle = store.put(trained.bundle)
        store.set_alias("payments@champion", bundle, expected=None, who="ada", why="the first", at_us=0, action="promote")
        assert mirror_store(store, "payments", own).created == (bundle,)
        assert mirror_store(store, "payments", own).changed == ()
