"""What tools/make_vectors.py writes: one small bundle, and every case as a change of it."""
