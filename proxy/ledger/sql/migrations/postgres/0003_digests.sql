-- Roll-ups of roll-ups: hours and days that are over, summed once by each of the few sets of names that are asked for most. They are made
-- behind the writers' backs (postgres_digests.py) and cost them nothing. "digested" says which hours and days are whole: whoever
-- changes a roll-up of an hour that is over takes its mark away in the same transaction, by trigger, so that no release can forget it.

CREATE TABLE "digests" (
    "level" TEXT NOT NULL,
    "at" TIMESTAMPTZ NOT NULL,
    -- GROUPING() of the names: which of them tell this row from others.
    "kind" SMALLINT NOT NULL,
    "user" TEXT,
    "team" TEXT,
    "key_id" TEXT,
    "provider" TEXT,
    "model" TEXT,
    "operation" TEXT,
    "api" TEXT,
    "outcome" TEXT,
    "requests" BIGINT NOT NULL,
    "ok" BIGINT NOT NULL,
    "denied" BIGINT NOT NULL,
    "failed" BIGINT NOT NULL,
    "client_aborted" BIGINT NOT NULL,
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
    "reported_cost_usd" NUMERIC NOT NULL
);

CREATE INDEX "digests_by_kind" ON "digests" ("kind", "level", "at");
CREATE INDEX "digests_by_time" ON "digests" ("level", "at");

CREATE TABLE "digested" (
    "level" TEXT NOT NULL,
    "at" TIMESTAMPTZ NOT NULL,
    PRIMARY KEY ("level", "at")
);

-- The lock is shared by writers and held alone by whoever digests, each until commit: a digest sees all of a writer or none.
CREATE FUNCTION "reopen_digests"() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    hours TIMESTAMPTZ[];
BEGIN
    SELECT array_agg(DISTINCT date_bin('1 hour', "bucket_at", TIMESTAMPTZ '1970-01-01 00:00:00+00')) INTO hours
    FROM "changed" WHERE "bucket_at" < date_bin('1 hour', now(), TIMESTAMPTZ '1970-01-01 00:00:00+00');
    IF hours IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock_shared(1464157556);
        DELETE FROM "digested" WHERE "level" = 'hour' AND "at" = ANY(hours);
        DELETE FROM "digested" WHERE "level" = 'day' AND "at" = ANY(
            SELECT DISTINCT date_bin('1 day', hour, TIMESTAMPTZ '1970-01-01 00:00:00+00') FROM unnest(hours) AS hour
        );
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER "reopen_by_insert" AFTER INSERT ON "rollups" REFERENCING NEW TABLE AS "changed"
    FOR EACH STATEMENT EXECUTE FUNCTION "reopen_digests"();
CREATE TRIGGER "reopen_by_update" AFTER UPDATE ON "rollups" REFERENCING NEW TABLE AS "changed"
    FOR EACH STATEMENT EXECUTE FUNCTION "reopen_digests"();
CREATE TRIGGER "reopen_by_delete" AFTER DELETE ON "rollups" REFERENCING OLD TABLE AS "changed"
    FOR EACH STATEMENT EXECUTE FUNCTION "reopen_digests"();
