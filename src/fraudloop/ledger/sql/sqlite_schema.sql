-- Rows by LSN, appended only. No table has an index on a random text; lookups are kept apart, 64-bit fingerprints in key order.

CREATE TABLE IF NOT EXISTS watermark (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    log_id TEXT NOT NULL,
    next_lsn INTEGER NOT NULL,
    digest TEXT NOT NULL,
    standing TEXT NOT NULL,
    received_us INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS payments (
    lsn INTEGER PRIMARY KEY,
    received_us INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    transaction_id TEXT NOT NULL,
    customer INTEGER,
    merchant_id TEXT,
    merchant INTEGER,
    amount_base INTEGER,
    outcome INTEGER,
    tier INTEGER,
    decided INTEGER,
    fraud_score REAL,
    risk_score REAL,
    version INTEGER
) STRICT;

-- Arrival never goes back along the log, so both indexes grow at their ends.
CREATE INDEX IF NOT EXISTS payments_received ON payments (received_us, lsn);
CREATE INDEX IF NOT EXISTS payments_stopped ON payments (lsn) WHERE outcome > 0;

CREATE TABLE IF NOT EXISTS lookups (
    kind INTEGER NOT NULL,
    key INTEGER NOT NULL,
    lsn INTEGER NOT NULL,
    PRIMARY KEY (kind, key, lsn)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS labels (
    lsn INTEGER PRIMARY KEY,
    payment INTEGER NOT NULL,
    transaction_id TEXT NOT NULL,
    is_fraud INTEGER NOT NULL,
    source TEXT NOT NULL,
    known_us INTEGER NOT NULL,
    reason TEXT,
    received_us INTEGER NOT NULL,
    before INTEGER NOT NULL,
    after INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS labels_payment ON labels (payment, lsn);

CREATE TABLE IF NOT EXISTS controls (
    lsn INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    what TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    received_us INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS places (
    first_lsn INTEGER PRIMARY KEY,
    segment TEXT NOT NULL,
    offset INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS versions (
    version INTEGER PRIMARY KEY,
    model TEXT,
    rules TEXT NOT NULL,
    policy TEXT NOT NULL,
    plan TEXT NOT NULL,
    build TEXT NOT NULL,
    slot TEXT NOT NULL
) STRICT;
