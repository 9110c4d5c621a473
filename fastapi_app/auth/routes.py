"""Routes to get an access token for a password, and to get the authenticated caller."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.security import OAuth2PasswordRequestForm

from fastapi_app.api_route import ApiRouter
from fastapi_app.auth.schemas import AccessToken, CurrentCaller
from fastapi_app.auth.token_errors import TOKEN_ERRORS, TokenRoute
from fastapi_app.dependencies import Caller
from fastapi_app.error_responses import openapi_errors
from fastapi_app.rate_limit import enforce_login_limit
from project.auth.access_tokens import issue_access_token
from project.bridge.database.transactions import run_in_thread
from project.bridge.sessions import django_request

router = ApiRouter(tags=["auth"])
token_router = APIRouter(route_class=TokenRoute, tags=["auth"])

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 section 5.1
TwoFactorCode = Annotated[
    str,
    Form(
        max_length=16,
        description="Code from the user's authenticator app, or a recovery code. Required if the user has two-factor login.",
        examples=[""],
    ),
]


@token_router.post("/token", summary="Get an access token", operation_id="create_token", responses=TOKEN_ERRORS)
async def create_token(
    request: Request, response: Response, form: Annotated[OAuth2PasswordRequestForm, Depends()], otp: TwoFactorCode = ""
) -> AccessToken:
    """Get an access token with a user's password (OAuth2 password flow, RFC 6749 section 4.3), as the Authorize button does.

    Users with two-factor login must also send `otp`: a code from their authenticator app, or a recovery code.
    """
    await enforce_login_limit(request, form.username)
    token = await run_in_thread(
        issue_access_token, django_request(request), username=form.username, password=form.password, otp=otp, scopes=form.scopes
    )
    response.headers.update(NO_STORE)
    return AccessToken(access_token=token.text, expires_in=token.expires_in, scope=" ".join(token.scopes))


@router.get("/me", summary="Get the authenticated caller", operation_id="get_me", responses=openapi_errors(401))
async def get_me(caller: Caller) -> CurrentCaller:
    """Return the kind, the name and the scopes of the credential that the request was sent with."""
    return CurrentCaller(kind=caller.kind, name=caller.name, scopes=sorted(caller.scopes))


router.include_router(token_router)
