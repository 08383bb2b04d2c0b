"""Other people's classifiers on the same faces, in the same run, on one thread each.

Their weights are fetched from their own packages, pinned by SHA-256, and never committed.
"""
