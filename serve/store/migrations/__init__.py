"""How an older database becomes today's, one file a change; see `serve.store.database.migrate`."""
