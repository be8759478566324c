"""Which rows one page of a long list holds."""

from uuid import UUID

import sqlalchemy as sa


def ids_of_page(table: sa.Table, offset: int, count: int, total: int) -> sa.Select[tuple[UUID]]:
    """Ids of a page of rows, the page being of a list with the newest first.

    An index on `created_at` and `id` is walked from its nearer end: the last page costs what the first does.

    Args:
        table: With `id` and `created_at`.
        offset: Rows before the page.
        count: Rows of a page; the last one may have fewer.
        total: Rows of the whole list.
    """
    created_at, row_id = table.c.created_at, table.c.id
    rows_behind = max(0, total - offset - count)
    if offset <= rows_behind:
        newest_first = sa.select(row_id).order_by(created_at.desc(), row_id.desc())
        return newest_first.offset(offset).limit(count)
    oldest_first = sa.select(row_id).order_by(created_at, row_id)
    return oldest_first.offset(rows_behind).limit(min(count, total - offset))
