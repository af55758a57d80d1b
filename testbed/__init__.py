"""What the demo, the tests and the benchmarks stand on; not part of the package that users install."""
