// Configures Swagger UI. In a separate file, so that the Content-Security-Policy can forbid inline scripts.
const { openapi } = document.currentScript.dataset;

// Earlier versions let Swagger UI store passwords, tokens and keys in the browser.
localStorage.removeItem("authorized");

// A logged-in browser also sends Django's session cookie, so unsafe requests need Django's CSRF token. Over TLS, the cookie's name
// has the prefix __Host-.
function withCsrfToken(request) {
  const token = document.cookie.match(/(?:^|; )__Host-csrftoken=([^;]+)/) ?? document.cookie.match(/(?:^|; )csrftoken=([^;]+)/);
  if (token) request.headers["X-CSRFToken"] = token[1];
  return request;
}

// Scripts cannot read or set the HttpOnly session cookie, so the Authorize dialog leaves it out.
const withoutCookies = (original) => (state) => original(state)?.filterNot((way) => way.first().get("in") === "cookie");
const askForNoCookie = { statePlugins: { auth: { wrapSelectors: { definitionsToAuthorize: withoutCookies } } } };

SwaggerUIBundle({
  url: openapi,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  plugins: [askForNoCookie],
  requestInterceptor: withCsrfToken,
});
