"""Who is trusted: keys, signatures, the trust file and the judgement over them.

Trust always comes from the caller and never from a bundle.
What a bundle says of itself is `format`'s; whether its files are what it says is `sealed`'s.
"""

__all__ = ["envelope", "judgement", "keys", "policy"]
