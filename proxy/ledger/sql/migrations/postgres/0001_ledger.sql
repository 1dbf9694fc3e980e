-- The ledger for many machines. Records are partitioned by the month in which their id was minted: an id says of itself in which
-- partition it must be, so "once by id" holds over all of them although a unique key of a partitioned table must contain the
-- partition's column. Ids that are no UUIDv7 of their own time (usage tracked from outside) share one partition of their own.
-- Months are made ahead by the program; what fits none lands in the default partition and is moved when its month is made.

CREATE TABLE "usage_records" (
    "id" TEXT COLLATE "C" NOT NULL,
    "minted_at" TIMESTAMPTZ NOT NULL,
    "started_at" TIMESTAMPTZ NOT NULL,
    "duration_ms" DOUBLE PRECISION NOT NULL,
    "time_to_first_byte_ms" DOUBLE PRECISION,
    "user" TEXT NOT NULL,
    "team" TEXT,
    "key_id" TEXT,
    "session" TEXT,
    "operation" TEXT,
    "operation_id" TEXT,
    "tags" JSONB,
    "provider" TEXT NOT NULL,
    "api" TEXT NOT NULL,
    "method" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "request_model" TEXT,
    "response_model" TEXT,
    "streamed" BOOLEAN NOT NULL,
    "status" INTEGER NOT NULL,
    "outcome" TEXT NOT NULL,
    "error" TEXT,
    "input_tokens" BIGINT,
    "cache_read_tokens" BIGINT,
    "cache_write_tokens" BIGINT,
    "output_tokens" BIGINT,
    "reasoning_tokens" BIGINT,
    "input_audio_tokens" BIGINT,
    "output_audio_tokens" BIGINT,
    "total_tokens" BIGINT,
    "usage_source" TEXT NOT NULL,
    "input_cost_usd" NUMERIC,
    "output_cost_usd" NUMERIC,
    "cost_usd" NUMERIC,
    "price_source" TEXT,
    "provider_request_id" TEXT,
    "reported_cost_usd" NUMERIC,
    "usage_details" JSONB,
    "limit" TEXT,
    "overhead_ms" DOUBLE PRECISION,
    "timings" JSONB,
    "billing_key" TEXT,
    "retry_count" BIGINT,
    "exactness" TEXT,
    "key_name" TEXT,
    "tier" TEXT,
    PRIMARY KEY ("id", "minted_at")
) PARTITION BY RANGE ("minted_at");

-- Pages, newest first, of everybody and of one user; a session's calls. Nothing else is looked for in the records.
CREATE INDEX "usage_records_by_time" ON "usage_records" ("started_at", "id");
CREATE INDEX "usage_records_by_user" ON "usage_records" ("user", "started_at", "id");
CREATE INDEX "usage_records_by_session" ON "usage_records" ("session", "started_at") WHERE "session" IS NOT NULL;

CREATE TABLE "usage_records_default" PARTITION OF "usage_records" DEFAULT;
CREATE TABLE "usage_records_foreign" PARTITION OF "usage_records"
    FOR VALUES FROM ('1970-01-01 00:00:00+00') TO ('1970-01-02 00:00:00+00');

-- Which record a bill belongs to: the first that came with its billing key.
CREATE TABLE "billed" (
    "billing_key" TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    "record_id" TEXT NOT NULL,
    "started_at" TIMESTAMPTZ NOT NULL
);

CREATE TABLE "series" (
    "id" BYTEA NOT NULL PRIMARY KEY,
    "user" TEXT NOT NULL,
    "team" TEXT,
    "key_id" TEXT,
    "provider" TEXT NOT NULL,
    "request_model" TEXT,
    "response_model" TEXT,
    "operation" TEXT,
    "api" TEXT NOT NULL,
    "outcome" TEXT NOT NULL
);

CREATE INDEX "series_by_user" ON "series" ("user");

-- bucket_at: a quarter of an hour. The free space lets the hot cells be updated in place.
CREATE TABLE "rollups" (
    "bucket_at" TIMESTAMPTZ NOT NULL,
    "series_id" BYTEA NOT NULL REFERENCES "series" ("id") ON DELETE CASCADE,
    "requests" BIGINT NOT NULL,
    "input_tokens" BIGINT NOT NULL,
    "cache_read_tokens" BIGINT NOT NULL,
    "cache_write_tokens" BIGINT NOT NULL,
    "output_tokens" BIGINT NOT NULL,
    "reasoning_tokens" BIGINT NOT NULL,
    "input_audio_tokens" BIGINT NOT NULL,
    "output_audio_tokens" BIGINT NOT NULL,
    "total_tokens" BIGINT NOT NULL,
    "estimated" BIGINT NOT NULL,
    "unpriced" BIGINT NOT NULL,
    "duration_us" BIGINT NOT NULL,
    "time_to_first_byte_us" BIGINT NOT NULL,
    "first_byte_count" BIGINT NOT NULL,
    "input_cost_usd" NUMERIC NOT NULL,
    "output_cost_usd" NUMERIC NOT NULL,
    "cost_usd" NUMERIC NOT NULL,
    "reported_cost_usd" NUMERIC NOT NULL,
    PRIMARY KEY ("bucket_at", "series_id")
) WITH (fillfactor = 70);

CREATE INDEX "rollups_by_series" ON "rollups" ("series_id", "bucket_at");

-- What the last sessions of a user are shown from.
CREATE TABLE "sessions" (
    "user" TEXT NOT NULL,
    "session" TEXT NOT NULL,
    "requests" BIGINT NOT NULL,
    "total_tokens" BIGINT NOT NULL,
    "cost_usd" NUMERIC NOT NULL,
    "first_at" TIMESTAMPTZ NOT NULL,
    "last_at" TIMESTAMPTZ NOT NULL,
    PRIMARY KEY ("user", "session")
);

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
    "settings" JSONB NOT NULL
);

CREATE TABLE "settings" (
    "name" TEXT NOT NULL PRIMARY KEY,
    "value" JSONB NOT NULL
);

-- One row; counts every change of a key or a setting.
CREATE TABLE "changes" (
    "id" INTEGER NOT NULL PRIMARY KEY CHECK ("id" = 1),
    "count" BIGINT NOT NULL
);

INSERT INTO "changes" ("id", "count") VALUES (1, 0);
