"""The work of building a batch: large newsletters fit, and hostile HTML is rejected."""

import pytest

from project.emails.mime.build_budget import MAX_STEPS_PER_BATCH, BatchTooComplex, BuildBudget, steps_of
from project.emails.mime.builder import Draft

RULES = "".join(f".c{number} {{ color: red; padding: 0 {number}px }}\n" for number in range(60))
ROW = '<tr><td class="c1"><a href="https://shop.example.com/p?id=1&amp;utm=1">A product with a longer name</a></td></tr>\n'
NEWSLETTER = f"<style>{RULES}</style><table>{ROW * 550}</table>"  # 64,000 characters


def draft(html: str, text: str | None = None) -> Draft:
    """Return a draft with an HTML part."""
    return Draft("shop@example.com", html=html, text=text)


def test_a_batch_of_a_thousand_newsletters_fits() -> None:
    assert 1000 * steps_of(draft(NEWSLETTER)) < MAX_STEPS_PER_BATCH


@pytest.mark.parametrize(
    "html",
    ["<a>" * 21_000, "<b>x</b>" * 8000, "<br>" * 16_000, f"<style>{'a,' * 1000}a{{}}</style>{'<p>' * 20_000}"],
    ids=lambda html: html[:10],
)
def test_a_batch_of_a_thousand_expensive_emails_is_rejected(html: str) -> None:
    budget, emails = BuildBudget(), [draft(html)] * 1000

    with pytest.raises(BatchTooComplex):
        list(map(budget.count, emails))


def test_only_work_that_is_done_is_counted() -> None:
    assert steps_of(Draft("shop@example.com", text="<a>" * 1000)) == 0
    assert steps_of(draft("<a>" * 1000, text="Hi")) == 0
    assert steps_of(draft("<style></style>" + "<a>" * 100_000, text="Hi")) == 0  # too long to be inlined
