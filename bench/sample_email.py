"""The email used in the benchmarks: an order confirmation as text and HTML."""

from collections.abc import Mapping
from typing import Any

_LINES = [f"{count} x Article {count:03}, in stock, leaves our warehouse tomorrow: {count * 7}.90 EUR" for count in range(1, 9)]

EMAIL: Mapping[str, Any] = {
    "from": "Shop <shop@example.com>",
    "to": ["ada@example.com"],
    "subject": "Your order 42 is on its way",
    "text": "\n".join(["Hello Ada,", "", "thank you for your order:", *_LINES, "", "Your shop"]),
    "html": "".join(
        ["<html><body><h1>Hello Ada,</h1><p>thank you for your order:</p><ul>", *(f"<li>{line}</li>" for line in _LINES)]
    )
    + '</ul><p><a href="https://shop.example.com/orders/42">Your order</a></p></body></html>',
    "tags": {"order": "42"},
}
