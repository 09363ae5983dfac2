"""Files of features as the producer signs them, and what lies under that signature on the trading side."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from alphaseal.format import strict_json
from alphaseal.tables import origin as feature_origin
from alphaseal.tables.origin import METADATA_KEY, FeatureOrigin
from alphaseal.trust import keys
from gauntlet.worlds import Frame, Live, World, arrow

_SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_KEY = keys.SigningKey(_SECRET.public_key().public_bytes_raw(), _SECRET)


def read_sealed(world: World, live: Live, folder: Path) -> bytes:
    """What `--features-key` makes of the live features, beside the signature of what the producer signed."""
    assert live.features is not None
    assert live.signed is not None
    path, public = folder / "features.parquet", folder / "producer.pub"
    signed = _origin(world, live.signed)
    path.write_bytes(_file(live.features, signed))
    feature_origin.sidecar_of(path).write_bytes(feature_origin.sign(_file(live.signed, signed), signed, _KEY))
    encoding = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(_SECRET.public_key().public_bytes(*encoding))
    return feature_origin.read_signed(path, public, world.bundle.digest, date=live.date.date())


def _origin(world: World, frame: Frame) -> FeatureOrigin:
    return FeatureOrigin(
        version=1,
        bundle=world.bundle.digest,
        dates=[str(day) for day in np.unique(pd.DatetimeIndex(frame["datetime"]).to_numpy().astype("datetime64[D]"))],
        sources={},
        bars="0" * 64,
        static=None,
        incomplete_rows="kept",
        converter="0",
    )


def _file(frame: Frame, origin: FeatureOrigin) -> bytes:
    table, sink = arrow(frame), io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({METADATA_KEY: strict_json.dumps(msgspec.to_builtins(origin))})
    return sink.getvalue()
