"""Cost, budgets and the ledger of requests."""
