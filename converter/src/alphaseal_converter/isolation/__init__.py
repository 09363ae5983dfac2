"""Programs that nobody has read run here: closed off, bounded, each in a fresh process.

What comes out is data in a fixed binary form (`plain_table`), checked by whoever asked.
What a program is for is not known here; the programs themselves are in `programs`.
"""
