-- name: watermark
SELECT log_id, next_lsn, digest, standing, received_us FROM watermark

-- name: begin_watermark
INSERT INTO watermark (one, log_id, next_lsn, digest, standing, received_us) VALUES (1, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING

-- name: move_watermark
UPDATE watermark SET log_id = %s, next_lsn = %s, digest = %s, standing = %s, received_us = %s WHERE next_lsn = %s

-- name: add_payments
COPY payments FROM STDIN

-- name: add_lookups
COPY lookups FROM STDIN

-- name: add_labels
COPY labels FROM STDIN

-- name: add_controls
COPY controls FROM STDIN

-- name: add_places
COPY places FROM STDIN

-- name: add_versions
COPY versions FROM STDIN

-- name: versions
SELECT * FROM versions ORDER BY version

-- name: of_transaction
SELECT p.* FROM lookups l JOIN payments p ON p.lsn = l.lsn WHERE l.kind = 0 AND l.key = %s ORDER BY l.lsn DESC

-- name: first_received
SELECT lsn FROM payments WHERE received_us >= %s ORDER BY received_us, lsn LIMIT 1

-- name: page
SELECT * FROM payments
WHERE lsn >= %(first)s AND lsn < %(before)s
  AND (%(mask)s::int IS NULL OR (outcome IS NOT NULL AND (%(mask)s::int >> outcome::int) & 1 = 1))
  AND (%(risk_min)s::float8 IS NULL OR risk_score >= %(risk_min)s::float8)
  AND (%(risk_max)s::float8 IS NULL OR risk_score <= %(risk_max)s::float8)
ORDER BY lsn DESC LIMIT %(limit)s

-- name: page_stopped
SELECT * FROM payments
WHERE outcome > 0 AND lsn >= %(first)s AND lsn < %(before)s AND (%(mask)s::int >> outcome::int) & 1 = 1
  AND (%(risk_min)s::float8 IS NULL OR risk_score >= %(risk_min)s::float8)
  AND (%(risk_max)s::float8 IS NULL OR risk_score <= %(risk_max)s::float8)
ORDER BY lsn DESC LIMIT %(limit)s

-- name: page_of_key
SELECT p.* FROM lookups l JOIN payments p ON p.lsn = l.lsn
WHERE l.kind = %(kind)s AND l.key = %(key)s AND l.lsn >= %(first)s AND l.lsn < %(before)s
  AND (%(mask)s::int IS NULL OR (p.outcome IS NOT NULL AND (%(mask)s::int >> p.outcome::int) & 1 = 1))
  AND (%(risk_min)s::float8 IS NULL OR p.risk_score >= %(risk_min)s::float8)
  AND (%(risk_max)s::float8 IS NULL OR p.risk_score <= %(risk_max)s::float8)
  AND (%(merchant)s::bigint IS NULL OR p.merchant = %(merchant)s::bigint)
ORDER BY l.lsn DESC LIMIT %(limit)s

-- name: labels
SELECT * FROM labels WHERE payment = %s ORDER BY lsn

-- name: controls
SELECT * FROM controls WHERE lsn > %s ORDER BY lsn LIMIT %s

-- name: place
SELECT * FROM places WHERE first_lsn <= %s ORDER BY first_lsn DESC LIMIT 1

-- name: drop_payments
DELETE FROM payments WHERE lsn < %s

-- name: drop_lookups
DELETE FROM lookups WHERE lsn < %s

-- name: drop_labels
DELETE FROM labels WHERE lsn < %s

-- name: drop_controls
DELETE FROM controls WHERE lsn < %s

-- name: drop_places
DELETE FROM places WHERE first_lsn < %s
