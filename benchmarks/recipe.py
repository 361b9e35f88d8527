"""The service that people build themselves: FastAPI, pydantic, Redis counters, a scikit-learn pipeline and XGBoost, one uvicorn worker.

    python -m benchmarks.recipe fit FILE          make the model
    uvicorn benchmarks.recipe:app                 RECIPE_MODEL: that file, RECIPE_REDIS: the port of a Redis

Written as a competent engineer would: one round trip to Redis a payment (a pipeline without MULTI), windows by sorted sets, asyncio, one
row to the model, one thread a prediction. What it does not do: exact late events, retries, rules, reasons, anything on disk before the
answer.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, Field

HOUR_S: Final = 3_600.0
DAY_S: Final = 86_400.0

NUMBERS: Final = ["amount", "hour", "count_1h", "sum_1h", "merchants_1h", "count_24h", "sum_24h", "merchants_24h", "mean_24h"]
WORDS: Final = ["merchant_category", "country", "currency"]
CATEGORIES: Final = ["grocery", "travel", "fuel", "electronics", "gambling", "restaurants"]
COUNTRIES: Final = ["DE", "FR", "NL", "US", "GB"]

TREES: Final = 400
DEPTH: Final = 4


class Payment(BaseModel):
    """The request."""

    transaction_id: str = Field(min_length=1, max_length=128)
    timestamp: datetime
    customer_id: str
    merchant_id: str
    amount: float = Field(ge=0)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    merchant_category: str | None = None
    country: str | None = None
    is_online: bool = False


class Answer(BaseModel):
    """The answer."""

    transaction_id: str
    is_fraud: bool
    fraud_probability: float
    decision: str


def fit(path: Path, rows: int = 20_000) -> None:
    """A pipeline and 400 trees of depth 4 on made rows: speed is asked, not merit."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from xgboost import XGBClassifier

    dice = np.random.default_rng(0)
    table = pd.DataFrame({name: np.exp(dice.normal(1.0, 1.0, rows)) for name in NUMBERS})
    for name, words in zip(WORDS, (CATEGORIES, COUNTRIES, ["EUR", "USD"]), strict=True):
        table[name] = dice.choice(words, rows)
    fraud = dice.random(rows) < 1 / (1 + np.exp(4.0 - 0.3 * table["amount"] - 0.2 * table["count_1h"]))
    model = Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [
                        ("numbers", Pipeline([("fill", SimpleImputer()), ("scale", StandardScaler())]), NUMBERS),
                        ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), WORDS),
                    ]
                ),
            ),
            ("model", XGBClassifier(n_estimators=TREES, max_depth=DEPTH, learning_rate=0.05, tree_method="hist", n_jobs=1)),
        ]
    )
    model.fit(table, fraud)
    path.write_bytes(pickle.dumps(model))


async def velocity(client: Any, payment: Payment) -> tuple[float, ...]:
    """Count, sum and different merchants of the customer in the last hour and day, this payment with them: one round trip."""
    now = payment.timestamp.timestamp()
    key = f"v:{payment.customer_id}"
    pipe = client.pipeline(transaction=False)
    pipe.zadd(key, {f"{payment.transaction_id}|{payment.merchant_id}|{payment.amount}": now})
    pipe.zremrangebyscore(key, "-inf", f"({now - DAY_S}")
    pipe.zrangebyscore(key, f"({now - DAY_S}", now, withscores=True)
    pipe.expire(key, int(DAY_S))
    found = (await pipe.execute())[2]
    out: list[float] = []
    for window in (HOUR_S, DAY_S):
        count, total, merchants = 0, 0.0, set()
        for member, at in found:
            if at > now - window:
                _, merchant, amount = member.rsplit("|", 2)
                count, total = count + 1, total + float(amount)
                merchants.add(merchant)
        out += [count, total, len(merchants)]
    return tuple(out)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The model and the connections to Redis."""
    import redis.asyncio as redis

    app.state.model = pickle.loads(Path(os.environ["RECIPE_MODEL"]).read_bytes())
    app.state.redis = redis.Redis(host="127.0.0.1", port=int(os.environ["RECIPE_REDIS"]), decode_responses=True)
    yield
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/score_transaction")
async def score(payment: Payment) -> Answer:
    """Decide one payment."""
    count_1h, sum_1h, merchants_1h, count_24h, sum_24h, merchants_24h = await velocity(app.state.redis, payment)
    row = pd.DataFrame(
        [
            (
                payment.amount, payment.timestamp.astimezone(UTC).hour, count_1h, sum_1h, merchants_1h, count_24h, sum_24h, merchants_24h,
                sum_24h / count_24h, payment.merchant_category, payment.country, payment.currency,
            )
        ],
        columns=[*NUMBERS, *WORDS],
    )  # fmt: skip
    chance = float(app.state.model.predict_proba(row)[0, 1])
    decision = "decline" if chance >= 0.9 else "review" if chance >= 0.5 else "approve"
    return Answer(transaction_id=payment.transaction_id, is_fraud=chance >= 0.5, fraud_probability=chance, decision=decision)


if __name__ == "__main__" and sys.argv[1:2] == ["fit"]:
    fit(Path(sys.argv[2]))
