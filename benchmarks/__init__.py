"""Side-by-side timings against the peers: `python -m benchmarks.NAME`.

What a benchmark needs beyond the library itself is in `benchmarks/requirements.txt`.
"""
