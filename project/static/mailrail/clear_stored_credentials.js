// Earlier versions let Swagger UI (/api/docs) store passwords, tokens and keys in the browser. The login page deletes them too,
// because the API docs may be switched off.
localStorage.removeItem("authorized");
