// What a program in Node does with a server, told in JSON.
import http from "node:http";
import https from "node:https";
import http2 from "node:http2";
import { once } from "node:events";
import { randomBytes, createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const [plain, secure, name, root, token] = process.argv.slice(2);
const ca = readFileSync(root);
const authorization = `Bearer ${token}`;

async function collect(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

// Two requests one after the other on a kept connection, and an upload in pieces.
async function visit(module, port) {
  const agent = new module.Agent({ keepAlive: true, maxSockets: 1 });
  const sockets = new Set();
  const ask = async (path, body) => {
    const request = module.request({
      host: "127.0.0.1", port, path, agent, ca, servername: name,
      method: body ? "POST" : "GET", headers: { host: name, authorization },
    });
    request.on("socket", (socket) => sockets.add(socket));
    if (body) for (let at = 0; at < body.length; at += 100000) request.write(body.subarray(at, at + 100000));
    request.end();
    const [response] = await once(request, "response");
    return [response.statusCode, JSON.parse(await collect(response))];
  };
  const asked = [...(await ask("/a")), ...(await ask("/b"))];
  const [, sum] = await ask("/sum", Buffer.alloc(1000000));
  const count = sockets.size;
  agent.destroy();
  return { asked, sockets: count, sum };
}

// Many requests at once on one connection.
async function multiplex(origin) {
  const session = http2.connect(origin, { ca, servername: name });
  const ask = async (path, body) => {
    const stream = session.request({
      ":path": path, ":authority": name, ":method": body ? "POST" : "GET", authorization,
    });
    stream.end(body);
    return collect(stream);
  };
  const api = async () => JSON.parse(await ask("/api"));
  const answers = await Promise.all(Array.from({ length: 20 }, api));
  const sum = JSON.parse(await ask("/sum", Buffer.alloc(1000000)));
  const large = (await ask("/large")).length;
  const pinged = await new Promise((done) => session.ping((error) => done(!error)));
  session.close();
  return { answers, sum, large, pinged };
}

// A frame of a client: masked (RFC 6455 §5.2).
function frame(opcode, payload, last = true) {
  const mask = randomBytes(4);
  const masked = Buffer.from(payload).map((byte, at) => byte ^ mask[at % 4]);
  const length = masked.length;
  let head;
  if (length < 126) head = Buffer.from([0, 0x80 | length]);
  else if (length < 65536) { head = Buffer.alloc(4); head[1] = 0x80 | 126; head.writeUInt16BE(length, 2); }
  else { head = Buffer.alloc(10); head[1] = 0x80 | 127; head.writeBigUInt64BE(BigInt(length), 2); }
  head[0] = (last ? 0x80 : 0) | opcode;
  return Buffer.concat([head, mask, masked]);
}

// Takes whole frames of a server from the front of what came.
function* frames(state) {
  for (;;) {
    const { buffer } = state;
    if (buffer.length < 2) return;
    let [length, at] = [buffer[1] & 0x7f, 2];
    if (length === 126) { if (buffer.length < 4) return; length = buffer.readUInt16BE(2); at = 4; }
    if (length === 127) { if (buffer.length < 10) return; length = Number(buffer.readBigUInt64BE(2)); at = 10; }
    if (buffer.length < at + length) return;
    state.buffer = buffer.subarray(at + length);
    yield { opcode: buffer[0] & 15, payload: buffer.subarray(at, at + length) };
  }
}

async function talk(module, port) {
  const key = randomBytes(16).toString("base64");
  const request = module.request({
    host: "127.0.0.1", port, path: "/socket", ca, servername: name,
    headers: {
      host: name, authorization, connection: "upgrade", upgrade: "websocket",
      "sec-websocket-version": 13, "sec-websocket-key": key,
    },
  });
  request.end();
  const [response, socket, early] = await once(request, "upgrade");
  const wanted = createHash("sha1").update(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  if (response.headers["sec-websocket-accept"] !== wanted) throw new Error("a wrong accept");
  socket.write(frame(1, "hello"));
  socket.write(frame(2, "x".repeat(70000)));
  for (const [opcode, text, last] of [[1, "pi", false], [0, "ec", false], [0, "es", true]]) {
    socket.write(frame(opcode, text, last));
  }
  const heard = [];
  const state = { buffer: early };
  return new Promise((done, fail) => {
    socket.on("error", fail);
    socket.on("end", () => fail(new Error("the WebSocket ended")));
    const read = (piece) => {
      state.buffer = Buffer.concat([state.buffer, piece]);
      for (const { opcode, payload } of frames(state)) {
        if (opcode === 8) {
          socket.destroy();
          done({ status: response.statusCode, heard, closed: payload.readUInt16BE(0) });
          return;
        }
        heard.push(opcode === 1 ? payload.toString() : payload.length);
        if (heard.length === 3) socket.write(frame(8, [0x03, 0xe8]));
      }
    };
    socket.on("data", read);
    read(Buffer.alloc(0));
  });
}

const told = {
  http: await visit(http, plain),
  https: await visit(https, secure),
  h2c: await multiplex(`http://127.0.0.1:${plain}`),
  h2: await multiplex(`https://127.0.0.1:${secure}`),
  ws: await talk(http, plain),
  wss: await talk(https, secure),
};
console.log(JSON.stringify(told));
