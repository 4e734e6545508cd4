// A customer's server: it knows its own users, and signs a short token about whoever asks.
//
//   PRIVATE_KEY_FILE=acme-private.pem PROJECT=acme USHER=http://127.0.0.1:8080 node server.js
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import jwt from "jsonwebtoken";

const project = process.env.PROJECT ?? "acme";
const usher = process.env.USHER ?? "http://127.0.0.1:8080";
const privateKey = readFileSync(process.env.PRIVATE_KEY_FILE ?? "acme-private.pem");

// In earnest: whoever is logged in here, by this server's own session.
const user = { id: "42", email: "ada@example.com", name: "Ada", plan: "gold" };

/** A token about a user: for usher alone, and good for a minute. */
function vouchFor(user) {
  const userData = {
    email: user.email,
    name: user.name,
    metadata: { plan: user.plan },
  };
  return jwt.sign({ userData }, privateKey, {
    algorithm: "RS256",
    subject: user.id,
    issuer: project,
    audience: "replyke.com",
    expiresIn: "1m",
  });
}

const files = { "/": ["index.html", "text/html"], "/page.js": ["page.js", "text/javascript"] };

const server = createServer((request, response) => {
  const answer = (status, type, body) => {
    response.writeHead(status, { "Content-Type": `${type}; charset=utf-8`, "Cache-Control": "no-store" });
    response.end(body);
  };
  if (request.url === "/user-jwt" && request.method === "POST") {
    return answer(200, "application/json", JSON.stringify({ userJwt: vouchFor(user), project, usher }));
  }
  const file = files[request.url];
  if (file) {
    return answer(200, file[1], readFileSync(new URL(file[0], import.meta.url)));
  }
  answer(404, "text/plain", "not here\n");
});

server.listen(Number(process.env.PORT ?? 4000), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
