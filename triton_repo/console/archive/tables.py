"""The archive's tables, as this version has them; `migrations` brings older ones there."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)

METADATA = MetaData()

# SQLite numbers rows by itself only where the key is its own INTEGER.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

INSPECTIONS = Table(
    "inspections",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("key", String(80), nullable=False, unique=True),
    Column("at_s", Float(53), nullable=False),
    Column("product", String(100), nullable=False),
    Column("version", Integer),
    Column("verdict", String(10), nullable=False),
    Column("score", Float(53), nullable=False),
    Column("threshold", Float(53), nullable=False),
    Column("review_threshold", Float(53)),
    Column("pixel_threshold", Float(53), nullable=False),
    Column("mean_residual", Float(53), nullable=False),
    Column("regions", JSON, nullable=False),
    Column("width_px", Integer, nullable=False),
    Column("height_px", Integer, nullable=False),
    Column("image_sha256", String(64), nullable=False),
    Column("engine", String(200), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("latency_ms", Float(53), nullable=False),
    # What a person says of it; None where nobody has.
    Column("review", String(10)),
    Column("reviewed_by", String(100)),
    Column("reviewed_at_s", Float(53)),
    # Where the defect is: x, y, width, height in px, each.
    Column("boxes", JSON),
    # Whether a person should look: rejected or borderline, and not reviewed yet.
    Column("to_review", Boolean, nullable=False),
    # Whether it was inspected while the line paused.
    Column("is_paused", Boolean, nullable=False),
    # The newest of a product, of a verdict, or of both; the score stands in each, so that a search
    # by score looks at the index alone.
    Index("inspections_by_time", "at_s", "score"),
    Index("inspections_of_product", "product", "at_s", "score"),
    Index("inspections_of_verdict", "verdict", "at_s", "score"),
    Index("inspections_of_both", "product", "verdict", "at_s", "score"),
    Index("inspections_to_review", "to_review", "at_s"),
    Index("inspections_reviewed", "reviewed_by", "reviewed_at_s"),
    Index("inspections_reviewed_as", "review", "product"),
    # No number is given again to another inspection.
    sqlite_autoincrement=True,
)

# How far each segment of a journal has been read, in bytes.
SEGMENTS = Table(
    "segments",
    METADATA,
    Column("name", String(80), primary_key=True),
    Column("read_bytes", BigInteger, nullable=False),
)

PAUSES = Table(
    "pauses",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("began_at_s", Float(53), nullable=False),
    Column("began_by", String(100), nullable=False),
    Column("why", String(200), nullable=False),
    Column("ended_at_s", Float(53)),
    Column("ended_by", String(100)),
)

PEOPLE = Table(
    "people",
    METADATA,
    Column("name", String(100), primary_key=True),
    Column("role", String(20), nullable=False),
    Column("password_hash", String(200), nullable=False),
)

# Of browsers and of programs; only digests of what they show are kept.
SESSIONS = Table(
    "sessions",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("ends_at_s", Float(53), nullable=False),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("at_s", Float(53), nullable=False),
    Column("who", String(100), nullable=False),
    Column("what", String(500), nullable=False),
)
