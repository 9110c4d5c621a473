"""Erasure of persons in the admin, on a desktop and on a phone."""

import pytest

from tests.browser import admin_pages
from tests.browser.chromium import Page, expect
from tests.processes import Server

DESKTOP, PHONE = (1200, 900), (390, 800)


@pytest.mark.parametrize(("width", "height"), [DESKTOP, PHONE])
def test_erases_the_recipients_of_selected_emails(logged_in: Page, server: Server, width: int, height: int) -> None:
    people = [f"ada.{width}@example.com", f"bob.{width}@example.com"]
    for address in people:
        admin_pages.send(logged_in, server.url, to=address, tags={"erase": str(width)})
    logged_in.set_viewport_size({"width": width, "height": height})

    logged_in.goto(f"/admin/emails/email/?tag=erase:{width}")
    logged_in.get_by_label("Select all objects on this page").check()
    logged_in.get_by_label("Action:").select_option(label="Erase recipients …")
    logged_in.get_by_title("Run the selected action").click()
    expect(logged_in.get_by_label("Email addresses")).to_have_value("\n".join(reversed(people)))
    logged_in.get_by_role("button", name="Preview").click()
    expect(logged_in.get_by_text(f"{people[0]}: 1 email to the person alone")).to_be_visible()
    logged_in.get_by_label("to confirm").fill("erase 2 people")
    logged_in.get_by_role("button", name="Erase permanently").click()

    expect(logged_in.locator("[data-field=state]")).to_have_text("finished")
    expect(logged_in.locator(".summary")).to_contain_text("2 of 2 emails done. Erased: 2 emails to the person alone")
    logged_in.goto(f"/admin/emails/email/?tag=erase:{width}")
    expect(logged_in.get_by_text("No results.")).to_be_visible()
