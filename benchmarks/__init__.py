"""Speed and memory beside other implementations; see docs/performance.md for results and commands."""
