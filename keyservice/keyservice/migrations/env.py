"""Run by Alembic when the key service starts; the connection is the service's own."""

from alembic import context

from keyservice.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter most of a table; batch mode copies it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
