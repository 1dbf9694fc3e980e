"""Where records wait on disk between the workers and the ledger."""
