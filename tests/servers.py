"""Web servers of this machine, with ranges and without, that count what they send."""

import contextlib
import http.server
import re
import threading
import urllib.parse


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; ``server.ranges`` says whether it knows ranges."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, path = self.server, urllib.parse.urlsplit(self.path).path
        status = server.refuse(path) if server.refuse else None
        if status:
            return self._send(status, b"no " * 20)
        file = server.folder / urllib.parse.unquote(path).lstrip("/")
        if file.is_dir():
            links = "".join(f'<a href="{urllib.parse.quote(p.name)}">x</a>' for p in file.iterdir())
            return self._send(200, links.encode(), {"Content-Type": "text/html"})
        if not file.is_file():
            return self._send(404, b"nothing")
        return self._file(file)

    def _file(self, file):
        size, tag = file.stat().st_size, {"ETag": f'"{file.stat().st_mtime_ns}"'}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        with open(file, "rb") as opened:
            if not asked or not self.server.ranges:
                return self._send(200, opened.read(), tag)
            begin, end = int(asked[1]), min(int(asked[2]) + 1, size)
            if begin >= size:
                return self._send(416, b"", {"Content-Range": f"bytes */{size}"})
            opened.seek(begin)
            tag["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
            return self._send(206, opened.read(end - begin), tag)

    def _send(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with self.server.lock:
            self.server.requests.append((urllib.parse.urlsplit(self.path).path, len(body)))
        with contextlib.suppress(OSError):
            self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    """``requests`` are paths and bytes of bodies; ``refuse(path)`` may give a status."""

    daemon_threads = True

    def __init__(self, folder, ranges=True, refuse=None, handler=Handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.folder, self.ranges, self.refuse = folder, ranges, refuse
        self.requests, self.lock = [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, address):
        """A client that has hung up is no fault."""

    @property
    def sent(self):
        return sum(size for _, size in self.requests)


@contextlib.contextmanager
def serving(folder, **options):
    with Server(folder, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
