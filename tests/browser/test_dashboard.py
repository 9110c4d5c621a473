"""The front page of the back office, in a browser: it tells what happens as it happens."""

import re
from typing import Literal

import pytest

from tests.browser.admin_pages import post, send, serious, sign_in
from tests.browser.chromium import Browser, Page, expect
from tests.browser.page_errors import PageErrors
from tests.conftest import PASSWORD, StartServer
from tests.processes import PATIENCE, Server, wait_for

# What a browser says in its console of a server that is restarted.
AWAY = re.compile("net::ERR_CONNECTION_REFUSED|Connection closed before receiving a handshake response")


@pytest.fixture
def no_clock(page: Page) -> None:
    """Nothing is asked for because ten seconds are over."""
    page.add_init_script("const later = setTimeout; window.setTimeout = (what, when) => (when < 10000 ? later(what, when) : 0);")


@pytest.fixture
def dashboard(page: Page) -> Page:
    """Open, and live."""
    sign_in(page, PASSWORD)
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate("window.notReloaded = true")
    return page


def total(page: Page, name: str) -> int:
    """How many the chart's legend says."""
    return int(page.locator(f"[data-total={name}]").inner_text())


@pytest.mark.usefixtures("no_clock")
def test_the_dashboard_tells_of_a_mail_without_a_reload(dashboard: Page, server: Server) -> None:
    before = total(dashboard, "sent")

    send(dashboard, server.url, subject="Seen at once")

    told = dashboard.locator("#events li").filter(has=dashboard.get_by_role("link", name="Seen at once")).locator(".status")
    expect(told).to_have_text(["sent", "sending", "queued"])
    expect(dashboard.locator("[data-total=sent]")).to_have_text(str(before + 1))
    assert dashboard.evaluate("window.notReloaded")


def test_a_mail_sent_with_a_key_that_was_just_made_is_on_the_dashboard(dashboard: Page, server: Server) -> None:
    dashboard.goto("/admin/api_keys/apikey/add/")
    dashboard.get_by_label("Name:").fill("shop")
    dashboard.get_by_label("emails:send").check()
    dashboard.get_by_role("button", name="Save").click()
    key = dashboard.locator("#key").inner_text()
    dashboard.goto("/admin/")
    expect(dashboard.locator("#live")).to_have_text("Live")

    mail = {"from": "shop@example.com", "to": "ada@example.com", "subject": "With a key", "text": "Hi"}
    server.post("/api/emails", json=mail, headers={"Authorization": f"Bearer {key}"}).raise_for_status()

    expect(dashboard.locator("#events li").filter(has_text="With a key")).to_have_count(3)


def test_the_dashboard_names_what_relays_refuse(dashboard: Page, server: Server) -> None:
    send(dashboard, server.url, to="bounce@simulator.test")

    expect(dashboard.locator("#failures")).to_contain_text("550 5.1.1 No such mailbox")
    expect(dashboard.locator("[data-total=failed]")).not_to_have_text("0")


def test_the_chart_is_also_a_table_and_is_divided_with_the_keyboard(dashboard: Page, server: Server) -> None:
    dashboard.get_by_text("As a table").click()
    rows = dashboard.get_by_role("region", name="Deliveries as a table").locator("tbody tr")
    expect(rows).to_have_count(60)

    dashboard.get_by_role("radio", name="Minute").focus()
    dashboard.keyboard.press("ArrowRight")

    expect(rows).to_have_count(24)
    expect(rows.first.get_by_role("rowheader")).to_have_text(dashboard.evaluate("new Date().toISOString().slice(11, 14) + '00'"))


def test_a_slash_leads_to_the_search(dashboard: Page, server: Server) -> None:
    email_id = send(dashboard, server.url, subject="To be found")

    dashboard.keyboard.press("/")
    dashboard.keyboard.type(email_id)
    dashboard.keyboard.press("Enter")

    expect(dashboard.locator("#result_list tbody tr")).to_have_count(1)
    expect(dashboard.get_by_role("link", name="To be found")).to_be_visible()


