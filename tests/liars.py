"""A web server of this machine that lies, stalls, never ends, and leads elsewhere.

The first part of a path names the lie, one of `LIES`: ``/endless/model.safetensors``. With a name
after it, it tells the truth of all other files: ``/endless@config.json/model.safetensors``.
"""

import contextlib
import functools
import gzip
import itertools
import re
import socketserver
import ssl
import threading

_BLOCK = b"\x7f" * (1 << 16)
BOMB = 1 << 26  # bytes that the answer `bomb` unpacks to


@functools.cache
def _bomb():
    return gzip.compress(bytes(BOMB), 1)


class Request:
    """What was asked, and the way to answer.

    Attributes
    ----------
    data : bytes
        The file that an honest server would send; empty if there is none of that name.
    begin, end : int
        The range that was asked for; the whole file without one.
    count : int
        How many requests the server has had before this one.
    """

    def __init__(self, connection, head, server):
        self.connection, self.server, self.path = connection, server, head.split()[1].decode()
        self.name = self.path.partition("?")[0].rpartition("/")[2]
        self.data = server.files.get(self.name, b"")
        asked = re.search(rb"(?i)\r\nrange: bytes=(\d+)-(\d+)", head)
        self.begin, self.end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(self.data))
        self.end, self.ranged = min(self.end, len(self.data)), bool(asked)
        with server.lock:
            self.count = len(server.heads)
            server.heads.append(head.decode())

    def answer(self):
        told, _, only = self.path.split("/")[1].partition("@")
        LIES[told if only in ("", self.name) else "honest"](self)

    @property
    def part(self):
        return self.data[self.begin : self.end]

    def send(self, data):
        """Raises OSError when the client has gone or the server closes."""
        if self.server.closing.is_set():
            raise ConnectionAbortedError
        self.connection.sendall(data)
        with self.server.lock:
            self.server.sent += len(data)

    def head(self, status, *lines):
        self.send("\r\n".join([f"HTTP/1.1 {status} Said", *lines, "", ""]).encode())

    def body(self, status, body, *lines):
        self.head(status, f"Content-Length: {len(body)}", *lines)
        self.send(body)

    def range(self, *lines, body=None, told=None):
        """An honest answer to a range, but for what is given."""
        body = self.part if body is None else body
        told = told or f"bytes {self.begin}-{self.end - 1}/{len(self.data)}"
        self.body(206, body, f"Content-Range: {told}", *lines)

    def stall(self):
        """Say no more until the server closes."""
        self.server.stalled.set()
        self.server.closing.wait()


def _forever(request, piece):
    while True:
        request.send(piece)


def _chunked(data):
    return b"%x\r\n" % len(data) + data + b"\r\n"


LIES = {}
"""What answers a request, by its name."""


def lie(answer):
    LIES[answer.__name__] = answer
    return answer


@lie
def honest(request):
    if request.name not in request.server.files:
        request.body(404, b"no")
    elif request.ranged:
        request.range('ETag: "1"')
    else:
        request.body(200, request.data, 'ETag: "1"')


@lie
def endless(request):
    request.head(200, "Transfer-Encoding: chunked")
    _forever(request, _chunked(_BLOCK))


@lie
def endless_range(request):
    told = f"Content-Range: bytes {request.begin}-{request.end - 1}/{len(request.data)}"
    request.head(206, told, "Transfer-Encoding: chunked")
    _forever(request, _chunked(_BLOCK))


