"""A small FastAPI application with what sessions are for."""

from typing import Annotated

from django.contrib.auth.base_user import AbstractBaseUser
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse

from project.bridge.sessions import CsrfFailed, session_user

User = Annotated[AbstractBaseUser | None, Depends(session_user)]


def create_app() -> FastAPI:
    """Tells who is signed in."""
    app = FastAPI()

    @app.api_route("/who", methods=["GET", "POST", "DELETE"])
    async def who(user: User) -> str | None:
        return user.get_username() if user else None

    @app.websocket("/who")
    async def socket(websocket: WebSocket, user: User) -> None:
        await websocket.accept()
        await websocket.send_json(user.get_username() if user else None)
        await websocket.close()

    @app.exception_handler(CsrfFailed)
    async def forged(_request: Request, error: CsrfFailed) -> JSONResponse:
        return JSONResponse(str(error), 403)

    return app
