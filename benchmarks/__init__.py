"""The package's speed beside the library's, in one run: ``python -m benchmarks``."""
