"""What Alembic runs to bring an archive up to date."""

from alembic import context

from triton_repo.console.archive.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite changes columns by writing the table anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
