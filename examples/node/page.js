// What a page does: it asks its own server for a token about its visitor, exchanges it at usher,
// and calls the app with what it gets. The refresh token stays in a cookie that no script reads.

async function post(url, body) {
  const response = await fetch(url, {
    method: "POST",
    credentials: "include",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body ?? {}),
  });
  const text = await response.text();
  const answer = text === "" ? null : JSON.parse(text);
  if (!response.ok) {
    throw new Error(`${response.status} ${answer?.code ?? text}`);
  }
  return answer;
}

/** Logs the visitor in; `own` is where the customer's server is. */
export async function login(own = "") {
  const { userJwt, project, usher } = await post(`${own}/user-jwt`);
  const at = `${usher}/${project}/auth`;
  const { accessToken, refreshToken, user } = await post(`${at}/verify-external-user`, { userJwt });
  return {
    user,
    /** Outside browsers there is no cookie: a native app keeps this one itself. */
    refreshToken,
    /** Calls the app as the visitor. */
    call: (path) => fetch(`${usher}${path}`, { headers: { Authorization: `Bearer ${accessToken}` } }),
    /** A new access token, before the one at hand ends. */
    renew: (refreshToken) => post(`${at}/request-new-access-token`, refreshToken && { refreshToken }),
    signOut: (refreshToken) => post(`${at}/sign-out`, refreshToken && { refreshToken }),
  };
}
