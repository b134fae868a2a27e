"""The results on disk: one writer (`harness.store.writer`), one reader (`harness.store.run`), one layout."""
