-- Lines that are written once and read newest first: the audit log, alerts and their deliveries, told apart by "kind".

CREATE TABLE "journal" (
    "kind" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "at" TEXT NOT NULL,
    "body" TEXT NOT NULL,
    PRIMARY KEY ("kind", "id")
) WITHOUT ROWID;

CREATE INDEX "journal_by_time" ON "journal" ("kind", "at", "id");
