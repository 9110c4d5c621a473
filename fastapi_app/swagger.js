// Swagger UI on our document. A file of its own, so that a Content-Security-Policy can forbid inline scripts.
const { openapi } = document.currentScript.dataset;

// A signed-in browser sends Django's session along, which then needs Django's proof that our own page asked.
function withCsrfToken(request) {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/);
  if (token) request.headers["X-CSRFToken"] = token[1];
  return request;
}

// The session is the browser's own affair: a page can neither read its cookie nor write it, so Authorize does not ask for it.
const withoutCookies = (original) => (state) => original(state)?.filterNot((way) => way.first().get("in") === "cookie");
const askForNoCookie = { statePlugins: { auth: { wrapSelectors: { definitionsToAuthorize: withoutCookies } } } };

SwaggerUIBundle({
  url: openapi,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: true,
  plugins: [askForNoCookie],
  requestInterceptor: withCsrfToken,
});
