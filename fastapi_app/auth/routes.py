"""Who is calling: a token for a password, and who the server takes one for."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.security import OAuth2PasswordRequestForm

from fastapi_app.auth.schemas import Me, Token
from fastapi_app.deps import Caller
from fastapi_app.errors import problems
from fastapi_app.throttle import count_login
from project.accounts.tokens import issue_token
from project.bridge import database
from project.bridge.background import BackgroundRoute
from project.bridge.sessions import django_request

router = APIRouter(route_class=BackgroundRoute, tags=["auth"])

UNKEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 section 5.1
Code = Annotated[
    str, Form(max_length=16, description="With two-factor login: from the user's app, or a recovery code", examples=[""])
]


@router.post("/token", summary="Get an access token", operation_id="create_token", responses=problems(400, 401, 403, 413, 422))
async def create_token(
    request: Request, response: Response, form: Annotated[OAuth2PasswordRequestForm, Depends()], otp: Code = ""
) -> Token:
    """OAuth2's password flow (RFC 6749 section 4.3), against Django's users. What Authorize calls.

    Who has two-factor login sends a code in `otp`, too: the app's, or a recovery code.
    """
    await count_login(request, form.username)
    token = await database.run_aside(
        issue_token, django_request(request), username=form.username, password=form.password, otp=otp, scopes=form.scopes
    )
    response.headers.update(UNKEPT)
    return Token(access_token=token.text, expires_in=token.expires_in, scope=" ".join(token.scopes))


@router.get("/me", summary="Who am I?", operation_id="get_me", responses=problems(401))
async def get_me(caller: Caller) -> Me:
    """Who the server takes the caller for."""
    return Me(kind=caller.kind, name=caller.name, scopes=sorted(caller.scopes))
