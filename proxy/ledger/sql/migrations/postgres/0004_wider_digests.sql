-- Digests of six hours ("quarter" of a day) and of seven days ("week", counted from the epoch) beside those of hours and days: a month
-- is a dozen of them then, not thirty days and twenty-three hours. Whoever changes a roll-up reopens them all.

CREATE OR REPLACE FUNCTION "reopen_digests"() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    hours TIMESTAMPTZ[];
    epoch CONSTANT TIMESTAMPTZ := '1970-01-01 00:00:00+00';
BEGIN
    SELECT array_agg(DISTINCT date_bin('1 hour', "bucket_at", epoch)) INTO hours
    FROM "changed" WHERE "bucket_at" < date_bin('1 hour', now(), epoch);
    IF hours IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock_shared(1464157556);
        DELETE FROM "digested" AS d USING (
            SELECT DISTINCT level, date_bin(width, hour, epoch) AS start
            FROM unnest(hours) AS hour
            CROSS JOIN (VALUES ('hour', INTERVAL '1 hour'), ('quarter', '6 hours'), ('day', '1 day'), ('week', '7 days'))
                AS levels (level, width)
        ) AS reopened
        WHERE d."level" = reopened.level AND d."at" = reopened.start;
    END IF;
    RETURN NULL;
END
$$;