def test_a_slash_leads_to_the_search_of_a_list_too(dashboard: Page) -> None:
    dashboard.goto("/admin/suppressions/suppression/")
    dashboard.locator("h1").click()  # away from where Django puts the cursor

    dashboard.keyboard.press("/")

    expect(dashboard.locator("#searchbar")).to_be_focused()
    expect(dashboard.locator("#searchbar")).to_have_value("")


def test_the_dashboard_goes_on_after_the_server_was_killed(
    browser: Browser, start: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    context = browser.new_context(base_url=first.url)
    watch, page = PageErrors(context), context.new_page()
    sign_in(page, PASSWORD)
    send(page, first.url, subject="Before")
    expect(page.locator("#events .status-sent")).to_have_count(1)

    first.kill()
    expect(page.locator("#live")).to_have_text("Reconnecting")
    monkeypatch.setattr("tests.processes.free_port", lambda: first.port)
    second = start()
    send(page, second.url, subject="After")

    expect(page.locator("#live")).to_have_text("Live")
    told = page.locator("#events li .status")
    expect(told).to_have_text(["sent", "sending", "queued"] * 2)
    assert [said for said in watch.complaints() if not AWAY.search(said)] == []
    context.close()


def test_the_dashboard_says_when_somebody_is_signed_out(dashboard: Page, watch: PageErrors, server: Server) -> None:
    with dashboard.context.new_page() as other:
        other.goto("/admin/")
        other.get_by_role("button", name="Log out").click()
        expect(other.get_by_role("heading", name="Logged out")).to_be_visible()

    expect(dashboard.locator("#live")).to_have_text("Signed out: reload to sign in")


def test_a_hundred_failed_mails_are_retried_with_progress(browser: Browser, start: StartServer) -> None:
    first = start(RETRY_DELAYS="1s")  # the second refusal is the last
    with browser.new_context(base_url=first.url) as context:
        page = context.new_page()
        sign_in(page, PASSWORD)
        mail = {"from": "shop@example.com", "to": "full@simulator.test", "text": "Hi"}
        post(page, first.url, "/api/emails/batch", {"emails": [mail | {"subject": f"Mail {n}"} for n in range(100)]})
        expect(page.locator("[data-total=failed]")).to_have_text("100")
    first.terminate()

    second = start(RETRY_DELAYS="1s,1s")  # at its third try, the mailbox has room
    with browser.new_context(base_url=second.url) as context:
        page = context.new_page()
        sign_in(page, PASSWORD, "/admin/emails/email/?status=failed")
        page.get_by_label("Select all objects on this page").check()
        page.get_by_label("Action:").select_option(label="Retry the selected e-mails")
        page.get_by_title("Run the selected action").click()

        expect(page.locator(".messagelist")).to_have_text("100 e-mails: Queued again.")
        expect(page.locator(".summary")).to_have_text("100 of 100 done: 100 sent.", timeout=2 * PATIENCE * 1000)
        expect(page.locator(".progress-mails .status-sent")).to_have_count(100)
        assert serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_dashboard_is_accessible(dashboard: Page, server: Server, width: int, scheme: Literal["light", "dark"]) -> None:
    dashboard.set_viewport_size({"width": width, "height": 844})
    dashboard.emulate_media(color_scheme=scheme)
    send(dashboard, server.url, to="bounce@simulator.test")
    expect(dashboard.locator("#failures")).to_contain_text("No such mailbox")
    dashboard.locator("#events li").first.evaluate("entry => Promise.all(entry.getAnimations().map(each => each.finished))")

    assert serious(dashboard) == []
    assert dashboard.evaluate("document.documentElement.scrollWidth") == width


def test_the_chart_follows_the_theme(dashboard: Page) -> None:
    colour = "Chart.getChart(document.querySelector('canvas')).options.scales.x.ticks.color"
    by_day = dashboard.evaluate(colour)

    dashboard.emulate_media(color_scheme="dark")

    wait_for(lambda: dashboard.evaluate(colour) != by_day, "the chart is drawn in the colours of the night")
