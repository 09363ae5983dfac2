"""A file of computed features is used for its own bundle and its own dates, and where asked for only as it was signed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import alphaseal
from alphaseal.cli import main
from alphaseal.errors import AlphasealError, InputError, MalformedError, NotReadableError, SignatureError, UsageError
from alphaseal.format import strict_json
from alphaseal.tables import origin as feature_origin
from alphaseal.tables.origin import FeatureOrigin
from alphaseal.trust import keys
from locations import REPOSITORY
from raising import refusal

BASE = REPOSITORY / "tests/vectors/v1/base"
DATE = "2024-01-03"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = keys.SigningKey(SECRET.public_key().public_bytes_raw(), SECRET)


@pytest.fixture(scope="module")
def bundle() -> alphaseal.Bundle:
    """The small bundle of the vectors."""
    return alphaseal.open(BASE / "bundle", trust=alphaseal.Trust.unsigned())


def origin_for(bundle: alphaseal.Bundle, /, **changes: Any) -> FeatureOrigin:
    """An origin of this bundle, of both dates of its table."""
    facts: dict[str, Any] = {
        "version": 1,
        "bundle": bundle.digest,
        "dates": ["2024-01-02", DATE],
        "sources": {},
        "converter": "0.1.0",
    }
    return FeatureOrigin(**(facts | {"bars": "b" * 64, "static": None, "incomplete_rows": "kept"} | changes))


def write(path: Path, origin: FeatureOrigin | bytes | None) -> Path:
    """The vectors' table with these metadata."""
    table = pq.read_table(BASE / "features.parquet")
    with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        if origin is not None:
            data = origin if isinstance(origin, bytes) else strict_json.dumps(msgspec.to_builtins(origin))
            writer.add_key_value_metadata({feature_origin.METADATA_KEY: data})
    return path


@pytest.fixture
def signed(bundle: alphaseal.Bundle, tmp_path: Path) -> tuple[Path, Path]:
    """A signed file and the public key's file."""
    path = write(tmp_path / "features.parquet", origin_for(bundle))
    feature_origin.sidecar_of(path).write_bytes(feature_origin.sign(path.read_bytes(), origin_for(bundle), KEY))
    public = tmp_path / "producer.pub"
    public.write_bytes(
        SECRET.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return path, public


def test_the_right_file_scores_as_the_plain_table(bundle: alphaseal.Bundle, tmp_path: Path) -> None:
    """Metadata change no score, by path, by bytes and in a stream."""
    path = write(tmp_path / "features.parquet", origin_for(bundle))
    plain = bundle.score(BASE / "features.parquet", date=DATE).table
    assert bundle.score(path, date=DATE).table == plain
    assert bundle.score(str(path), date=DATE).table == plain
    assert bundle.score(path.read_bytes(), date=DATE).table == plain
    assert pa.concat_tables([part.table for part in bundle.score_stream(path, dates=(DATE, None))]) == plain
    assert (
        pa.concat_tables([part.table for part in bundle.score_stream(path.read_bytes(), dates=(DATE, None))]) == plain
    )


def test_another_bundle_and_other_dates_are_refused(bundle: alphaseal.Bundle, tmp_path: Path) -> None:
    """By `score` and by `score_stream`, for a date and for a range."""
    other = write(tmp_path / "other.parquet", origin_for(bundle, bundle="0" * 64))
    early = write(tmp_path / "early.parquet", origin_for(bundle, dates=["2024-01-02"]))
    for call in (bundle.score, bundle.score_stream):
        assert refusal(InputError, call, other, dates=(DATE, DATE)).code == "features.other_bundle"
        assert refusal(InputError, call, early, dates=(DATE, None)).code == "features.other_date"
    assert refusal(InputError, bundle.score, early, date=DATE).code == "features.other_date"
    assert len(bundle.score(early, date="2024-01-02"))
    # A range of which some date was computed.
    assert list(bundle.score_stream(early, dates=(None, DATE)))


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"version": 1}',
        b"[" * 100,
        strict_json.dumps({"version": 2}),
        b" " * (feature_origin.MAXIMUM_METADATA + 1),
    ],
)
def test_damaged_metadata_are_refused(bundle: alphaseal.Bundle, tmp_path: Path, metadata: bytes) -> None:
    """What claims to be computed and does not say for what is not used."""
    path = write(tmp_path / "features.parquet", metadata)
    assert refusal(InputError, bundle.score, path, date=DATE).code == "features.origin"


@pytest.mark.parametrize("days", [[], [DATE, DATE], [DATE, "2024-01-02"], ["yesterday"], ["2024-02-30"]])
def test_dates_are_dates_in_order(bundle: alphaseal.Bundle, tmp_path: Path, days: list[str]) -> None:
    """None, twice, backwards, no dates: damaged."""
    path = write(tmp_path / "features.parquet", origin_for(bundle, dates=days))
    assert refusal(InputError, bundle.score, path, date=DATE).code == "features.origin"


