-- name: watermark
SELECT log_id, next_lsn, digest, standing, received_us FROM watermark

-- name: begin_watermark
INSERT INTO watermark (one, log_id, next_lsn, digest, standing, received_us) VALUES (1, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING

-- name: move_watermark
UPDATE watermark SET log_id = ?, next_lsn = ?, digest = ?, standing = ?, received_us = ? WHERE next_lsn = ?

-- name: add_payments
INSERT INTO payments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_lookups
INSERT INTO lookups VALUES (?, ?, ?)

-- name: add_labels
INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_controls
INSERT INTO controls VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_places
INSERT INTO places VALUES (?, ?, ?)

-- name: add_versions
INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: versions
SELECT * FROM versions ORDER BY version

-- name: of_transaction
SELECT p.* FROM lookups l JOIN payments p ON p.lsn = l.lsn WHERE l.kind = 0 AND l.key = ? ORDER BY l.lsn DESC

-- name: first_received
SELECT lsn FROM payments WHERE received_us >= ? ORDER BY received_us, lsn LIMIT 1

-- name: page
SELECT * FROM payments
WHERE lsn >= :first AND lsn < :before AND (:mask IS NULL OR (outcome IS NOT NULL AND (:mask >> outcome) & 1))
  AND (:risk_min IS NULL OR risk_score >= :risk_min) AND (:risk_max IS NULL OR risk_score <= :risk_max)
ORDER BY lsn DESC LIMIT :limit

-- name: page_stopped
SELECT * FROM payments INDEXED BY payments_stopped
WHERE outcome > 0 AND lsn >= :first AND lsn < :before AND (:mask >> outcome) & 1
  AND (:risk_min IS NULL OR risk_score >= :risk_min) AND (:risk_max IS NULL OR risk_score <= :risk_max)
ORDER BY lsn DESC LIMIT :limit

-- name: page_of_key
SELECT p.* FROM lookups l JOIN payments p ON p.lsn = l.lsn
WHERE l.kind = :kind AND l.key = :key AND l.lsn >= :first AND l.lsn < :before
  AND (:mask IS NULL OR (p.outcome IS NOT NULL AND (:mask >> p.outcome) & 1))
  AND (:risk_min IS NULL OR p.risk_score >= :risk_min) AND (:risk_max IS NULL OR p.risk_score <= :risk_max)
  AND (:merchant IS NULL OR p.merchant = :merchant)
ORDER BY l.lsn DESC LIMIT :limit

-- name: labels
SELECT * FROM labels WHERE payment = ? ORDER BY lsn

-- name: controls
SELECT * FROM controls WHERE lsn > ? ORDER BY lsn LIMIT ?

-- name: place
SELECT * FROM places WHERE first_lsn <= ? ORDER BY first_lsn DESC LIMIT 1

-- name: drop_payments
DELETE FROM payments WHERE lsn < ?

-- name: drop_lookups
DELETE FROM lookups WHERE lsn < ?

-- name: drop_labels
DELETE FROM labels WHERE lsn < ?

-- name: drop_controls
DELETE FROM controls WHERE lsn < ?

-- name: drop_places
DELETE FROM places WHERE first_lsn < ?
