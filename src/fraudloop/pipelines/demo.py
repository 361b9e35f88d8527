"""The demo: which commands show the whole way from history to a decision, and three decisions of it explained.

The commands are those a user would type, as argument lists; the command line runs them. Here is only what they are,
where they write, and how the three transactions are chosen and put into words.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from fraudloop.decisions.policy import Policy
from fraudloop.decisions.reasons import Reason, reasons
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import CheckFailed, InputError
from fraudloop.scoring.attribution import Explainer
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.typical import typical
from fraudloop.settings import Settings
from fraudloop.training.table import inputs_of

START: Final = date(2025, 1, 1)
DAYS: Final = 120

#: Days that are scored and evaluated, after all that training saw; before them the days that training tests on.
UNSEEN_DAYS: Final = 14
TEST_DAYS: Final = 14

DEFAULT_TRANSACTIONS: Final = 150_000
DEFAULT_SEED: Final = 7

#: Fewer hold too little fraud for a validation fold to choose by.
TRANSACTIONS_MIN: Final = 20_000

#: The model as the store knows it, and who stands in its history.
MODEL: Final = "payments"
PEOPLE: Final = ("ana", "ben")

#: What the demo trains, so that it is done in a minute. Without it `train` tries five algorithms, some with several sets of
#: parameters each on four folds.
TRAIN_TOML: Final = """\
# Three algorithms, one set of parameters each, on two validation folds: enough to see, quick to run.
fold_rows_max = 60_000
algorithms = ["logistic", "xgboost", "lightgbm"]
folds = 2
threads = 1
[candidates]
logistic = [{}]
xgboost = [{rounds = 120, rate = 0.12}]
lightgbm = [{rounds = 120, rate = 0.12}]
"""

#: The model that is promoted first, so that there is one to be better than and one to go back to.
FIRST_TOML: Final = """\
# One algorithm, few rounds: the first model of a team that has none.
algorithms = ["xgboost"]
members = 1
folds = 1
bootstrap = 0
threads = 1
[candidates]
xgboost = [{rounds = 60, rate = 0.2, depth = 3}]
"""

#: What is compared, on one fold: enough to see, quick to run.
COMPARE_TOML: Final = """\
folds = 1
threads = 1
fold_rows_max = 60_000
[xgboost]
rounds = 80
rate = 0.15
"""

#: What a model that must not get through is made of.
WEAK_TOML: Final = """\
# The amount and the hour alone, as a first idea on a Friday would have it.
features = ["amount", "hour_of_day"]
[numbers]
amount = { column = "amount_base", scale = 2 }
[entities]
customer = "customer_id"
"""

#: What the gate asks for. The models of the demo learn for seconds, on weeks; hence lower floors than usual.
_GATE_TOML: Final = """\
# Floors are shares of what the best model could reach in this world; `docs/gate.md` has the rest.
[floors]
average_precision = {{min = {floor}, of = "reachable"}}
[champion]
worse_max = {worse_max}
[evidence]
frauds_min = 20
maturity_min = 0.5
[load]
rate = 100
seconds = 2
"""

#: What each plot answers, in the order in which to look at them.
PLOTS: Final[Mapping[str, str]] = {
    "precision-recall.png": "how much fraud is found, and how many alerts are right, at every threshold",
    "scores-by-class.png": "how far apart the model holds fraud and genuine payments",
    "calibration.png": "whether a score of 0.3 means 30 %",
    "cost-by-threshold.png": "what each review threshold costs, and the one in force",
    "outcomes.png": "what was approved, reviewed and declined",
    "importance.png": "what the model is built on",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the demo. story: what it shows, for people. argv: its words after `fraudloop`. exit_code: how it ends; 1 for
    the model that is to be refused."""

    name: str
    story: str
    argv: tuple[str, ...]
    exit_code: int = 0

    @property
    def command(self) -> str:
        """The command line, broken before options so that it can be read and pasted."""
        lines, line = [], f"fraudloop {self.argv[0]}"
        for word in _groups(tuple(shlex.quote(word) for word in self.argv[1:])):
            if len(line) + len(word) > 108:
                lines.append(line + " \\")
                line = "    " + word
            else:
                line += " " + word
        return "\n".join([*lines, line])


@dataclass(frozen=True, slots=True)
class Example:
    """A scored transaction with what drove it. outcome: what happened in the end, in words. base: the margin that a
    payment has before anything is known of it; base and all contributions add up to the margin. others: how many
    columns contribute beside those in `reasons`, and how much together."""

    title: str
    transaction_id: str
    happened: str
    score: float
    decision: str
    outcome: str
    base: float
    reasons: tuple[Reason, ...]
    others: tuple[int, float]
    margin: float


@dataclass(frozen=True, slots=True)
class Explained:
    """The examples, and by member of the model how its contributions were found."""

    examples: tuple[Example, ...]
    method: Mapping[str, str]


def _groups(words: tuple[str, ...]) -> list[str]:
    out: list[str] = []
    for word in words:
        if out and out[-1].startswith("--") and " " not in out[-1] and not word.startswith("--"):
            out[-1] += " " + word
        else:
            out.append(word)
    return out


