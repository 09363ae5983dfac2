"""Writing a bundle: its manifest, its files, its signatures and provenance, and validating them again.

Only what is proven comes in.
No number is computed here.
"""
