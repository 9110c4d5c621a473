"""What every refusal of the domain has in common: a sentence for people, and a code for programs that never changes."""


class Refusal(Exception):
    """Something was asked for that cannot be done. Subclasses give the `code`; fastapi_app.errors alone turns it into HTTP."""

    code = "refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