def test_the_origin_can_be_read(bundle: alphaseal.Bundle, tmp_path: Path) -> None:
    """What was written comes back; a table without metadata has none; one in memory is not asked."""
    path = write(tmp_path / "features.parquet", origin_for(bundle))
    assert feature_origin.read_origin(path) == origin_for(bundle)
    assert feature_origin.read_origin(write(tmp_path / "plain.parquet", None)) is None
    feature_origin.check(pq.read_table(path), "0" * 64, date=DATE)


def test_the_signed_bytes_are_those_that_are_scored(
    bundle: alphaseal.Bundle, signed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read once: what stands on the disk afterwards changes nothing."""
    path, public = signed
    data = feature_origin.read_signed(path, public, bundle.digest, date=DATE)
    path.write_bytes(b"exchanged")
    assert bundle.score(data, date=DATE).table == bundle.score(BASE / "features.parquet", date=DATE).table


def test_every_byte_counts(bundle: alphaseal.Bundle, signed: tuple[Path, Path]) -> None:
    """A flipped bit anywhere in the file is seen, also where parquet would not notice."""
    path, public = signed
    good = path.read_bytes()
    for place in range(0, len(good), 97):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        code = refusal(SignatureError, feature_origin.read_signed, path, public, bundle.digest, date=DATE).code
        assert code == "features.signature_payload"


def test_signatures_that_do_not_count(bundle: alphaseal.Bundle, signed: tuple[Path, Path], tmp_path: Path) -> None:
    """None, another key's, one of a bundle's manifest, a damaged one, and one for another bundle or date."""
    path, public = signed
    sidecar = feature_origin.sidecar_of(path)
    good = sidecar.read_bytes()

    def refused(kind: type[AlphasealError], date: str = DATE, digest: str = bundle.digest) -> str:
        return refusal(kind, feature_origin.read_signed, path, public, digest, date=date).code

    assert refused(InputError, "2024-01-04") == "features.other_date"
    assert refused(InputError, digest="0" * 64) == "features.other_bundle"
    sidecar.unlink()
    assert refused(SignatureError) == "features.not_signed"
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    by_other = keys.SigningKey(other.public_key().public_bytes_raw(), other)
    sidecar.write_bytes(feature_origin.sign(path.read_bytes(), origin_for(bundle), by_other))
    assert refused(SignatureError) == "features.signature_key"
    sidecar.write_bytes(good.replace(b'"sig": "', b'"sig": "A', 1)[: len(good)])
    assert refused(MalformedError).startswith(("json.", "envelope."))
    changed = strict_json.loads(good, where="", maximum_bytes=1 << 20)
    changed["signatures"][0]["sig"] = keys.encode_base64(bytes(64))
    sidecar.write_bytes(strict_json.dumps(changed))
    assert refused(SignatureError) == "features.signature_wrong"
    sidecar.write_bytes(feature_origin.sign(path.read_bytes(), origin_for(bundle, bundle="0" * 64), KEY))
    assert refused(InputError) == "features.other_bundle"
    sidecar.write_bytes(good)
    path.unlink()
    assert refused(NotReadableError) == "features.not_readable"


def test_a_signed_table_without_metadata_is_refused(bundle: alphaseal.Bundle, signed: tuple[Path, Path]) -> None:
    """A signature alone does not make a table one of computed features."""
    path, public = signed
    shutil.copy(BASE / "features.parquet", path)
    feature_origin.sidecar_of(path).write_bytes(feature_origin.sign(path.read_bytes(), origin_for(bundle), KEY))
    code = refusal(InputError, feature_origin.read_signed, path, public, bundle.digest, date=DATE).code
    assert code == "features.origin"


def test_the_command_demands_what_it_is_told_to(
    signed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--features-key: 0 for the signed file, 13 for an unsigned one, 2 without a file; dates and range alike."""
    path, public = signed
    common = ["score", str(BASE / "bundle"), "--allow-unsigned", "--json", "--features-key", str(public)]
    assert main([*common, "--features", str(path), "--date", DATE]) == 0
    assert main([*common, "--features", str(path), "--dates", f":{DATE}"]) == 0
    assert main([*common, "--features", str(BASE / "features.parquet"), "--date", DATE]) == SignatureError.exit
    assert main([*common, "--bars", str(path), "--date", DATE]) == UsageError.exit
    capsys.readouterr()


def test_a_file_too_large_to_be_read_at_once_is_refused(
    bundle: alphaseal.Bundle, signed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound of a signed file holds."""
    path, public = signed
    monkeypatch.setattr(feature_origin, "MAXIMUM_SIGNED_FILE", 100)
    code = refusal(InputError, feature_origin.read_signed, path, public, bundle.digest, date=DATE).code
    assert code == "features.too_large"
