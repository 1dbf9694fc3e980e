-- Lines that are written once and read newest first: the audit log, alerts and their deliveries, told apart by "kind".

CREATE TABLE "journal" (
    "kind" TEXT NOT NULL,
    "id" TEXT COLLATE "C" NOT NULL,
    "at" TIMESTAMPTZ NOT NULL,
    "body" JSONB NOT NULL,
    PRIMARY KEY ("kind", "id")
);

CREATE INDEX "journal_by_time" ON "journal" ("kind", "at", "id");