def steps(folder: Path, transactions: int = DEFAULT_TRANSACTIONS, seed: int = DEFAULT_SEED) -> tuple[Step, ...]:
    """The commands in order; each reads what those before it wrote into `folder`."""
    if transactions < TRANSACTIONS_MIN:
        raise InputError(f"--transactions {transactions} must be at least {TRANSACTIONS_MIN:,}, or there is too little fraud to learn from")
    table, labels, profiles = (str(folder / name) for name in ("transactions.parquet", "labels.parquet", "profiles.parquet"))
    beside = ("--labels", labels, "--profiles", profiles)
    scores = str(folder / "scores.parquet")
    end = START + timedelta(days=DAYS - 1)
    unseen = f"{end - timedelta(days=UNSEEN_DAYS - 1)}..{end}"
    before = end - timedelta(days=UNSEEN_DAYS)
    test = ("--test", f"{before - timedelta(days=TEST_DAYS - 1)}..{before}")

    def gate(report: str) -> tuple[str, ...]:
        return ("models", "gate", str(folder / "features.parquet"), "--config", str(folder / "gate.toml"), "--out", str(folder / report))

    def train(out: str, *more: str) -> tuple[str, ...]:
        return ("train", table, *beside, *test, *more, "--out", str(folder / out), "--name", MODEL)

    return (
        Step(
            "generate",
            "A world of payments: people with homes and habits, shops, six fraud schemes, labels that come weeks late.",
            ("generate", "--transactions", str(transactions), "--days", str(DAYS), "--start", str(START), "--seed", str(seed), "--out", table, *beside),
        ),
        Step("validate", "Is this table fit to learn from? Bad rows would go to quarantine with row, column, rule and reason.", ("validate", table, *beside)),
        Step(
            "features",
            "For each payment the numbers a live service would have seen at that moment, and nothing that came later.",
            ("features", table, *beside, "--out", str(folder / "features.parquet")),
        ),
        Step(
            "compare",
            "Which algorithm, and does it help to balance the classes? Judged on days before the test days, with intervals.",
            ("compare", table, *beside, *test, "--algorithms", "logistic,xgboost", "--strategies", "none,undersample", "--config", str(folder / "compare.toml"),
             "--out", str(folder / "compare")),
        ),
        Step("a first model", "A small model first; the bundle store keeps it as a candidate.", train("first", "--config", str(folder / "first.toml"))),
        Step("gate", "Evidence before a model may decide: floors, smoke cases, missing values, latency, a load test.", gate("gate-first.html")),
        Step("promote", "A named person puts it in force.", ("models", "promote", "--approver", PEOPLE[0], "--why", "first model")),
        Step(
            "train",
            f"Three algorithms side by side, chosen and calibrated on days before the test days; the last {UNSEEN_DAYS} days stay untouched.",
            train("model", "--config", str(folder / "train.toml")),
        ),
        Step("gate it", "The same gate, now beside the champion on the same payments.", gate("gate.html")),
        Step("promote it", "Every check passed, so no person is needed; the history says so.", ("models", "promote", "--auto", "--why", "better on the same payments")),
        Step(
            "card",
            "What an auditor asks of a model, on one page: data, features, figures with intervals, segments, limits, the gate's verdict.",
            ("models", "card", f"{MODEL}@champion", "--out", str(folder / "card.html")),
        ),
        Step(
            "score",
            f"The {UNSEEN_DAYS} days that nothing has seen yet, scored by the champion: each payment approved, reviewed or declined.",
            ("score", table, *beside, "--model", f"{MODEL}@champion", "--period", unseen, "--out", scores),
        ),
        Step("evaluate", "What became known of those days since: was it right, and what was it worth?", ("evaluate", scores, "--plots", str(folder / "plots"))),
        Step(
            "rules",
            "What would rules alone have done? Each with what it catches, what it costs, and what only it finds.",
            ("rules", "backtest", "default", str(folder / "features.parquet")),
        ),
        Step(
            "a weak model",
            "Somebody trains a model on the amount and the hour alone.",
            train("weak", "--algorithms", "logistic", "--features", str(folder / "weak.toml"), "--config", str(folder / "compare.toml"), "--intervals", "0"),
        ),
        Step("refused", "The gate says no, and why.", gate("gate-refused.html"), exit_code=1),
        Step("rollback", "And if a champion must go: the one before it is back at once.", ("models", "rollback", "--who", PEOPLE[1], "--why", "a drill")),
        Step("history", "Who put which model in force, when and why.", ("models", "history")),
    )  # fmt: skip


def gate_toml(transactions: int) -> str:
    """The gate of a world of this size: a small one holds a few dozen frauds to judge by, and so proves little."""
    small = transactions < DEFAULT_TRANSACTIONS // 2
    return _GATE_TOML.format(floor=0.1 if small else 0.6, worse_max=0.5 if small else 0.03)