@lie
def endless_head(request):
    request.send(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        request.send(b"X-%d: %s\r\n" % (number, b"y" * 1000))


@lie
def endless_line(request):
    request.send(b"HTTP/1.1 200 OK\r\nX: ")
    _forever(request, _BLOCK)


@lie
def short(request):
    request.head(200, f"Content-Length: {len(request.data) + 1000}")
    request.send(request.data)


@lie
def long(request):
    request.head(200, f"Content-Length: {len(request.data) - 1000}")
    request.send(request.data)


@lie
def negative(request):
    request.head(200, "Content-Length: -5")
    request.send(request.data)


@lie
def two_lengths(request):
    request.head(200, f"Content-Length: {len(request.data)}", "Content-Length: 7")
    request.send(request.data)


@lie
def huge(request):
    request.head(200, f"Content-Length: {1 << 62}")
    _forever(request, _BLOCK)


@lie
def digits(request):
    request.range(told=f"bytes 0-99/{'9' * 5000}")


@lie
def huge_range(request):
    request.range(told=f"bytes {request.begin}-{request.end - 1}/{1 << 62}")


@lie
def silent(request):
    request.stall()


@lie
def slow_head(request):
    request.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    request.stall()


@lie
def one_byte(request):
    request.head(206, f"Content-Range: bytes 0-65535/{1 << 20}", "Content-Length: 65536")
    request.send(b"\0")
    request.stall()


@lie
def one_byte_whole(request):
    request.head(200, f"Content-Length: {1 << 20}")
    request.send(b"\0")
    request.stall()


@lie
def closed(request):
    pass


@lie
def other_range(request):
    request.range(told=f"bytes {request.begin + 1}-{request.end - 1}/{len(request.data)}")


@lie
def other_bytes(request):
    request.range(body=bytes(request.end - request.begin))


@lie
def past_the_end(request):
    request.range(told=f"bytes {request.begin}-{request.end - 1}/{request.end - 10}")


@lie
def no_range_told(request):
    request.body(206, request.part)


@lie
def unknown_length(request):
    request.range(told=f"bytes {request.begin}-{request.end - 1}/*")


@lie
def whole_as_part(request):
    request.range(body=request.data + bytes(1 << 17))


@lie
def few(request):
    request.range(body=request.part[:10])


@lie
def multipart(request):
    body = b"--x\r\nContent-Range: bytes 0-9/20\r\n\r\n0123456789\r\n--x--\r\n"
    request.body(206, body, "Content-Type: multipart/byteranges; boundary=x")


@lie
def first_only(request):
    request.range() if request.count == 0 else request.body(200, request.data)


@lie
def changing_tag(request):
    request.range(f'ETag: "{request.count}"')


@lie
def changing_date(request):
    request.range(f"Last-Modified: Mon, 30 Nov 2026 00:00:{request.count:02d} GMT")


@lie
def changing_size(request):
    size = len(request.data) + request.count
    request.range(told=f"bytes {request.begin}-{request.end - 1}/{size}")


@lie
def not_found(request):
    request.body(404, b"no")


@lie
def forbidden(request):
    request.body(403, b"no")


@lie
def later(request):
    request.body(429, b"no", "Retry-After: 99999999")


@lie
def failing(request):
    request.body(500, b"no")


@lie
def strange_status(request):
    request.body(299, b"no")


@lie
def bad_request(request):
    request.body(400, b"no")


@lie
def garbage(request):
    request.send(bytes(range(256)) * 10)


@lie
def ssh(request):
    request.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    request.stall()


@lie
def bomb(request):
    request.body(200, _bomb(), "Content-Encoding: gzip")


@lie
def bomb_range(request):
    told = f"Content-Range: bytes {request.begin}-{request.end - 1}/{len(request.data)}"
    request.body(206, _bomb(), told, "Content-Encoding: gzip")


@lie
def not_gzip(request):
    request.body(200, request.data, "Content-Encoding: gzip")


@lie
def html(request):
    request.body(200, b"<!DOCTYPE html><html><body>Log in</body></html>")


@lie
def empty(request):
    request.body(200, b"")


@lie
def no_content(request):
    request.head(204)


@lie
def no_range_there(request):
    request.body(416, b"")


def _to(target):
    return lambda request: request.body(302, b"", f"Location: {target}")


@lie
def elsewhere(request):
    """To the first server that the test has told this one of."""
    request.body(307, b"", f"Location: {request.server.elsewhere}/honest/{request.name}")


@lie
def many_links(request):
    _page(request, (f'<a href="{number}">' for number in range(100_001)))


@lie
def a_long_page(request):
    _page(request, ["<a " * (6 << 20)])


@lie
def odd_links(request):
    """Two of them lead to files of the folder."""
    links = (
        "a%20b.npy", "?C=N", "../up.npy", "/root.npy", "//other/x.npy", "http://[::1/x",
        "http://other/y.npy", "deep/x.npy", "", "javascript:x", "..%2fz.npy", "c.npy?at=1#x",
    )  # fmt: skip
    _page(request, (f"<A class='x' HREF='{link}'>x</A>" for link in links))


def _page(request, links):
    request.body(200, "".join(links).encode(), "Content-Type: text/html")


@lie
def loop(request):
    request.body(302, b"", f"Location: {request.path}")


@lie
def longer_loop(request):
    request.body(302, b"", f"Location: {request.path}x")


@lie
def no_location(request):
    request.body(302, b"")


@lie
def not_modified(request):
    request.body(304, b"")


LIES |= {
    "to_file": _to("file:///etc/passwd"),
    "to_ftp": _to("ftp://127.0.0.1/model.safetensors"),
    "to_data": _to("data:text/plain,x"),
    "to_nobody": _to("http://127.0.0.1:1/model.safetensors?token=s3cret"),
    "to_nonsense": _to("http://[::1/model"),
}


class _Connection(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and b"GET".startswith(head[:3]):
                piece = self.request.recv(1 << 16)
                if not piece:
                    return
                head += piece
            if head.startswith(b"GET "):
                Request(self.request, head, self.server).answer()
            else:  # a client that begins a secure connection
                self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class Liar(socketserver.ThreadingTCPServer):
    """``files`` are what it has, by name; ``heads`` what it was asked; ``sent`` counts bytes."""

    daemon_threads, allow_reuse_address, request_queue_size = True, True, 128

    def __init__(self, files, certificate=None):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.files, self.heads, self.sent, self.elsewhere = files, [], 0, ""
        self.lock, self.closing, self.stalled = (
            threading.Lock(),
            threading.Event(),
            threading.Event(),
        )
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.server_address[1]}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def paths(self):
        return [head.split()[1] for head in self.heads]

    def handle_error(self, request, address):
        """A client that has hung up is no fault."""


@contextlib.contextmanager
def lying(files, certificate=None):
    with Liar(files, certificate) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
