-- The ledger on one machine. Money of a record is TEXT, as it was computed. Money of a roll-up is an integer of 1e-12 USD
-- (exact for every price with up to six decimals per million tokens) and, where that does not hold it, a decimal TEXT beside it.

CREATE TABLE "usage_records" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "started_at" TEXT NOT NULL,
    "duration_ms" REAL NOT NULL,
    "time_to_first_byte_ms" REAL,
    "user" TEXT NOT NULL,
    "team" TEXT,
    "key_id" TEXT,
    "session" TEXT,
    "operation" TEXT,
    "operation_id" TEXT,
    "tags" TEXT,
    "provider" TEXT NOT NULL,
    "api" TEXT NOT NULL,
    "method" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "request_model" TEXT,
    "response_model" TEXT,
    "streamed" INTEGER NOT NULL,
    "status" INTEGER NOT NULL,
    "outcome" TEXT NOT NULL,
    "error" TEXT,
    "input_tokens" INTEGER,
    "cache_read_tokens" INTEGER,
    "cache_write_tokens" INTEGER,
    "output_tokens" INTEGER,
    "reasoning_tokens" INTEGER,
    "input_audio_tokens" INTEGER,
    "output_audio_tokens" INTEGER,
    "total_tokens" INTEGER,
    "usage_source" TEXT NOT NULL,
    "input_cost_usd" TEXT,
    "output_cost_usd" TEXT,
    "cost_usd" TEXT,
    "price_source" TEXT,
    "provider_request_id" TEXT,
    "reported_cost_usd" TEXT,
    "usage_details" TEXT,
    "limit" TEXT,
    "overhead_ms" REAL,
    "timings" TEXT,
    "billing_key" TEXT,
    "retry_count" INTEGER,
    "exactness" TEXT,
    "key_name" TEXT,
    "tier" TEXT
);

-- Pages, newest first, of everybody and of one user; a session's calls. Nothing else is looked for in the records.
CREATE INDEX "usage_records_by_time" ON "usage_records" ("started_at", "id");
CREATE INDEX "usage_records_by_user" ON "usage_records" ("user", "started_at", "id");
CREATE INDEX "usage_records_by_session" ON "usage_records" ("session", "started_at") WHERE "session" IS NOT NULL;

-- Which record a bill belongs to: the first that came with its billing key.
CREATE TABLE "billed" (
    "billing_key" TEXT NOT NULL PRIMARY KEY,
    "record_id" TEXT NOT NULL,
    "started_at" TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE "series" (
    "id" BLOB NOT NULL PRIMARY KEY,
    "user" TEXT NOT NULL,
    "team" TEXT,
    "key_id" TEXT,
    "provider" TEXT NOT NULL,
    "request_model" TEXT,
    "response_model" TEXT,
    "operation" TEXT,
    "api" TEXT NOT NULL,
    "outcome" TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX "series_by_user" ON "series" ("user");

-- bucket_at: Unix time of a quarter of an hour.
CREATE TABLE "rollups" (
    "bucket_at" INTEGER NOT NULL,
    "series_id" BLOB NOT NULL,
    "requests" INTEGER NOT NULL,
    "input_tokens" INTEGER NOT NULL,
    "cache_read_tokens" INTEGER NOT NULL,
    "cache_write_tokens" INTEGER NOT NULL,
    "output_tokens" INTEGER NOT NULL,
    "reasoning_tokens" INTEGER NOT NULL,
    "input_audio_tokens" INTEGER NOT NULL,
    "output_audio_tokens" INTEGER NOT NULL,
    "total_tokens" INTEGER NOT NULL,
    "estimated" INTEGER NOT NULL,
    "unpriced" INTEGER NOT NULL,
    "duration_us" INTEGER NOT NULL,
    "time_to_first_byte_us" INTEGER NOT NULL,
    "first_byte_count" INTEGER NOT NULL,
    "input_cost_usd_units" INTEGER NOT NULL CHECK (typeof("input_cost_usd_units") = 'integer'),
    "input_cost_usd_rest" TEXT,
    "output_cost_usd_units" INTEGER NOT NULL CHECK (typeof("output_cost_usd_units") = 'integer'),
    "output_cost_usd_rest" TEXT,
    "cost_usd_units" INTEGER NOT NULL CHECK (typeof("cost_usd_units") = 'integer'),
    "cost_usd_rest" TEXT,
    "reported_cost_usd_units" INTEGER NOT NULL CHECK (typeof("reported_cost_usd_units") = 'integer'),
    "reported_cost_usd_rest" TEXT,
    PRIMARY KEY ("bucket_at", "series_id")
) WITHOUT ROWID;

CREATE INDEX "rollups_by_series" ON "rollups" ("series_id", "bucket_at");

-- What the last sessions of a user are shown from.
CREATE TABLE "sessions" (
    "user" TEXT NOT NULL,
    "session" TEXT NOT NULL,
    "requests" INTEGER NOT NULL,
    "total_tokens" INTEGER NOT NULL,
    "cost_usd" TEXT NOT NULL,
    "first_at" TEXT NOT NULL,
    "last_at" TEXT NOT NULL,
    PRIMARY KEY ("user", "session")
) WITHOUT ROWID;

CREATE INDEX "sessions_by_last" ON "sessions" ("user", "last_at");

CREATE TABLE "virtual_keys" (
    "key_id" TEXT NOT NULL PRIMARY KEY,
    "key_sha256" TEXT NOT NULL UNIQUE,
    "user" TEXT NOT NULL,
    "team" TEXT,
    "tier" TEXT,
    "name" TEXT,
    "created_at" TEXT NOT NULL,
    "created_by" TEXT,
    "expires_at" TEXT,
    "revoked_at" TEXT,
    "settings" TEXT NOT NULL
);

CREATE TABLE "settings" (
    "name" TEXT NOT NULL PRIMARY KEY,
    "value" TEXT NOT NULL
);

-- One row; counts every change of a key or a setting.
CREATE TABLE "changes" (
    "id" INTEGER NOT NULL PRIMARY KEY CHECK ("id" = 1),
    "count" INTEGER NOT NULL
);

INSERT INTO "changes" ("id", "count") VALUES (1, 0);
