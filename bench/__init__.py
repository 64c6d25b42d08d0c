"""Side-by-side measurements against peers, one file a question; docs/benchmarks.md. Nobody imports it."""
