"""Swagger UI and ReDoc, served from our own files so that they work without internet access."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse, HTMLResponse
from starlette.staticfiles import StaticFiles

from project.bridge.middleware.security_headers import CONTENT_SECURITY_POLICY, content_security_policy

ASSETS = Path(str(files("drf_spectacular_sidecar") / "static" / "drf_spectacular_sidecar"))
# ReDoc creates its styles at run time, and runs its search in a web worker that is made from a blob.
REDOC_POLICY = content_security_policy(style_src="'self' 'unsafe-inline'", worker_src="blob:")
REDOC_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"

# FastAPI's own pages have inline scripts and styles, and cannot pass a request interceptor to Swagger UI.
PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{title}</title>
  <link rel="icon" href="{root}/docs/files/swagger-ui-dist/favicon-32x32.png">
  <link rel="stylesheet" href="{root}{style}">
</head>
<body>
{body}</body>
</html>
"""
SWAGGER = """  <div id="swagger-ui"></div>
  <script src="{root}/docs/files/swagger-ui-dist/swagger-ui-bundle.js"></script>
  <script src="{root}/docs/swagger.js" data-openapi="{openapi}"></script>
"""
REDOC = """  <redoc spec-url="{openapi}"></redoc>
  <script src="{root}/redoc/redoc.js"></script>
"""


def add_openapi_ui(app: FastAPI) -> None:
    """Add the routes of Swagger UI, ReDoc and their files."""

    def page(request: Request, name: str, body: str, *, style: str) -> str:
        root = request.scope["root_path"]
        body = body.format(root=root, openapi=f"{root}{app.openapi_url}")
        return PAGE.format(title=f"{app.title}: {name}", root=root, style=style, body=body)

    async def swagger(request: Request) -> HTMLResponse:
        return HTMLResponse(page(request, "Swagger UI", SWAGGER, style="/docs/files/swagger-ui-dist/swagger-ui.css"))

    async def swagger_script(_request: Request) -> Response:
        return FileResponse(Path(__file__).with_name("swagger.js"))

    async def redoc(request: Request) -> HTMLResponse:
        html = page(request, "ReDoc", REDOC, style="/redoc/redoc.css")
        return HTMLResponse(html, headers={CONTENT_SECURITY_POLICY: REDOC_POLICY})

    async def redoc_script(_request: Request) -> Response:
        return Response(_redoc_without_foreign_logo(), media_type="text/javascript", headers={"Cache-Control": "max-age=3600"})

    async def redoc_style(_request: Request) -> Response:
        return Response("body { margin: 0 }", media_type="text/css")

    app.add_route("/docs", swagger, include_in_schema=False)
    app.add_route("/docs/swagger.js", swagger_script, include_in_schema=False)
    app.add_route("/redoc", redoc, include_in_schema=False)
    app.add_route("/redoc/redoc.css", redoc_style, include_in_schema=False)
    app.add_route("/redoc/redoc.js", redoc_script, include_in_schema=False)
    app.mount("/docs/files", StaticFiles(directory=ASSETS))


@cache
def _redoc_without_foreign_logo() -> bytes:
    # ReDoc loads its vendor's logo from the vendor's host, and no option turns this off. ReDoc hides a broken logo.
    script = (ASSETS / "redoc" / "bundles" / "redoc.standalone.js").read_text(encoding="utf-8")
    return script.replace(REDOC_LOGO, "data:,").encode()
