// Swagger UI on our document. A file of its own, so that a Content-Security-Policy can forbid inline scripts.
const { openapi } = document.currentScript.dataset;

// A signed-in browser sends Django's session along, which then needs Django's proof that our own page asked.
function withCsrfToken(request) {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/);
  if (token) request.headers["X-CSRFToken"] = token[1];
  return request;
}

SwaggerUIBundle({
  url: openapi,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: true,
  requestInterceptor: withCsrfToken,
});
