"""Mutation testing: what the tests would not notice. `make mutants`; subjects are in subjects.toml."""
