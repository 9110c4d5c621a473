"""A small FastAPI application with the routes that the tests of sessions need."""

from typing import Annotated

from django.contrib.auth.base_user import AbstractBaseUser
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse

from project.bridge.sessions import CsrfFailed, session_user

User = Annotated[AbstractBaseUser | None, Depends(session_user)]


def create_app() -> FastAPI:
    """Return an application with the path `/me`. Its route and its WebSocket return the logged-in user's name."""
    app = FastAPI()

    @app.api_route("/me", methods=["GET", "POST", "DELETE"])
    async def me(user: User) -> str | None:
        return user.get_username() if user else None

    @app.websocket("/me")
    async def me_websocket(websocket: WebSocket, user: User) -> None:
        await websocket.accept()
        await websocket.send_json(user.get_username() if user else None)
        await websocket.close()

    @app.exception_handler(CsrfFailed)
    async def csrf_failed(_request: Request, error: CsrfFailed) -> JSONResponse:
        return JSONResponse(str(error), 403)

    return app
