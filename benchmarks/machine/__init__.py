"""What ran a benchmark, for how long, and where its results lie."""