def prepare(folder: Path, transactions: int = DEFAULT_TRANSACTIONS, *, keep: bool = False) -> tuple[str, ...]:
    """Make the folder and write what the commands are configured by; an earlier run's bundle store goes. With `keep` the names of steps whose files are already there: the
    generated world. InputError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {
            "train.toml": TRAIN_TOML,
            "compare.toml": COMPARE_TOML,
            "first.toml": FIRST_TOML,
            "weak.toml": WEAK_TOML,
            "gate.toml": gate_toml(transactions),
        }.items():
            (folder / name).write_text(text, "utf-8")
        if store(folder).is_dir():
            shutil.rmtree(store(folder))
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written ({error.strerror})") from error
    world = all((folder / f"{name}.parquet").is_file() for name in ("transactions", "labels", "profiles"))
    return ("generate",) if keep and world else ()


def store(folder: Path) -> Path:
    """Where the demo keeps its bundles: apart from anybody's own."""
    return folder / "store"


def plots(folder: Path) -> list[tuple[Path, str]]:
    """The plots that are there, with what each shows: those of the unseen days, and what the model is built on."""
    found = [(folder / ("model/report" if name == "importance.png" else "plots") / name, text) for name, text in PLOTS.items()]
    return [(path, text) for path, text in found if path.is_file()]


def explain_three(folder: Path, settings: Settings, top: int = 5) -> Explained:
    """A fraud that was caught, a genuine payment that was approved and one in between, with what drove each score.

    The values come from the file of `features` and the scores from the file of `score`: CheckFailed if the bundle gives
    these values another score, bit for bit.
    """
    bundle = Bundle.load(folder / "model")
    model, policy = bundle.model(), Policy.from_dict(bundle.thresholds)
    scores = pl.read_parquet(folder / "scores.parquet")
    everything = pl.read_parquet(folder / "features.parquet")
    chosen = choose(scores.join(everything, on="transaction_id", how="inner", maintain_order="left"), policy)
    rows = pl.concat([row for _, row in chosen])
    inputs = inputs_of(rows, model.numbers, model.words)
    if model.score(inputs).tolist() != rows["fraud_score"].to_list():
        raise CheckFailed("the features of `fraudloop features` and those of `fraudloop score` give different scores")
    found = Explainer(model).explain(inputs)
    units = {number.name: settings.base_currency for number in bundle.features.numbers if number.column == "amount_base"}
    examples = []
    ordinary = typical(bundle)
    for at, (title, row) in enumerate(chosen):
        contributions = dict(zip(found.columns, found.contributions[at].tolist(), strict=True))
        told = reasons(bundle.features, _values(row, bundle.features), contributions, top=top, units=units, typical=ordinary)
        rest = {name: value for name, value in contributions.items() if value and name not in {reason.source for reason in told}}
        examples.append(
            Example(
                title,
                row["transaction_id"][0],
                _happened(row),
                float(row["fraud_score"][0]),
                row["decision"][0],
                _outcome(row),
                float(found.base[at]),
                tuple(told),
                (len(rest), sum(rest.values())),
                float(found.margin[at]),
            )
        )
    return Explained(tuple(examples), found.method)


def choose(scored: pl.DataFrame, policy: Policy) -> list[tuple[str, pl.DataFrame]]:
    """Up to three rows with a title: the fraud with the highest score of those stopped, the largest genuine payment of
    those approved, and the one under review nearest to the middle between the thresholds. Ties go to the lower id."""
    fraud, decision = pl.col("is_fraud").fill_null(value=False), pl.col("decision")
    middle = (policy.review + policy.decline) / 2
    wanted = [
        (
            "A fraud that was caught",
            scored.filter(fraud & (decision != Outcome.APPROVE.text)).sort(-pl.col("fraud_score"), "transaction_id"),
        ),
        (
            "A genuine payment, approved",
            scored.filter(~fraud & (decision == Outcome.APPROVE.text)).sort(-pl.col("amount_base"), "transaction_id"),
        ),
        ("One in between", scored.filter(decision == Outcome.REVIEW.text).sort((pl.col("fraud_score") - middle).abs(), "transaction_id")),
    ]
    return [(title, rows[:1]) for title, rows in wanted if rows.height]


def _values(row: pl.DataFrame, features: FeatureSet) -> dict[str, float | str | None]:
    """The row's features and words by name."""
    columns: dict[str, Any] = row.row(0, named=True)
    wanted = set(features.names) | {name for name, kind in row.schema.items() if kind == pl.String or kind.is_float()}
    return {name: value for name, value in columns.items() if name in wanted}


def _happened(row: pl.DataFrame) -> str:
    values = row.row(0, named=True)
    place = "online" if values.get("is_online") else f"in {values.get('country')}"
    return f"{values['timestamp']:%Y-%m-%d %H:%M} UTC, {values.get('merchant_category')}, {place}"


def _outcome(row: pl.DataFrame) -> str:
    """What became known, and when."""
    values = row.row(0, named=True)
    if not values.get("is_fraud"):
        return "nobody has reported it" if values.get("label_known_at") is None else "reported by mistake, and taken back"
    days = round((values["label_known_at"] - values["timestamp"]).total_seconds() / 86_400)
    return "reported as fraud " + ("the same day" if days < 1 else "a day later" if days == 1 else f"{days} days later")
