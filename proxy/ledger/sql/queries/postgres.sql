-- name: foreign_ids
SELECT "id" FROM "usage_records_foreign" WHERE "id" = ANY($1::text[]);

-- name: claim_bills
INSERT INTO "billed" ("billing_key", "record_id", "started_at")
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[])
ON CONFLICT DO NOTHING;

-- name: bill_owners
SELECT "billing_key", "record_id" FROM "billed" WHERE "billing_key" = ANY($1::text[]);

-- name: insert_series
INSERT INTO "series" ("id", "user", "team", "key_id", "provider", "request_model", "response_model", "operation", "api", "outcome")
SELECT * FROM unnest(
    $1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[]
)
ON CONFLICT DO NOTHING;

-- name: add_to_sessions
INSERT INTO "sessions" AS kept ("user", "session", "requests", "total_tokens", "cost_usd", "first_at", "last_at")
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::numeric[], $6::timestamptz[], $7::timestamptz[])
ON CONFLICT ("user", "session") DO UPDATE SET
    "requests" = kept."requests" + excluded."requests",
    "total_tokens" = kept."total_tokens" + excluded."total_tokens",
    "cost_usd" = kept."cost_usd" + excluded."cost_usd",
    "first_at" = LEAST(kept."first_at", excluded."first_at"),
    "last_at" = GREATEST(kept."last_at", excluded."last_at");

-- name: add_cost_to_session
UPDATE "sessions" SET "cost_usd" = "cost_usd" + $3::numeric WHERE "user" = $1 AND "session" = $2;

-- name: reprice_record
UPDATE "usage_records" SET "input_cost_usd" = $3, "output_cost_usd" = $4, "cost_usd" = $5, "price_source" = $6
WHERE "id" = $1 AND "minted_at" = $2;

-- name: last_sessions
SELECT "session", "requests", "total_tokens", "cost_usd", "first_at", "last_at"
FROM "sessions" WHERE "user" = $1 ORDER BY "last_at" DESC, "session" LIMIT $2;

-- name: first_and_last_bucket
SELECT MIN("bucket_at"), MAX("bucket_at") FROM "rollups";

-- name: keys
SELECT "key_id", "key_sha256", "user", "team", "tier", "name", "created_at", "created_by", "expires_at", "revoked_at", "settings"
FROM "virtual_keys" ORDER BY "created_at", "key_id";

-- name: put_key
INSERT INTO "virtual_keys"
    ("key_id", "key_sha256", "user", "team", "tier", "name", "created_at", "created_by", "expires_at", "revoked_at", "settings")
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT ("key_id") DO UPDATE SET
    "key_sha256" = excluded."key_sha256", "user" = excluded."user", "team" = excluded."team", "tier" = excluded."tier",
    "name" = excluded."name", "created_at" = excluded."created_at", "created_by" = excluded."created_by",
    "expires_at" = excluded."expires_at", "revoked_at" = excluded."revoked_at", "settings" = excluded."settings";

-- name: setting
SELECT "value" FROM "settings" WHERE "name" = $1;

-- name: put_setting
INSERT INTO "settings" ("name", "value") VALUES ($1, $2) ON CONFLICT ("name") DO UPDATE SET "value" = excluded."value";

-- name: settings
SELECT "name", "value" FROM "settings" WHERE substr("name", 1, length($1::text)) = $1::text ORDER BY "name";

-- name: add_setting
INSERT INTO "settings" ("name", "value") VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: delete_setting
DELETE FROM "settings" WHERE "name" = $1;

-- name: entry
SELECT "id", "at", "body" FROM "journal" WHERE "kind" = $1 AND "id" = $2;

-- name: add_entry
INSERT INTO "journal" ("kind", "id", "at", "body") VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: put_entry
INSERT INTO "journal" ("kind", "id", "at", "body") VALUES ($1, $2, $3, $4)
ON CONFLICT ("kind", "id") DO UPDATE SET "at" = excluded."at", "body" = excluded."body";

-- name: delete_entries
DELETE FROM "journal" WHERE "kind" = $1 AND "at" < $2;

-- name: count_change
UPDATE "changes" SET "count" = "count" + 1;

-- name: change_marker
SELECT "count" FROM "changes";

-- name: delete_user_records
DELETE FROM "usage_records" WHERE "user" = $1;

-- name: delete_user_series
DELETE FROM "series" WHERE "user" = $1;

-- name: delete_user_digests
DELETE FROM "digests" AS d WHERE d."user" = $1
    OR NOT EXISTS (SELECT 1 FROM "digested" AS m WHERE m."level" = d."level" AND m."at" = d."at");

-- name: delete_user_sessions
DELETE FROM "sessions" WHERE "user" = $1;

-- name: delete_foreign_before
DELETE FROM "usage_records_foreign" WHERE "started_at" < $1;

-- name: delete_default_before
DELETE FROM "usage_records_default" WHERE "started_at" < $1;

-- name: delete_bills_before
DELETE FROM "billed" WHERE "started_at" < $1;

-- name: delete_sessions_before
DELETE FROM "sessions" WHERE "last_at" < $1;

-- name: partitions
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass('usage_records') ORDER BY c.relname;
