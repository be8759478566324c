"""Pages of lists: which rows one holds, and whether there is such a page."""

from collections.abc import Sequence
from math import ceil
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, Field

from models.errors import FaceError

T = TypeVar("T")


class NotFoundError(FaceError):
    """There is nothing with this id, or no such page."""


class PageQuery(BaseModel):
    """Which page of a list."""

    page: Annotated[int, Field(ge=1, le=2**31 - 1, description="From 1 on.")] = 1
    per_page: Annotated[int, Field(ge=1, le=100, description="Rows of one page.")] = 20

    @property
    def offset(self) -> int:
        """Rows before this page."""
        return (self.page - 1) * self.per_page

    def pages(self, total: int) -> int:
        """How many pages `total` rows fill, at least 1.

        Raises:
            NotFoundError: This page lies beyond the last.
        """
        pages = max(1, ceil(total / self.per_page))
        if self.page > pages:
            raise NotFoundError(f"there is no page {self.page}; the last one is {pages}")
        return pages


class PaginatedResponse(BaseModel, Generic[T]):
    """One page of a list."""

    items: Sequence[T]
    total: int
    page: int
    per_page: int
    pages: int
