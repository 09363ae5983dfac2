"""One module per model family: inert records or model text in, a typed model out."""
