"""Cursor pagination: one extra row shows that there is a next page."""

import pytest

from fastapi_app.pagination import CursorPage


@pytest.mark.parametrize(
    ("rows", "data", "next_"),
    [("", [], None), ("a", ["a"], None), ("ab", ["a", "b"], None), ("abc", ["a", "b"], "B")],
)
def test_a_page_has_a_cursor_only_if_there_is_a_next_page(rows: str, data: list[str], next_: str | None) -> None:
    page = CursorPage[str].of([*rows], 2, cursor=str.upper)

    assert page.model_dump() == {"data": data, "next": next_}
