"""A page of a list: as many as are asked for, of one more if there are more."""

import pytest

from fastapi_app.pagination import CursorPage


@pytest.mark.parametrize(
    ("rows", "data", "next_"),
    [("", [], None), ("a", ["a"], None), ("ab", ["a", "b"], None), ("abc", ["a", "b"], "B")],
)
def test_a_page_names_what_comes_next_only_if_more_comes(rows: str, data: list[str], next_: str | None) -> None:
    page = CursorPage[str].of([*rows], 2, cursor=str.upper)

    assert page.model_dump() == {"data": data, "next": next_}
