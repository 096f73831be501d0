"""The tables of the first archives."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


# SQLite numbers rows by itself only where the key is its own INTEGER.
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "audit",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("at_s", sa.Float(precision=53), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("what", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "inspections",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("at_s", sa.Float(precision=53), nullable=False),
        sa.Column("product", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer()),
        sa.Column("verdict", sa.String(length=10), nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=False),
        sa.Column("threshold", sa.Float(precision=53), nullable=False),
        sa.Column("review_threshold", sa.Float(precision=53)),
        sa.Column("pixel_threshold", sa.Float(precision=53), nullable=False),
        sa.Column("mean_residual", sa.Float(precision=53), nullable=False),
        sa.Column("regions", sa.JSON(), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("engine", sa.String(length=200), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("latency_ms", sa.Float(precision=53), nullable=False),
        sa.Column("review", sa.String(length=10)),
        sa.Column("reviewed_by", sa.String(length=100)),
        sa.Column("reviewed_at_s", sa.Float(precision=53)),
        sa.Column("boxes", sa.JSON()),
        sa.Column("to_review", sa.Boolean(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("key"),
        sqlite_autoincrement=True,
    )
    op.create_index("inspections_by_time", "inspections", ["at_s", "score"])
    op.create_index("inspections_of_both", "inspections", ["product", "verdict", "at_s", "score"])
    op.create_index("inspections_of_product", "inspections", ["product", "at_s", "score"])
    op.create_index("inspections_of_verdict", "inspections", ["verdict", "at_s", "score"])
    op.create_index("inspections_reviewed", "inspections", ["reviewed_by", "reviewed_at_s"])
    op.create_index("inspections_reviewed_as", "inspections", ["review", "product"])
    op.create_index("inspections_to_review", "inspections", ["to_review", "at_s"])

    op.create_table(
        "pauses",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("began_at_s", sa.Float(precision=53), nullable=False),
        sa.Column("began_by", sa.String(length=100), nullable=False),
        sa.Column("why", sa.String(length=200), nullable=False),
        sa.Column("ended_at_s", sa.Float(precision=53)),
        sa.Column("ended_by", sa.String(length=100)),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "people",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "segments",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("read_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("ends_at_s", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
