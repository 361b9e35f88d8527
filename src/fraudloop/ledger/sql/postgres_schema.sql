-- As sqlite_schema.sql: rows by LSN, appended only; lookups apart, 64-bit fingerprints.

CREATE TABLE IF NOT EXISTS watermark (
    one integer PRIMARY KEY CHECK (one = 1),
    log_id text NOT NULL,
    next_lsn bigint NOT NULL,
    digest text NOT NULL,
    standing text NOT NULL,
    received_us bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS payments (
    lsn bigint PRIMARY KEY,
    received_us bigint NOT NULL,
    time_us bigint NOT NULL,
    transaction_id text NOT NULL,
    customer bigint,
    merchant_id text,
    merchant bigint,
    amount_base bigint,
    outcome smallint,
    tier smallint,
    decided smallint,
    fraud_score double precision,
    risk_score double precision,
    version integer
);
CREATE INDEX IF NOT EXISTS payments_received ON payments (received_us, lsn);
CREATE INDEX IF NOT EXISTS payments_stopped ON payments (lsn) WHERE outcome > 0;

CREATE TABLE IF NOT EXISTS lookups (
    kind smallint NOT NULL,
    key bigint NOT NULL,
    lsn bigint NOT NULL,
    PRIMARY KEY (kind, key, lsn)
);

CREATE TABLE IF NOT EXISTS labels (
    lsn bigint PRIMARY KEY,
    payment bigint NOT NULL,
    transaction_id text NOT NULL,
    is_fraud boolean NOT NULL,
    source text NOT NULL,
    known_us bigint NOT NULL,
    reason text,
    received_us bigint NOT NULL,
    before smallint NOT NULL,
    after smallint NOT NULL
);
CREATE INDEX IF NOT EXISTS labels_payment ON labels (payment, lsn);

CREATE TABLE IF NOT EXISTS controls (
    lsn bigint PRIMARY KEY,
    kind text NOT NULL,
    what text NOT NULL,
    name text NOT NULL,
    state text,
    who text NOT NULL,
    why text NOT NULL,
    received_us bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS places (
    first_lsn bigint PRIMARY KEY,
    segment text NOT NULL,
    "offset" bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS versions (
    version integer PRIMARY KEY,
    model text,
    rules text NOT NULL,
    policy text NOT NULL,
    plan text NOT NULL,
    build text NOT NULL,
    slot text NOT NULL
);
