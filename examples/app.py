"""An app to try the examples with: it answers with the request that it received."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        received = f"{self.requestline}\n{self.headers}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(received)))
        self.end_headers()
        self.wfile.write(received)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer


ThreadingHTTPServer(("127.0.0.1", 3000), App).serve_forever()
